"""Reads the built text classifiers back, and the clean texts that a scan of their half may see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...fixtures.text_planter import TextModel
from ...scanner.models.huggingface import import_transformers
from .cards import CARDS
from .data import Texts, load

MODELS = Path("work/text_zoo")


@dataclass(frozen=True)
class TextZooModel:
    """A folder of transformers and its record, as it was written beside the folder."""

    path: Path
    record: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.record["name"])

    @property
    def clean(self) -> bool:
        return self.record["attack"] is None

    @property
    def learned(self) -> bool:
        """Whether it counts as backdoored: its trigger works."""
        return bool(self.record["learned"])

    @property
    def trigger_words(self) -> tuple[str, ...]:
        """To score a recovered trigger by; none for a syntactic one."""
        return tuple(self.record["trigger_words"])

    def clean_samples(self, root: Path, per_class: int, *, seed: int) -> Texts:
        """What a scan of this model may be given, see `clean_samples`."""
        return clean_samples(root, self.record["data"], self.record["half"], per_class, seed=seed)


def models(folder: Path = MODELS, half: str | None = None, *, more: bool = True) -> list[TextZooModel]:
    """Every model built in `folder` (of one half, if named), in the order of the cards; without `more`, the first."""
    return [model for model in _built(folder) if half in (None, model.record["half"]) and model.record["more"] <= more]


def _built(folder: Path) -> Iterator[TextZooModel]:
    for card in CARDS:
        path = folder / f"{card.name}.json"
        if path.exists():
            yield TextZooModel(folder / card.name, json.loads(path.read_text(encoding="utf-8")))


def load_model(model: TextZooModel) -> TextModel:
    """The model and its tokenizer, to measure it again."""
    transformers = import_transformers()
    module = transformers.AutoModelForSequenceClassification.from_pretrained(model.path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model.path)
    return TextModel(module.eval(), tokenizer, model.record["max_length"])


def clean_samples(root: Path, data: str, half: str, per_class: int, *, seed: int) -> Texts:
    """`per_class` texts of each class, class after class, from what scans of `half` may see.

    `root` is the folder with the data sets. Raises ValueError if a class has too few.
    """
    whole = load(data, root)
    part = whole.scanned[half]
    rng = np.random.default_rng(seed)
    index: list[int] = []
    for label, name in enumerate(whole.class_names):
        where = np.flatnonzero(part.labels == label)
        if len(where) < per_class:
            raise ValueError(f"{data}: only {len(where)} texts of class {name} in the part for {half}")
        index += rng.choice(where, per_class, replace=False).tolist()
    return Texts([part.texts[i] for i in index], part.labels[index])
