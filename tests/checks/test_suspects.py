"""Which label leads, by how much, and in how many of the runs."""

from __future__ import annotations

import pytest
from ebyd_scan.checks.suspects import collapse, converged
from ebyd_scan.evidence.exposure import ExposureRun, TrajectoryStep


def _run(before: list[int], after: list[int] | None, *, converged: bool = True) -> ExposureRun:
    return ExposureRun(
        method="m",
        seed=0,
        converged=converged,
        reason="because",
        trajectory=[],
        before=TrajectoryStep(step=0, accuracy=1, histogram=before),
        after=None if after is None else TrajectoryStep(step=1, accuracy=0, histogram=after),
    )


def test_gain_is_after_minus_before() -> None:
    seen = collapse([_run([10, 10, 20], [0, 30, 10])])
    assert seen.gain == pytest.approx((-0.25, 0.5, -0.25))
    assert (seen.label, seen.tops, seen.agreement) == (1, (1,), 1)
    assert seen.margin == pytest.approx(0.75)
    assert seen.ranked[0] == 1


def test_a_label_that_was_frequent_before_is_no_suspect() -> None:
    seen = collapse([_run([80, 10, 10], [70, 29, 1])])
    assert seen.label == 1


def test_runs_count_alike_however_many_samples_they_saw() -> None:
    seen = collapse([_run([1, 1], [2, 0]), _run([500, 500], [0, 1000])])
    assert seen.gain == pytest.approx((0, 0))
    assert seen.margin == pytest.approx(0)
    assert sorted(seen.tops) == [0, 1]


def test_agreement_counts_the_leader_of_the_mean() -> None:
    runs = [_run([1, 1, 1], [3, 0, 0]), _run([1, 1, 1], [3, 0, 0]), _run([1, 1, 1], [0, 3, 0])]
    seen = collapse(runs)
    assert seen.label == 0
    assert seen.agreement == pytest.approx(2 / 3)


def test_only_runs_that_can_be_read_count() -> None:
    good, broken, early = _run([1, 1], [2, 0]), _run([1, 1], None), _run([1, 1], [2, 0], converged=False)
    assert converged([good, broken, early]) == [good]


def test_no_run_is_an_error() -> None:
    with pytest.raises(ValueError):
        collapse([])


def test_an_empty_histogram_does_not_divide_by_zero() -> None:
    assert collapse([_run([0, 0], [1, 1])]).gain == (0.5, 0.5)


def test_two_classes_and_a_thousand() -> None:
    assert collapse([_run([5, 5], [1, 9])]).margin == pytest.approx(0.8)
    before, after = [1] * 1000, [1] * 999 + [1001]
    seen = collapse([_run(before, after)])
    assert seen.label == 999
    assert len(seen.ranked) == 1000
