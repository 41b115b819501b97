"""Which labels are searched, and how they are compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
from ebyd_scan.checks.trigger_inversion import Replay, Trigger  # noqa: E402
from ebyd_scan.checks.trigger_search import _compare, class_map, labels_to_search  # noqa: E402
from ebyd_scan.evidence.artifact import Artifact  # noqa: E402
from ebyd_scan.evidence.context import Evidence  # noqa: E402
from ebyd_scan.evidence.exposure import ExposureRun, TrajectoryStep  # noqa: E402


def _run(seed: int, collapsed: int, classes: int = 10) -> ExposureRun:
    even = [10] * classes
    after = [60 if label == collapsed else 0 for label in range(classes)]
    step = {"step": 0, "accuracy": 0.9}
    return ExposureRun(
        method="clean-unlearning",
        seed=seed,
        converged=True,
        reason="",
        trajectory=[],
        before=TrajectoryStep(histogram=even, **step),
        after=TrajectoryStep(histogram=after, **step),
    )


def _evidence(classifier: Any, samples: Any, tops: tuple[int, ...] = ()) -> Evidence:
    artifact = Artifact(path=Path("m"), format="safetensors", sha256="0" * 64, size=1)
    runs = [_run(seed, top, samples.num_classes) for seed, top in enumerate(tops)]
    return Evidence(artifact=artifact, seed=3, classifier=classifier, samples=samples, exposures=runs)


def _labels(evidence: Evidence, **changes: int) -> tuple[list[int], int | None]:
    return labels_to_search(evidence, **{"suspects": 2, "controls": 3, "max_all_labels": 20, **changes})


def test_few_classes_are_all_searched(clean_digits: Any, digit_samples: Any) -> None:
    assert _labels(_evidence(clean_digits, digit_samples, (7, 7, 7))) == (list(range(10)), 7)
    assert _labels(_evidence(clean_digits, digit_samples)) == (list(range(10)), None)


def test_runs_that_disagree_name_no_label(clean_digits: Any, digit_samples: Any) -> None:
    assert _labels(_evidence(clean_digits, digit_samples, (7, 2, 4)))[1] is None
    assert _labels(_evidence(clean_digits, digit_samples, (7, 2, 7)))[1] == 7


def test_many_classes_are_not_all_searched(clean_digits: Any, digit_samples: Any) -> None:
    names = tuple(str(label) for label in range(1000))
    samples = replace(digit_samples, num_classes=1000, class_names=names)
    evidence = _evidence(clean_digits, samples, (700, 700, 700))
    labels, named = _labels(evidence)
    assert named == 700
    assert labels[0] == 700
    assert len(labels) == len(set(labels)) == 5
    assert _labels(evidence) == (labels, named)  # drawn with the seed
    assert _labels(replace(evidence, exposures=())) == ([], None)
    # Without BatchNorm the collapse is not to be trusted.
    assert _labels(replace(evidence, classifier=replace(clean_digits, has_batch_norm=False))) == ([], None)


def _trigger(label: int, size: float, found: bool = True, shift: float = 0.0) -> Trigger:
    return Trigger("patch", label, size, 1.0, found, lambda pixels: (pixels + shift).clamp(0, 1))


def test_leads_and_labels_that_were_not_reached(clean_digits: Any, digit_samples: Any) -> None:
    replay = Replay(clean_digits, digit_samples.held_out)
    others = [_trigger(1, 6.0), _trigger(2, 9.0), _trigger(3, 1.0, found=False), _trigger(4, 30.0, found=False)]
    compared = _compare(_trigger(0, 3.0), others, replay)
    # Label 3 gave up at 1.0 and counts as no smaller than the largest that was reached.
    assert compared.witness.control_sizes == {1: 6.0, 2: 9.0, 3: 9.0, 4: 30.0}
    assert compared.lead == 2
    assert compared.lead_of_two == 3
    assert compared.ratio == 3
    assert _compare(_trigger(0, 3.0), others[:1], replay).lead_of_two is None


def test_where_a_trigger_sends_each_class(clean_digits: Any, digit_samples: Any) -> None:
    replay = Replay(clean_digits, digit_samples.held_out)
    goes, united = class_map(_trigger(-1, 1.0, shift=1.0), replay, 10)  # white: every sample looks alike
    where = {to for to in goes if to is not None}
    assert len(where) <= 2
    assert united > 0.8
    goes, united = class_map(_trigger(-1, 1.0), replay, 11)  # nothing is changed, and class 10 has no samples
    assert goes[10] is None
    assert united == 0
