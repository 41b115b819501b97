"""Plots: readable with many seeds and a thousand classes, and drawn for any trajectory that a worker can send."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from ebyd_scan.evidence.exposure import TrajectoryStep
from ebyd_scan.evidence.finding import Outcome
from ebyd_scan.evidence.result import ScanResult
from ebyd_scan.scanner.reports.html_plots import Line, bar_plot, line_plot, median, score_bar

from .html_pages import exposed, page_of, run_of, text_of, tree_of

ResultOf = Callable[..., ScanResult]


def _exposure(result: ScanResult) -> object:
    return tree_of(page_of(result)).xpath("//section[@aria-labelledby='exposure-h']")[0]


def test_three_seeds_are_told_apart_without_colour(result_of: ResultOf) -> None:
    section = _exposure(result_of("failed", exposure=exposed(*(run_of(seed, 10) for seed in range(3)))))
    accuracy, leading, classes = section.xpath(".//svg[@role='img']")
    assert len(set(accuracy.xpath("./polyline/@stroke-dasharray"))) == 3
    assert len(leading.xpath("./polyline")) == 3
    legend = [text_of(one) for one in section.xpath(".//ul[@class='legend'][1]/li")]
    assert legend[:3] == [f"seed {seed}: class 3 (cat) leads at the end" for seed in range(3)]
    assert "seed 0: 95 % at step 0, 3 % at step 29." in text_of(accuracy)
    assert "3 (cat): 10 % before, 82 % after" in text_of(classes)


def test_many_seeds(result_of: ResultOf) -> None:
    section = _exposure(result_of("failed", exposure=exposed(*(run_of(seed, 4) for seed in range(100)))))
    accuracy = section.xpath(".//svg[@role='img']")[0]
    assert len(accuracy.xpath("./polyline")) == 101  # with the median
    assert "100 runs, from 95 % to 95 % at the start" in text_of(accuracy)
    assert [text_of(one) for one in section.xpath("(.//ul[@class='legend'])[1]/li")] == [
        "median of 100 runs; each run is a thin line"
    ]
    assert "40 more runs are in the JSON report" in text_of(section)


def test_a_thousand_classes(result_of: ResultOf) -> None:
    section = _exposure(result_of("failed", exposure=exposed(run_of(0, 1000, target=777))))
    classes = section.xpath(".//svg[@role='img']")[2]
    assert len(classes.xpath("./rect")) == 2 * 11
    names = classes.xpath("./text[@text-anchor='end']/text()")
    assert names[0] == "777" and names[-1] == "990 others"
    assert "the 980 others together" in text_of(section)


def test_long_trajectories_are_thinned() -> None:
    drawn = str(line_plot("a", "t", [Line("x", [(step, 0.5) for step in range(20_000)])]))
    assert len(drawn) < 5000
    assert "19999" in drawn


def test_runs_that_broke(result_of: ResultOf) -> None:
    idle = run_of(1, 10, broke=True).model_copy(update={"applicable": False, "trajectory": []})
    section = _exposure(result_of("inconclusive", exposure=exposed(run_of(0, 10, broke=True), idle)))
    assert len(section.xpath(".//svg[@role='img']")) == 1  # its accuracy until then
    text = text_of(section)
    assert "did not converge: the loss stopped" in text and "does not apply: the loss stopped" in text


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [TrajectoryStep(step=0, accuracy=1, histogram=[])],
        [TrajectoryStep(step=5, accuracy=0, histogram=[0, 0])],
        [TrajectoryStep(step=end * 10**30, accuracy=0, histogram=[-1, 5][: 2 - end]) for end in (0, 1)],
        [TrajectoryStep(step=step, accuracy=0.5, histogram=[10**40, 1, 1, 1]) for step in (9, 3, 3)],
    ],
    ids=["none", "no classes", "no predictions", "odd", "unordered"],
)
def test_odd_trajectories(result_of: ResultOf, steps: list[TrajectoryStep]) -> None:
    run = run_of(0, 4).model_copy(update={"trajectory": steps})
    page = page_of(result_of("failed", exposure=exposed(run, *[run] * 7)))
    assert not re.search(r"\b(nan|inf)\b", page.split("<main>")[1])


def test_the_median_follows_the_runs_that_are_left() -> None:
    lines = [Line("a", [(0, 0.1), (1, 0.2)]), Line("b", [(0, 0.3)]), Line("c", [(0, 0.9)])]
    assert median(lines) == [(0, 0.3), (1, 0.2)]


@pytest.mark.parametrize(("score", "threshold"), [(1e308, -1e308), (-5.0, 2.0), (0.0, 1e-300), (3.0, 3.0)])
def test_score_bars_stay_in_their_room(score: float, threshold: float) -> None:
    drawn = str(score_bar(score, threshold))
    start, width = (float(re.search(rf'class="fill".*? {name}="([^"]+)"', drawn)[1]) for name in ("x", "width"))
    assert start >= 5 and start + width <= 196.1
    assert 5 <= float(re.search(r"M([\d.]+) 1v16", drawn)[1]) <= 195


def test_no_bar_without_a_comparison() -> None:
    assert score_bar(None, 1.0) is None
    assert score_bar(1.0, None) is None
    assert score_bar(0.0, 0.0) is None


def test_nothing_to_draw() -> None:
    assert "<svg" in str(bar_plot("a", "t", []))


def test_all_labels_of_a_comparison_can_be_read(result_of: ResultOf) -> None:
    finding = next(one for one in result_of("failed").findings if one.witness)
    witness = finding.witness.model_copy(update={"control_sizes": {label: 0.01 + label for label in range(4, 1004)}})
    result = result_of("failed", findings=[finding.model_copy(update={"witness": witness})])
    tree = tree_of(page_of(result))
    assert finding.outcome is Outcome.FAILED
    assert len(tree.xpath("//*[@id='comparison-0-t']/../*[name()='rect']")) == 10
    assert "991 more labels are not drawn" in text_of(tree.body)
