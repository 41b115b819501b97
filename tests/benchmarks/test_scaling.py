"""The formulas of docs/scaling.md: no model is measured here."""

from __future__ import annotations

import pytest
from ebyd_scan.benchmarks.scaling_formula import (
    FORWARD,
    SEARCH,
    TRAIN,
    Fit,
    Passes,
    Plan,
    Point,
    fit,
    gpu_seconds,
    picture_passes,
)


def test_passes_count_as_forward_passes() -> None:
    assert Passes(1, {FORWARD: 10, SEARCH: 4, TRAIN: 2}).forwards == 10 + 2 * 4 + 3 * 2


def test_a_line_is_found_again() -> None:
    points = [Point(0.002 * calls + 2e-11 * flops, calls, flops) for calls, flops in ((3, 1e9), (8, 5e10), (9, 2e12))]
    found = fit(points)
    assert found.a == pytest.approx(0.002) and found.b == pytest.approx(2e-11)
    assert found.seconds(100, 1e12) == pytest.approx(20.2)


def test_neither_figure_is_below_zero() -> None:
    shrinking = [Point(1.0, 10, 1e9), Point(1.0, 1, 1e10), Point(0.5, 20, 1e10)]
    found = fit(shrinking)
    assert found.a >= 0 and found.b >= 0 and found.a + found.b > 0
    only_work = fit([Point(1.0, 0, 1e10), Point(2.0, 0, 2e10)])
    assert only_work == Fit(0.0, pytest.approx(1e-10))


def test_a_point_is_no_line() -> None:
    with pytest.raises(ValueError, match="do not make a line"):
        fit([Point(1.0, 1, 1.0)])


def test_passes_of_a_scan() -> None:
    plan = Plan(exposure=100, held_out=100, seeds=2, epochs=3, families=1, steps=30, batch_size=2, survivors=4)
    passes = picture_passes(plan, 10)
    assert passes.units[TRAIN] == 2 * 3 * 100
    assert passes.units[SEARCH] == 2 * (10 * 10 + 20 * 4 + 30)  # ten labels a third of the way, then four; all-to-all
    assert passes.units[FORWARD] == 200 + 3 * 100 + 200 + 4 * 100


def test_the_search_does_not_grow_with_the_classes_but_with_the_labels_searched() -> None:
    ten, all_of_them = (picture_passes(Plan(), labels).units[SEARCH] for labels in (10, 1000))
    assert 40 < all_of_them / ten < 60


def test_gpu_seconds() -> None:
    assert gpu_seconds(7e12, 20e12, 0.35) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="a GPU with"):
        gpu_seconds(1.0, 1.0, 0.0)


def test_texts_grow_with_their_length() -> None:
    from ebyd_scan.benchmarks.scaling_projection import text_passes

    counted = {"stages": {"search": {"calls": 10, "units": {FORWARD: 640, SEARCH: 64}}}}
    plan = Plan(exposure=4, held_out=4, seeds=1, epochs=1)
    passes = text_passes(counted, 128, plan)
    assert passes.units == {FORWARD: 1280 + 128 * (8 + 2 * 4), SEARCH: 128, TRAIN: 128 * 4}


def test_the_count_of_passes_is_that_of_the_search_itself() -> None:
    """A whole search of a small network, counted."""
    import torch
    from ebyd_scan.benchmarks.scaling_measure import Stages
    from ebyd_scan.checks.trigger_inversion import NEXT, invert_labels
    from ebyd_scan.evidence.classifier import Classifier
    from ebyd_scan.evidence.samples import SamplePart
    from ebyd_scan.fixtures.networks import plain_convnet

    torch.manual_seed(0)
    classifier = Classifier(plain_convnet(10, width=2).eval(), 10, (0.5,) * 3, (0.25,) * 3, "cpu", "", True, True)
    part = SamplePart(torch.rand(20, 3, 8, 8), torch.arange(20) % 10)
    plan = Plan(exposure=20, held_out=20, families=1, steps=9, batch_size=2)
    stages = Stages()
    stages.count(classifier, SEARCH)
    with stages.stage("search"):
        invert_labels(
            classifier, part, [*range(10), NEXT], family="patch", steps=9, batch_size=2, seed=0, survivors=4
        )  # fmt: skip
    assert stages.measured["search"]["units"][SEARCH] == picture_passes(plan, 10).units[SEARCH]
