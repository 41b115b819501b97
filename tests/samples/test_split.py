"""Which samples are used and which are held out."""

from __future__ import annotations

import numpy as np
import pytest
from ebyd_scan.scanner.samples.split import balanced_quota, choose, split


@pytest.mark.parametrize(
    ("counts", "max_count", "expected"),
    [
        ([10, 10, 10], 9, [3, 3, 3]),
        ([10, 2, 10], 12, [5, 2, 5]),
        ([10, 10, 10], 11, [4, 4, 3]),
        ([1, 2, 3], 100, [1, 2, 3]),
        ([100, 1, 1], 50, [48, 1, 1]),
    ],
)
def test_quota_is_as_even_as_the_counts_allow(counts: list[int], max_count: int, expected: list[int]) -> None:
    assert balanced_quota(np.array(counts), max_count).tolist() == expected


@pytest.mark.parametrize("held_out", [0.01, 0.3, 0.5, 0.99])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_sample_is_in_one_part_and_every_class_in_both(held_out: float, seed: int) -> None:
    labels = np.array([0] * 2 + [1] * 7 + [4] * 50)
    exposure, held = split(labels, held_out, np.random.default_rng(seed))
    assert sorted([*exposure, *held]) == list(range(len(labels)))
    assert set(labels[exposure]) == set(labels[held]) == {0, 1, 4}
    assert abs((labels[held] == 4).sum() - 50 * held_out) <= 1


def test_the_seed_decides() -> None:
    labels = np.arange(100) % 4
    first, again, other = (choose(labels, 40, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2))
    assert first == again != other
    assert np.bincount(labels[first]).tolist() == [10] * 4


def test_few_samples_are_all_used() -> None:
    assert choose(np.array([0, 1, 0]), 3, np.random.default_rng(0)).tolist() == [0, 1, 2]
