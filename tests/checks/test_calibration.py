"""From ratios to false-positive rates."""

from __future__ import annotations

import pytest
from ebyd_scan.checks.calibration import (
    CLEAN,
    FAMILIES_IN_ORDER,
    CleanModels,
    CleanSizes,
    all_to_all_false_positive_rate,
    false_positive_rate,
    student_tail,
    usual_size,
)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 10, 27])
@pytest.mark.parametrize("value", [-2.0, 0.0, 0.5, 3.0, 8.0])
def test_students_tail(value: float, freedom: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert student_tail(value, freedom) == pytest.approx(stats.t.sf(value, freedom), abs=1e-12)


def test_few_models_say_less_than_many() -> None:
    few, many = (
        CleanModels((0.1, 0.1), (0.2, 0.1), (-3.0, 0.3), (0.0, 1.0), (0.0, 1.0), count).tail(1.6, 0.05)
        for count in (5, 50)
    )
    assert few > 5 * many
    few, many = (CleanSizes(-1.0, 0.5, count).below(0.05) for count in (5, 50))
    assert few > 5 * many


@pytest.mark.parametrize("family", FAMILIES_IN_ORDER)
def test_a_larger_lead_is_rarer(family: str) -> None:
    size = usual_size(family)
    rates = [false_positive_rate(family, lead, lead, size, named=None) for lead in (1.0, 1.5, 3.0, 20.0)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 1
    assert rates[-1] < 0.01
    assert set(CLEAN) == set(FAMILIES_IN_ORDER)


@pytest.mark.parametrize("family", FAMILIES_IN_ORDER)
def test_a_smaller_trigger_is_rarer_and_a_large_one_no_excuse(family: str) -> None:
    median = 2.718281828 ** CLEAN[family].size[0]
    rates = [false_positive_rate(family, 1.4, 1.5, share * median, named=None) for share in (4, 1, 0.3, 0.1, 0.01)]
    assert rates[0] == rates[1]
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] < 0.001


def test_two_targets_need_no_lead_over_each_other() -> None:
    assert false_positive_rate("patch", 1.0, None, 0.03, named=None) == 1
    assert false_positive_rate("patch", 1.0, 4.0, 0.015, named=None) < 0.001


def test_a_named_label_is_believed_sooner_and_the_others_later() -> None:
    none, named, other = (false_positive_rate("patch", 1.5, 1.5, 0.02, named=how) for how in (None, True, False))
    assert named < none < other


def test_all_to_all() -> None:
    assert all_to_all_false_positive_rate(0.005) < 0.005
    assert all_to_all_false_positive_rate(0.3) == 1
