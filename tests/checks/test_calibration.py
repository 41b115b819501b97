"""From ratios to false-positive rates."""

from __future__ import annotations

import pytest
from ebyd_scan.checks.calibration import (
    FAMILIES_IN_ORDER,
    LEAD,
    LEAD_OF_TWO,
    CleanRatios,
    false_positive_rate,
    outward_false_positive_rate,
    student_tail,
    unit,
)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 10, 27])
@pytest.mark.parametrize("value", [-2.0, 0.0, 0.5, 3.0, 8.0])
def test_students_tail(value: float, freedom: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert student_tail(value, freedom) == pytest.approx(stats.t.sf(value, freedom), abs=1e-12)


def test_few_models_say_less_than_many() -> None:
    few, many = (CleanRatios(0.1, 0.1, count).tail(1.6) for count in (5, 50))
    assert few > 5 * many


@pytest.mark.parametrize("family", FAMILIES_IN_ORDER)
def test_a_larger_lead_is_rarer(family: str) -> None:
    rates = [false_positive_rate(family, lead, lead, named=None) for lead in (1.0, 1.5, 3.0, 10.0)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 1
    assert rates[-1] < 0.01
    assert set(LEAD) == set(LEAD_OF_TWO) == set(FAMILIES_IN_ORDER)
    assert unit(family)


def test_two_targets_need_no_lead_over_each_other() -> None:
    assert false_positive_rate("patch", 1.0, None, named=None) == 1
    assert false_positive_rate("patch", 1.0, 4.0, named=None) < 0.001


def test_a_named_label_is_believed_sooner_and_the_others_later() -> None:
    none, named, other = (false_positive_rate("patch", 1.5, 1.5, named=how) for how in (None, True, False))
    assert named < none < other


def test_outward() -> None:
    assert outward_false_positive_rate("patch", 4.0) < 0.01
    assert outward_false_positive_rate("patch", 0.4) == 1
    assert outward_false_positive_rate("warp", 100.0) == 1  # no figure for it, no claim
