"""Are there enough samples of every class, and of no other?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...evidence.errors import ScanError, UsageError
from .source import MAX_CLASSES, Labels


def check_labels(path: Path, labels: Labels, names: Mapping[int, str]) -> None:
    """Raise ScanError if there are no samples, labels no model can have, or samples of one class only."""
    if not len(labels):
        raise ScanError(f"{path}: no samples in it; give some labelled clean samples of every class")
    if labels.min() < 0 or labels.max() >= MAX_CLASSES:
        wrong = int(labels.min() if labels.min() < 0 else labels.max())
        raise ScanError(f"{path}: label {wrong} is not a class index; labels count from 0")
    if labels.min() == labels.max() and len(names) < 2:
        only = _name(int(labels[0]), names)
        raise ScanError(f"{path}: all {len(labels)} samples are of class {only}; give samples of every class")


def check_against_classes(path: Path, labels: Labels, names: Mapping[int, str], num_classes: int) -> None:
    """Raise ScanError if a label is none of the model's classes, or a class of the model has no sample."""
    highest = int(labels.max())
    if highest >= num_classes:
        outside = [_name(int(label), names) for label in np.unique(labels[labels >= num_classes])]
        hint = "the samples seem to count classes from 1; count from 0" if _from_one(labels, num_classes) else ""
        raise ScanError(
            f"{path}: the model has {num_classes} classes (0 to {num_classes - 1}) but there are samples of class "
            f"{_joined(outside)}; {hint or 'give the samples this model was trained for'}"
        )
    missing = sorted(set(range(num_classes)) - set(np.unique(labels).tolist()))
    if missing:
        raise ScanError(
            f"{path}: no samples of class {_joined([_name(label, names) for label in missing])}; clean unlearning "
            f"needs samples of all {num_classes} classes of the model"
        )


def check_counts(path: Path, labels: Labels, names: Mapping[int, str], min_per_class: int, max_count: int) -> None:
    """Check that every class has enough samples, also when no more than `max_count` are used.

    Raises ScanError naming the classes that have too few, UsageError if `max_count` is too low for so many classes.
    """
    needed = max(min_per_class, 2)  # one to expose with, one to hold out
    present = np.unique(labels).tolist()
    counts = {label: int((labels == label).sum()) for label in sorted({*present, *names})}
    few = [f"{_name(label, names)} ({count})" for label, count in counts.items() if count < needed]
    if few:
        raise ScanError(f"{path}: too few samples of class {_joined(few)}; at least {needed} of every class are needed")
    if max_count < needed * len(counts):
        raise UsageError(
            f"at most {max_count} samples are too few for {len(counts)} classes with {needed} each: "
            f"allow {needed * len(counts)} or more"
        )


def _name(label: int, names: Mapping[int, str]) -> str:
    return f"{label} {names[label]!r}" if names.get(label, str(label)) != str(label) else str(label)


def _joined(texts: list[str], limit: int = 5) -> str:
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more


def _from_one(labels: Labels, num_classes: int) -> bool:
    return int(labels.min()) == 1 and int(labels.max()) == num_classes
