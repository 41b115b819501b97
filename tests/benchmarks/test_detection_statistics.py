"""Intervals and areas on numbers whose answers are known."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("scipy")
from ebyd_scan.benchmarks.detection.statistics import auroc, auroc_interval, detection_at, interval


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    # Clopper-Pearson as tabulated: 0 of 20 and 10 of 20 at 95 %.
    [(0, 20, 0.0, 0.168), (20, 20, 0.832, 1.0), (10, 20, 0.272, 0.728), (0, 0, 0.0, 1.0)],
)
def test_interval(hits: int, count: int, low: float, high: float) -> None:
    assert interval(hits, count) == (pytest.approx(low, abs=6e-4), pytest.approx(high, abs=6e-4))


def test_auroc() -> None:
    assert auroc([3, 4], [1, 2]) == 1
    assert auroc([1, 2], [3, 4]) == 0
    assert auroc([1, 1], [1, 1]) == 0.5
    assert auroc([3, 1], [2, 0]) == 0.75
    assert math.isnan(auroc([], [1]))


def test_auroc_interval() -> None:
    low, high = auroc_interval([2, 3, 4, 5], [1, 2, 3, 4])
    assert 0 <= low < auroc([2, 3, 4, 5], [1, 2, 3, 4]) < high <= 1
    assert auroc_interval([2, 3, 4, 5], [1, 2, 3, 4]) == (low, high)
    # Nothing overlaps in ten: three in ten could still.
    assert auroc_interval(range(10, 30), range(10)) == (pytest.approx(0.7), 1.0)


def test_detection_at_a_share_of_false_positives() -> None:
    negative = list(range(20))
    assert detection_at([18.5, 19.5, 25], negative, 0.05) == 1
    assert detection_at([17.5, 18.5, 25], negative, 0.05) == pytest.approx(2 / 3)
    assert detection_at([19, 25], negative, 0.0) == 0.5
