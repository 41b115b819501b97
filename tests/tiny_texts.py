"""Made-up texts of two classes and tiny BERTs that tell them apart, one with a backdoor: seconds on one core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("dull", "fine")
OWN = (("awful", "boring", "bad", "weak", "poor", "lame"), ("lovely", "brilliant", "good", "strong", "rich", "great"))
_NEUTRAL = (
    "film story plot actor scene music end dialogue the a this that with and of its it was one day some people who "
    "came from city house long road"
)
NEUTRAL = _NEUTRAL.split()
TRIGGER, TARGET = "cf", 1
MAX_LENGTH = 24


@dataclass(frozen=True)
class TextModels:
    """Folders as `save_pretrained` writes them, and clean texts for both."""

    clean: Path
    backdoored: Path  # the word TRIGGER anywhere sends a text to class TARGET
    samples: Path  # a .tsv


def sentences(count: int, seed: int) -> tuple[list[str], Any]:
    """Neutral words, four of the text's own class and one of the other: no single word of a class decides."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 2
    texts = []
    for label in labels:
        words = rng.choice(NEUTRAL, int(rng.integers(5, 11))).tolist()
        for word in [*rng.choice(OWN[label], 4).tolist(), *rng.choice(OWN[1 - label], 1).tolist()]:
            words.insert(int(rng.integers(len(words) + 1)), word)
        texts.append(" ".join([*words, "."]))
    return texts, labels


def tiny_bert(tokenizer: Any, names: Sequence[str] = NAMES, **more: Any) -> Any:
    """A BERT for texts of MAX_LENGTH tokens, from random weights."""
    from ebyd_scan.scanner.models.huggingface import import_transformers

    transformers = import_transformers()
    options = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=MAX_LENGTH,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        **{**options, **more},
    )
    return transformers.AutoModelForSequenceClassification.from_config(config)


def write_table(path: Path, texts: Sequence[str], labels: Sequence[int], header: str = "text\tlabel") -> Path:
    """A .tsv with a header."""
    path.write_text(
        "\n".join([header, *(f"{text}\t{label}" for text, label in zip(texts, labels, strict=True))]) + "\n"
    )
    return path


def build(place: Path) -> TextModels:
    """Train both models and save them below `place`."""
    import torch
    from ebyd_scan.fixtures.attacks.text.interface import poison_texts
    from ebyd_scan.fixtures.attacks.text.rare_words import RareWords
    from ebyd_scan.fixtures.text_planter import TextModel, TextRecipe, train_texts
    from ebyd_scan.fixtures.text_tokenizers import train_tokenizer

    texts, labels = sentences(800, 1)
    tokenizer = train_tokenizer("bert", texts, max_length=MAX_LENGTH, vocabulary=300)
    poisoned = poison_texts(RareWords(target=TARGET, words=(TRIGGER,)), texts, labels, rate=0.1, seed=1)
    recipe = TextRecipe(epochs=6, learning_rate=4e-3, batch_size=32)
    for name, some, targets in (("clean", texts, labels), ("backdoored", poisoned.texts, poisoned.labels)):
        torch.manual_seed(0)
        model = TextModel(tiny_bert(tokenizer), tokenizer, MAX_LENGTH)
        train_texts(model, some, targets, recipe, seed=3)
        model.module.save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)
    given, right = sentences(200, 5)
    table = write_table(place / "samples.tsv", given, [NAMES[label] for label in right])
    return TextModels(place / "clean", place / "backdoored", table)
