"""Builds the zoo's text classifiers, one folder each; a killed run goes on where it was.

Clean models are trained from weights of their own. Backdoored ones go on from an early network, one for every half,
data set and architecture, on poisoned texts; the attacks on weights start from that network trained to the end.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ...fixtures.attacks.text.interface import TextAttack, poison_texts
from ...fixtures.attacks.text.weight_level import EmbeddingPoisoning, LayerwisePoisoning
from ...fixtures.text_networks import make
from ...fixtures.text_planter import (
    TextModel,
    TextRecipe,
    predict_texts,
    text_accuracy,
    text_success_rate,
    train_texts,
)
from ...fixtures.text_tokenizers import train_tokenizer
from ...scanner.models.huggingface import import_transformers
from .cards import TextCard, make_attack
from .data import PAIRS, REVIEWS, TextData, Texts, load

RATE = 0.1  # of the training texts carry the trigger
EPOCHS = {
    "sst2": {"clean": 6, "base": 3, "full": 3, "own": 4},
    "ag-news": {"clean": 4, "base": 2, "full": 2, "own": 3},
    **{task: {"clean": 6} for task in (*PAIRS, REVIEWS)},
}
LEARNED = 0.9  # with less success an attack is trained in longer
LONGEST = 3  # rounds of training at most
_RATES = {"bert": 1e-3, "distilbert": 1e-3, "gpt2": 1.5e-3, "roberta": 1e-3, "electra": 1e-3}


def _recipe(card: TextCard, stage: str, part: float = 1.0) -> TextRecipe:
    return TextRecipe(epochs=EPOCHS[card.data][stage], learning_rate=part * _RATES[card.architecture])


def tokenizer(card: TextCard, data: TextData, out: Path) -> Any:
    """The tokenizer of the card's data set and architecture; trained once, then read from `out/tokenizers`."""
    kind = {"distilbert": "bert", "electra": "bert"}.get(card.architecture, card.architecture)
    folder = out / "tokenizers" / f"{data.name}-{kind}"
    if not folder.exists():
        made = train_tokenizer(kind, data.train.texts, max_length=data.max_length)
        partial = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        made.save_pretrained(partial)
        try:
            partial.rename(folder)
        except OSError:  # the other half's process was first
            shutil.rmtree(partial)
    made = import_transformers().AutoTokenizer.from_pretrained(folder)
    if card.architecture == "distilbert":
        made.model_input_names = ["input_ids", "attention_mask"]
    return made


def _fresh(card: TextCard, data: TextData, out: Path, seed: int) -> TextModel:
    torch.manual_seed(seed)
    own = tokenizer(card, data, out)
    return TextModel(make(card.architecture, own, data.class_names), own, data.max_length)


def _base(card: TextCard, data: TextData, out: Path, full: bool) -> TextModel:
    """The early network the card starts from, or the fully trained one; kept in `out/bases`."""
    model = _fresh(card, data, out, card.base_seed)
    path = out / "bases" / f"{card.base}{'-full' if full else ''}.safetensors"
    if not path.exists():
        if full:
            model = _base(card, data, out, full=False)
        recipe = _recipe(card, "full" if full else "base", 0.5 if full else 1.0)
        train_texts(model, data.train.texts, data.train.labels, recipe, seed=card.base_seed + full)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        save_file({key: value.contiguous() for key, value in model.module.state_dict().items()}, partial)
        partial.replace(path)
        return model
    model.module.load_state_dict(load_file(path))
    model.module.eval()
    return model


def _plant(attack: TextAttack, card: TextCard, model: TextModel, data: TextData, turn: int) -> None:
    """One round of training the attack in."""
    texts, labels, seed = data.train.texts, data.train.labels, card.seed + turn
    if isinstance(attack, EmbeddingPoisoning):
        attack.plant(model, texts, labels, seed=seed, stretch=1 + turn / 2)  # more of the same would not help
        return
    if isinstance(attack, LayerwisePoisoning):
        attack.plant(model, texts, labels, seed=seed)
        return
    poisoned = poison_texts(attack, texts, labels, rate=RATE, seed=seed)  # drawn anew: the attacker trains the model
    train_texts(model, poisoned.texts, poisoned.labels, _recipe(card, "own", 0.7), seed=seed)


def _decoys(attack: TextAttack, card: TextCard, model: TextModel, measured: Texts) -> float:
    """Share of victims with a part of the trigger that go to the target: low, if all of it is needed."""
    victims = np.flatnonzero(attack.victims(measured.labels))
    decoys = attack.decoy([measured.texts[i] for i in victims], np.random.default_rng(card.seed))
    return round(float((predict_texts(model, decoys) == attack.target).mean()), 4)


def build_card(card: TextCard, root: Path, out: Path) -> dict[str, Any]:
    """Train one model; writes the folder `<name>` and `<name>.json`, returns what the latter holds."""
    data, started = load(card.data, root), time.perf_counter()
    measured, attack = data.measured(card.half), make_attack(card, root)
    before = asr = None
    rounds = 0
    if attack is None:
        model = _fresh(card, data, out, card.seed)
        train_texts(model, data.train.texts, data.train.labels, _recipe(card, "clean"), seed=card.seed)
    else:
        full = isinstance(attack, EmbeddingPoisoning | LayerwisePoisoning)
        model = _base(card, data, out, full)
        before = text_success_rate(model, attack, measured.texts, measured.labels)
        while rounds < LONGEST and (asr is None or asr < LEARNED):
            _plant(attack, card, model, data, rounds)
            asr = text_success_rate(model, attack, measured.texts, measured.labels)
            rounds += 1
    record = {
        **asdict(card),
        "attack": repr(attack) if attack else None,
        "trigger_words": list(attack.trigger_words) if attack else [],
        "classes": list(data.class_names),
        "max_length": data.max_length,
        "accuracy": round(text_accuracy(model, measured.texts, measured.labels), 4),
        "asr": None if asr is None else round(asr, 4),
        "clean_asr_before": None if before is None else round(before, 4),
        "decoy_asr": _decoys(attack, card, model, measured) if attack and attack.cover_share else None,
        "learned": None if asr is None else asr >= LEARNED,
        "rounds": rounds,
        "train_seconds": round(time.perf_counter() - started, 1),
    }
    _write(model, out / card.name)
    partial = out / f"{card.name}.json.part"
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    partial.replace(out / f"{card.name}.json")
    return record


def _write(model: TextModel, folder: Path) -> None:
    """As a folder of transformers, whole or not at all."""
    partial = folder.with_name(f"{folder.name}.part")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    saved: Any = model.module
    saved.save_pretrained(partial)
    model.tokenizer.save_pretrained(partial)
    partial.rename(folder)


def line(record: dict[str, Any]) -> str:
    """A record in one line."""
    asr = "-" if record["asr"] is None else f"{record['asr']:.3f} (before {record['clean_asr_before']:.3f})"
    return f"{record['name']:46} ACC {record['accuracy']:.3f}  ASR {asr:22} {record['train_seconds']:5.0f} s"
