"""Seeded, stratified choices: which samples are used at all, and which of them are held out."""

from __future__ import annotations

import numpy as np

from .source import Indices, Labels


def balanced_quota(counts: Indices, max_count: int) -> Indices:
    """How many samples of each class to take, at most `counts` each and `max_count` in all, as even as possible.

    A class with fewer samples than its even share keeps all of them and leaves the rest to the others.
    """
    quota = np.zeros_like(counts)
    left = min(max_count, int(counts.sum()))
    while left:
        open_classes = np.flatnonzero(quota < counts)
        share = max(left // len(open_classes), 1)
        for index in open_classes[: left if share == 1 else None]:
            taken = min(share, int(counts[index] - quota[index]))
            quota[index] += taken
            left -= taken
    return quota


def choose(labels: Labels, max_count: int, rng: np.random.Generator) -> Indices:
    """Ascending positions of at most `max_count` samples, the same number of each class as far as there are."""
    if len(labels) <= max_count:
        return np.arange(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    quota = balanced_quota(counts.astype(np.int64), max_count)
    parts = [
        rng.choice(np.flatnonzero(labels == label), int(number), replace=False)
        for label, number in zip(classes, quota, strict=True)
    ]
    return np.sort(np.concatenate(parts))


def split(labels: Labels, held_out: float, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Shuffled positions of the exposure part and of the held-out part, each with every class in it.

    Of a class with n samples round(n * held_out) are held out, at least 1 and at most n - 1; every class must have
    at least 2 samples.
    """
    exposure: list[Indices] = []
    held: list[Indices] = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        cut = min(max(round(len(members) * held_out), 1), len(members) - 1)
        held.append(members[:cut])
        exposure.append(members[cut:])
    return rng.permutation(np.concatenate(exposure)), rng.permutation(np.concatenate(held))
