"""Which class index a label stands for that is written as a number or as a name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...evidence.errors import ScanError
from .source import MAX_CLASSES, listed
from .text_rows import TextRows, shown

_INDEX = re.compile(r"0*([0-9]{1,9})(?:\.0*)?|(?i:label)_0*([0-9]{1,9})")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+|inf(?:inity)?)(?:e[+-]?[0-9]+)?|nan", re.IGNORECASE)
_TRUTH = {"false": 0, "true": 1}


class Labels:
    """Collects the labels of all rows; every different one is looked at once, in the end."""

    def __init__(self, rows: TextRows, column: int, class_names: Mapping[int, str]) -> None:
        """`class_names` are the model's own by index, `column` is where the labels stand."""
        self._rows, self._column = rows, column
        self._own = {index: name.strip() for index, name in class_names.items() if 0 <= index < MAX_CLASSES}
        self._exact: dict[str, list[int]] = {}
        self._folded: dict[str, list[int]] = {}
        for index, name in self._own.items():
            self._exact.setdefault(name, []).append(index)
            self._folded.setdefault(name.casefold(), []).append(index)
        self._codes: dict[str, int] = {}
        self._places: list[int] = []  # where each first stands

    def add(self, value: object, place: int) -> int:
        """Return a number for the label, the same for the same one; `indices` knows what it stands for.

        Raises ScanError if there is none, or it is neither number nor text.
        """
        label = _written(value)
        if label is None:
            raise self._error(place, f"{shown(value)} is neither a number nor a name; write one class a row as label")
        if not label:
            raise self._error(place, "the label is missing; write one, or remove the row")
        code = self._codes.setdefault(label, len(self._codes))
        if code == len(self._places):
            self._places.append(place)
        return code

    def indices(self) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Return the class index of every number that `add` gave, int64, and the names of the classes.

        Raises ScanError for labels that are neither indices nor known names, or could be both.
        """
        chosen, names = self._by_own_name() if is_named(self._own) else self._without_names()
        if len(set(names)) > MAX_CLASSES:
            raise ScanError(f"{self._rows.path}: has more than {MAX_CLASSES} different labels; give another column")
        return np.array([chosen[label] for label in self._codes], dtype=np.int64), names

    def _by_own_name(self) -> tuple[dict[str, int], dict[int, str]]:
        named = {label: self._named(label) for label in self._codes}
        by_name, by_index = _complete(named), self._by_index()
        if by_name is None:
            if by_index is not None:
                return self._through(by_index), self._own
            if truth := _truth(self._codes):
                return truth, self._own
            raise self._unknown([label for label, index in named.items() if index is None])
        if by_index is not None and by_name != by_index and set(by_index.values()) <= set(self._own):
            label = next(label for label in by_index if by_index[label] != by_name[label])
            raise self._error(
                self._places[self._codes[label]],
                f"label {shown(label)} may be class index {by_index[label]} or the class that the model calls so, "
                f"index {by_name[label]}; write every label as LABEL_ and its index",
            )
        return by_name, self._own

    def _by_index(self) -> dict[str, int] | None:
        return _complete({label: index_of(label) for label in self._codes})

    def _through(self, by_index: dict[str, int]) -> dict[str, int]:
        """The file's own names for its numbers, looked up in the model, which may count its classes differently."""
        names = self._rows.label_names(self._column)
        through = _complete({label: self._named(names.get(index, "")) for label, index in by_index.items()})
        return through or by_index

    def _without_names(self) -> tuple[dict[str, int], dict[int, str]]:
        by_index = self._by_index()
        if by_index is not None:
            names = self._rows.label_names(self._column)
            return by_index, names if is_named(names) else self._own
        if truth := _truth(self._codes):
            return truth, self._own
        numbers = [label for label in self._codes if index_of(label) is not None or _NUMBER.fullmatch(label)]
        if numbers:
            raise self._unknown(numbers)
        order = sorted(self._codes)
        folded: dict[str, str] = {}
        for label in order:
            twin = folded.setdefault(label.casefold(), label)
            if twin != label:
                raise self._error(
                    self._places[self._codes[label]],
                    f"label {shown(label)} and {shown(twin)} differ in capitals only; write a class in one way",
                )
        return {label: index for index, label in enumerate(order)}, dict(enumerate(order))

    def _named(self, label: str) -> int | None:
        """The index of the model's class of this name, exactly or but for capitals, or of LABEL_n."""
        found = self._exact.get(label) or self._folded.get(label.casefold()) or []
        if len(found) > 1:
            place = self._places[self._codes[label]] if label in self._codes else 1
            raise self._error(
                place, f"the model calls more than one class {shown(label)}; write every label as LABEL_ and its index"
            )
        if found:
            return found[0]
        return index_of(label) if label.casefold().startswith("label_") else None

    def _unknown(self, labels: list[str]) -> ScanError:
        """The error for labels that stand for nothing; the first that is wrong whatever the others are, if any is."""
        label = next((label for label in labels if index_of(label) is None), labels[0])
        place = self._places[self._codes[label]]
        if index_of(label) is not None:
            return self._error(place, f"label {shown(label)} is a number, others are names; write all in the same way")
        if _NUMBER.fullmatch(label):
            unlabelled = "; -1 often stands for no label, remove such rows" if label == "-1" else ""
            return self._error(
                place, f"label {shown(label)} is not a class index; they are whole and count from 0{unlabelled}"
            )
        known = listed((name for _, name in sorted(self._own.items())), 8)
        return self._error(
            place, f"the model knows no class {shown(label)}, only {known}; rename the label, or write its index"
        )

    def _error(self, place: int, problem: str) -> ScanError:
        return ScanError(f"{self._rows.path}, {self._rows.unit} {place}: {problem}")


def is_named(names: Mapping[int, str]) -> bool:
    """Whether the names say anything: LABEL_0, LABEL_1 ... and 0, 1 ... do not."""
    return any(name.strip().casefold() not in (f"label_{index}", str(index)) for index, name in names.items())


def index_of(label: str) -> int | None:
    """The index that 3, 03, 3.0 and LABEL_3 stand for, None for all others and for those that no model has."""
    match = _INDEX.fullmatch(label)
    index = int(match[1] or match[2]) if match else MAX_CLASSES
    return index if index < MAX_CLASSES else None


def _written(value: object) -> str | None:
    """A label as text, empty if it is missing, None if it is of no kind that labels have."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value) if isinstance(value, int) else None


def _complete(found: Mapping[str, int | None]) -> dict[str, int] | None:
    every = {label: index for label, index in found.items() if index is not None}
    return every if len(every) == len(found) else None


def _truth(labels: Mapping[str, int]) -> dict[str, int] | None:
    """False is 0 and True is 1, where there is nothing else; among others "true" is a name."""
    return _complete({label: _TRUTH.get(label.casefold()) for label in labels})
