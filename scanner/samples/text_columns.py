"""Which column holds the texts, which the second texts of pairs, which the labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from ...evidence.errors import UsageError
from .source import listed
from .text_rows import Given, TextRows

_PAIRS = (
    ("text", "text_pair"),
    ("text", "text2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence", "sentence2"),
    ("sentence1", "sentence2"),
    ("sentence_a", "sentence_b"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question", "context"),
    ("question", "answer"),
    ("query", "passage"),
)
_TEXTS = {first for first, _ in _PAIRS} | {
    *("texts", "review", "content", "document", "comment", "tweet", "headline", "utterance", "message", "body"),
}
_SECONDS = {second for _, second in _PAIRS}
_LABELS = {
    *("label", "labels", "class", "category", "target", "sentiment", "y", "gold_label", "is_duplicate"),
}
_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*")
_PEEK = 1000  # rows of a file without a header that are looked at


@dataclass(frozen=True)
class Columns:
    """Positions in the file's columns."""

    text: int
    pair: int | None
    label: int


def known_names(fields: Sequence[str], given: Given) -> int:
    """How many of the fields are called as columns are, or as the user calls them."""
    known = _TEXTS | _SECONDS | _LABELS | {_plain(name) for name in given.names()}
    return sum(_plain(field) in known for field in fields)


def is_header(fields: Sequence[str], given: Given) -> bool:
    """One known name makes a header, unless a number stands beside it: then "question" may be a text."""
    known = known_names(fields, given)
    return known > 1 or (known == 1 and not any(_INTEGER.fullmatch(field) for field in fields))


def choose_columns(rows: TextRows, given: Given, is_label: Callable[[str], bool]) -> Columns:
    """By the user's names, else by usual ones, else, of two columns without a header, by which one holds labels.

    `is_label` says of a value without header whether it is an index or a class of the model.
    A given text column is taken alone, as long as no pair column is given.
    Raises UsageError, listing the columns, where a given one is missing or more than one could be meant.
    """
    if not rows.header and not given.names():
        return _without_header(rows, is_label)
    text, pair, label = (
        _given(rows, name, option)
        for name, option in ((given.text, "text"), (given.pair, "pair"), (given.label, "label"))
    )
    taken = [place for place in (text, pair, label) if place is not None]
    if len(set(taken)) < len(taken):
        raise UsageError(f"{rows.path}: the same column is given twice; texts, second texts and labels have their own")
    if label is None:
        label = _found(rows, "label", [place for place in _called(rows, _LABELS) if place not in (text, pair)])
    if text is None:
        text, pair = _found_text(rows, pair, label)
    return Columns(text, pair, label)


def _without_header(rows: TextRows, is_label: Callable[[str], bool]) -> Columns:
    if len(rows.columns) == 2:
        sample = list(islice(rows.read((0, 1)), _PEEK))
        fits = []
        for place in (0, 1):
            values = [str(values[place]) for _, values in sample if str(values[place]).strip()]
            if values and all(map(is_label, values)):
                fits.append(place)
        if len(fits) == 1:
            return Columns(text=1 - fits[0], pair=None, label=fits[0])
    raise UsageError(
        f"{rows.path}: which column holds the texts and which the labels cannot be told from the first line, "
        f"{_names(rows)}; give --text-column and --label-column, or put the line 'text' and 'label' before it"
    )


def _found_text(rows: TextRows, pair: int | None, label: int) -> tuple[int, int | None]:
    texts = [place for place in _called(rows, _TEXTS) if place not in (pair, label)]
    if pair is None:
        plain = [_plain(name) for name in rows.columns]
        pairs = [
            (plain.index(first), plain.index(second)) for first, second in _PAIRS if first in plain and second in plain
        ]
        pairs = [both for both in pairs if label not in both]
        if len(pairs) == 1 and set(texts) <= set(pairs[0]):
            return pairs[0]
        if pairs:
            texts = sorted({*texts, *(place for both in pairs for place in both)})
    if not texts:  # whatever it is called, if it is the only one left
        texts = [place for place in range(len(rows.columns)) if place not in (pair, label)]
        if len(texts) > 1:
            texts = []
    return _found(rows, "text", texts), pair


def _given(rows: TextRows, name: str | None, option: str) -> int | None:
    if name is None:
        return None
    exact = [place for place, column in enumerate(rows.columns) if column == name]
    places = exact or [place for place, column in enumerate(rows.columns) if _plain(column) == _plain(name)]
    if len(places) == 1:
        return places[0]
    problem = "more than one column is" if places else "no column is"
    raise UsageError(f"{rows.path}: {problem} called {name!r}; give --{option}-column one of {_names(rows)}")


def _found(rows: TextRows, what: str, places: Sequence[int]) -> int:
    if len(places) == 1:
        return places[0]
    problem = "more than one column could hold" if places else "no column has a usual name for"
    raise UsageError(f"{rows.path}: {problem} the {what}s; give --{what}-column one of {_names(rows)}")


def _called(rows: TextRows, names: set[str]) -> list[int]:
    return [place for place, column in enumerate(rows.columns) if _plain(column) in names]


def _names(rows: TextRows) -> str:
    return listed([column if len(column) <= 40 else f"{column[:40]}..." for column in rows.columns], 12)


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip()).casefold()
