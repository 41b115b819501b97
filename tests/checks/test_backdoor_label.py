"""`backdoor-label` on exposure runs as they come out of real models, and on odd ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.checks.backdoor_label import BackdoorLabel
from ebyd_scan.evidence.artifact import Artifact
from ebyd_scan.evidence.context import Evidence
from ebyd_scan.evidence.exposure import ExposureRun, TrajectoryStep
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.evidence.samples import CleanSamples, SamplePart


def _evidence(runs: list[ExposureRun], classes: int) -> Evidence:
    nothing: Any = SamplePart([], [])  # type: ignore[arg-type]  # the check looks at the names only
    names = tuple(f"class {index}" for index in range(classes))
    samples = CleanSamples(Path("s"), "0" * 64, classes, names, nothing, nothing)
    artifact = Artifact(path=Path("m"), format="safetensors", sha256="0" * 64, size=1)
    return Evidence(artifact=artifact, seed=0, samples=samples, exposures=runs)


def _run(after: list[int] | None, before: list[int] | None = None, **changes: Any) -> ExposureRun:
    classes = len(after or before or [0] * 10)
    values: dict[str, Any] = {"converged": after is not None, "reason": "it stopped", **changes}
    return ExposureRun(
        method="m",
        seed=0,
        trajectory=[],
        before=TrajectoryStep(step=0, accuracy=1, histogram=before or [20] * classes),
        after=None if after is None else TrajectoryStep(step=9, accuracy=0.1, histogram=after),
        **values,
    )


def _look(runs: list[ExposureRun], classes: int = 10, **options: Any) -> Finding:
    return BackdoorLabel(**options).run(_evidence(runs, classes))


def _onto(label: int, count: int = 150, classes: int = 10) -> list[int]:
    histogram = [(200 - count) // (classes - 1)] * classes
    histogram[label] = count
    return histogram


def test_a_common_collapse_is_named_and_never_failed() -> None:
    found = _look([_run(_onto(3))] * 3)
    assert (found.outcome, found.label, found.label_name) == (Outcome.PASSED, 3, "class 3")
    assert found.score == pytest.approx(150 / 195 - 0.1, abs=0.01)
    assert found.metrics["agreement"] == 1
    assert "model-detection" in found.message


def test_a_label_that_was_frequent_before_is_not_named() -> None:
    before, after = _onto(3, 150), _onto(3, 155)
    found = _look([_run(after, before)] * 3)
    assert found.outcome is Outcome.PASSED
    assert found.label is None


def test_it_is_the_gain_that_counts() -> None:
    # Half of all samples are class 0; what the predictions flow to is class 5.
    before = [100, 11, 11, 11, 11, 11, 11, 12, 11, 11]
    after = [110, 0, 0, 0, 0, 90, 0, 0, 0, 0]
    assert _look([_run(after, before)] * 3).label == 5


def test_runs_that_disagree_name_nobody() -> None:
    found = _look([_run(_onto(1)), _run(_onto(2)), _run(_onto(3))])
    assert found.outcome is Outcome.PASSED
    assert found.label is None
    assert found.label_name is None
    assert "no single label" in found.message


def test_two_of_three_are_enough() -> None:
    assert _look([_run(_onto(1)), _run(_onto(1)), _run(_onto(3, 60))]).label == 1
    assert _look([_run(_onto(1)), _run(_onto(1)), _run(_onto(3, 60))], min_agreement=0.9).label is None


def test_a_narrow_lead_names_nobody() -> None:
    two = [0, 102, 98, 0, 0, 0, 0, 0, 0, 0]
    assert _look([_run(two)] * 3).label is None
    assert _look([_run(two)] * 3, min_margin=0.01).label == 1


def test_too_few_converged_runs_are_inconclusive() -> None:
    broken = _run(None, [20] * 10, reason="the loss stopped being a number at step 4")
    found = _look([_run(_onto(3)), _run(_onto(3)), broken])
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.label is None
    assert "2 of 3" in found.message
    assert "stopped being a number" in found.message


def test_too_few_runs_at_all_say_what_to_change() -> None:
    found = _look([_run(_onto(3))] * 2)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "exposure.seeds" in found.message
    assert _look([_run(_onto(3))] * 2, min_runs=2).label == 3
    assert _look([]).outcome is Outcome.INCONCLUSIVE


def test_a_method_that_does_not_apply_is_skipped_with_the_reason() -> None:
    found = _look([_run(None, [20] * 10, applicable=False, reason="the graph is frozen")] * 3)
    assert found.outcome is Outcome.SKIPPED
    assert found.message == "the graph is frozen"


def test_two_classes() -> None:
    assert _look([_run([190, 10], [100, 100])] * 3, classes=2).label == 0
    assert _look([_run([101, 99], [100, 100])] * 3, classes=2).label is None


def test_a_hundred_classes() -> None:
    before = [2] * 100
    spread = _look([_run([3, 1] * 50, before)] * 3, classes=100)
    assert spread.label is None
    onto = _look([_run(_onto(42, 120, 100), before)] * 3, classes=100)
    assert (onto.label, onto.label_name) == (42, "class 42")
