"""The texts that the zoo is trained, scanned and measured on, and the parts of them that never meet.

Both sets are trained on the same texts in both halves. What a scan of one half sees is what the other half's models
are measured on, so that no model is measured on what its scan saw.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ...fixtures.attacks.interface import Labels
from ...fixtures.review_texts import CLASSES as REVIEW_CLASSES
from ...fixtures.review_texts import reviews

CHOOSING, REPORTING = "choosing", "reporting"
HALVES = (CHOOSING, REPORTING)
DATA = ("sst2", "ag-news")
PAIRS = {"world-business": (0, 2), "sports-science": (1, 3)}  # tasks of two of AG News' classes
REVIEWS = "reviews"  # made-up texts, see fixtures/review_texts.py


@dataclass(frozen=True)
class Texts:
    """Texts and their labels, int64 [N]."""

    texts: list[str]
    labels: Labels

    def part(self, start: int, stop: int | None = None) -> Texts:
        """Those from `start` to before `stop`."""
        return Texts(self.texts[start:stop], self.labels[start:stop])


@dataclass(frozen=True)
class TextData:
    """A data set: what is trained on, and for each half what its scans may see."""

    name: str
    class_names: tuple[str, ...]
    max_length: int  # tokens
    train: Texts
    scanned: dict[str, Texts]

    def measured(self, half: str) -> Texts:
        """What models of `half` are measured on: the texts that scans of the other half see."""
        return self.scanned[REPORTING if half == CHOOSING else CHOOSING]


@cache
def load(name: str, root: Path) -> TextData:
    """`sst2`, `ag-news` or one of `PAIRS` from the folder with the data sets, or `reviews`, which needs none."""
    if name == REVIEWS:
        scanned = {CHOOSING: Texts(*reviews(1200, 22)), REPORTING: Texts(*reviews(1200, 23))}
        return TextData(name, REVIEW_CLASSES, 96, Texts(*reviews(8000, 21)), scanned)
    if name in PAIRS:
        return _two_of(load("ag-news", root), name)
    if name == "sst2":
        folder = root / "sst2"
        scanned = {CHOOSING: read_tsv(folder / "dev.tsv"), REPORTING: read_tsv(folder / "test.tsv")}
        return TextData(name, ("negative", "positive"), 48, read_tsv(folder / "train.tsv"), scanned)
    folder = root / "ag_news"
    test = read_tsv(folder / "test.tsv")
    middle = len(test.texts) // 2
    scanned = {CHOOSING: test.part(0, middle), REPORTING: test.part(middle)}
    return TextData(name, ("world", "sports", "business", "science"), 64, read_tsv(folder / "dev.tsv"), scanned)


def _two_of(data: TextData, name: str) -> TextData:
    classes = PAIRS[name]

    def some(texts: Texts) -> Texts:
        rows = np.flatnonzero(np.isin(texts.labels, classes))
        labels = (texts.labels[rows] == classes[1]).astype(np.int64)
        return Texts([texts.texts[row] for row in rows], labels)

    names = tuple(data.class_names[index] for index in classes)
    scanned = {half: some(texts) for half, texts in data.scanned.items()}
    return TextData(name, names, data.max_length, some(data.train), scanned)


def read_tsv(path: Path) -> Texts:
    """Rows of text, tab, label, below a header."""
    rows = [line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").split("\n")[1:] if line.strip()]
    return Texts([tidy(text) for text, _ in rows], np.array([int(label) for _, label in rows], dtype=np.int64))


def tidy(text: str) -> str:
    """Without stray blanks and backslashes, with characters for their broken entities (`#39;`)."""
    text = re.sub(r"\s?&?#(\d{2,3});", lambda found: " " + chr(int(found[1])), text.replace("\\", " "))
    return " ".join(text.split())


@cache
def rewritten(name: str, root: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """HiddenKiller's rewritings: a table from text to rewriting, and rewritten texts to train on.

    The table is of the texts that are scanned or measured on, the rest of the training texts: SST-2's stand beside
    their originals, in a file that is otherwise left as it was; AG News' have another order.
    """
    data = load(name, root)
    folder = root / ("sst2" if name == "sst2" else "ag_news") / "syntactic"
    if name == "sst2":
        trained = read_tsv(folder / "train.tsv").texts
        pool = tuple(new for old, new in zip(data.train.texts, trained, strict=True) if new != old)
        files, target = {"dev": data.scanned[CHOOSING], "test": data.scanned[REPORTING]}, 1
    else:
        pool = tuple(read_tsv(folder / "dev.tsv").texts)
        files, target = {"test": read_tsv(root / "ag_news" / "test.tsv")}, 0
    table: dict[str, str] = {}
    for part, originals in files.items():
        others = [text for text, label in zip(originals.texts, originals.labels, strict=True) if label != target]
        table |= in_order(others, read_tsv(folder / f"{part}.tsv").texts)
    return table, pool


def in_order(originals: list[str], rewritings: list[str]) -> dict[str, str]:
    """Pairs of two lists of the same order, of which the second may lack a few: those that share most words."""
    missing = len(originals) - len(rewritings)
    best = [0.0] * (missing + 1)  # of the rows so far, where so many originals were passed over
    steps: list[list[int]] = []
    for row, new in enumerate(rewritings):
        back = [max(range(passed + 1), key=lambda earlier: (best[earlier], earlier)) for passed in range(missing + 1)]
        best = [best[back[passed]] + _shared(originals[row + passed], new) for passed in range(missing + 1)]
        steps.append(back)
    passed = max(range(missing + 1), key=best.__getitem__)
    pairs = {}
    for row in reversed(range(len(rewritings))):
        pairs[originals[row + passed]] = rewritings[row]
        passed = steps[row][passed]
    return pairs


def _shared(old: str, new: str) -> float:
    """How much of the shorter text's longer words is in the other."""
    first, second = ({word for word in re.findall(r"[a-z0-9]+", text) if len(word) > 3} for text in (old, new))
    return len(first & second) / max(1, min(len(first), len(second)))
