"""Which labels are searched, and how they are compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
from ebyd_scan.checks.trigger_families import amplitudes  # noqa: E402
from ebyd_scan.checks.trigger_inversion import Replay, Trigger  # noqa: E402
from ebyd_scan.checks.trigger_search import Search, _compare, contrast, labels_to_search, search  # noqa: E402
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
    return Trigger("patch", label, size, 1.0, found, True, lambda pixels: (pixels + shift).clamp(0, 1))


def test_leads_and_labels_that_were_not_reached(clean_digits: Any, digit_samples: Any) -> None:
    replay = Replay(clean_digits, digit_samples.held_out)
    others = [_trigger(1, 0.06), _trigger(2, 0.09), _trigger(3, 0.01, found=False), _trigger(4, 0.3, found=False)]
    compared = _compare(_trigger(0, 0.03), others, replay, scale=2.0)
    # Labels 3 and 4 were not reached at any size and count as no smaller than the largest that was reached.
    assert compared.witness.control_sizes == {1: 0.06, 2: 0.09, 3: 0.09, 4: 0.09}
    assert compared.lead == 2
    assert compared.lead_of_two == 3
    assert compared.relative_size == 0.015
    assert _compare(_trigger(0, 0.03), others[:1], replay).lead_of_two is None
    # Where no other was reached they count as what is usual in clean models.
    assert set(_compare(_trigger(0, 0.001), others[2:], replay).witness.control_sizes.values()) == {0.03}


def test_a_search_compares_the_labels_that_it_searched_to_the_end(backdoored_digits: Any, digit_samples: Any) -> None:
    evidence = _evidence(backdoored_digits, digit_samples)
    replay = Replay(backdoored_digits, digit_samples.held_out)
    compared, shift = search(evidence, range(10), 2, "patch", Search(90, 16, survivors=3), replay)
    assert len(compared) == 3
    assert compared[0].trigger.label == 2
    assert compared[0].named
    assert not compared[1].named
    assert all(len(one.witness.control_sizes) == 9 for one in compared)
    assert compared[0].lead > 1 > compared[1].lead
    assert shift is None or shift.trigger.size > compared[0].trigger.size


def test_contrast_is_counted_as_a_blended_pattern(digit_samples: Any) -> None:
    part = digit_samples.exposure
    whole = contrast(part)
    assert contrast(replace(part, inputs=part.pixels / 2)) == pytest.approx(whole / 2, rel=1e-4)
    one = part.labels == 1
    assert contrast(replace(part, inputs=part.pixels[one], labels=part.labels[one])) == 1
    wave = torch.cos((torch.arange(16) + 0.5) * torch.pi * 4 / 16).expand(1, 1, 16, 16)
    assert float(amplitudes(0.2 * wave)) == pytest.approx(0.2 * 0.5**0.5, rel=1e-3)
