"""`reference-drift` on exposures as they come out of real models, and on odd ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.checks.reference import ReferenceDrift
from ebyd_scan.evidence.artifact import Artifact
from ebyd_scan.evidence.classifier import Classifier
from ebyd_scan.evidence.context import Evidence
from ebyd_scan.evidence.exposure import ExposureRun, TrajectoryStep
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.evidence.samples import CleanSamples, SamplePart

torch = pytest.importorskip("torch")
EVEN = [20] * 10
RISEN = Outcome.INCONCLUSIVE  # by itself


def _classifier(seed: int = 0, **changes: Any) -> Classifier:
    """Sees which of ten pixels is lit."""
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(10, 10))
    with torch.no_grad():
        module[1].weight.mul_(0.01).add_(torch.eye(10))
        module[1].bias.zero_()
    values: dict[str, Any] = {
        "module": module.eval(),
        "num_classes": 10,
        "mean": (0.0,),
        "std": (1.0,),
        "device": "cpu",
        "architecture": "pixels",
        "trainable": True,
        "has_batch_norm": True,
        **changes,
    }
    return Classifier(**values)


def _wrong_on(count: int) -> Classifier:
    """Never answers the last `count` classes."""
    classifier = _classifier(7)
    with torch.no_grad():
        classifier.module[1].bias[10 - count :] = -50  # type: ignore[index]
    return classifier


def _run(seed: int, after: list[int] | None, **changes: Any) -> ExposureRun:
    values: dict[str, Any] = {"converged": after is not None, "reason": "it stopped", **changes}
    before = TrajectoryStep(step=0, accuracy=1, histogram=EVEN)
    last = None if after is None else TrajectoryStep(step=9, accuracy=0.1, histogram=after)
    return ExposureRun(method="m", seed=seed, trajectory=[], before=before, after=last, **values)


def _runs(*histograms: list[int] | None) -> list[ExposureRun]:
    return [_run(seed, histogram) for seed, histogram in enumerate(histograms)]


def _onto(label: int, share: float) -> list[int]:
    histogram = [round(200 * (1 - share) / 9)] * 10
    histogram[label] = 200 - 9 * histogram[label - 1]
    return histogram


def _artifact(digest: str, form: Any = "safetensors") -> Artifact:
    return Artifact(path=Path(f"{digest}.bin"), format=form, sha256=digest * 64, size=1)


def _evidence(model: list[ExposureRun], other: list[ExposureRun], **changes: Any) -> Evidence:
    pixels = torch.eye(10).view(10, 1, 1, 10).repeat(20, 1, 1, 1)
    part = SamplePart(pixels, torch.arange(10).repeat(20))
    names = tuple(f"class {index}" for index in range(10))
    values: dict[str, Any] = {
        "artifact": _artifact("a"),
        "seed": 0,
        "classifier": _classifier(1),
        "samples": CleanSamples(Path("s"), "0" * 64, 10, names, part, part),
        "exposures": model,
        "reference": _classifier(2),
        "reference_artifact": _artifact("b"),
        "reference_exposures": other,
        **changes,
    }
    return Evidence(**values)


def _look(model: list[ExposureRun], other: list[ExposureRun], **changes: Any) -> Finding:
    return ReferenceDrift().run(_evidence(model, other, **changes))


def test_without_a_reference_it_is_skipped_with_the_reason() -> None:
    found = _look(_runs(EVEN), [], reference=None, reference_artifact=None)
    assert found.outcome is Outcome.SKIPPED
    assert "--reference" in found.message


def test_a_label_that_rose_in_every_run() -> None:
    found = _look(_runs(_onto(3, 0.6), _onto(3, 0.7), _onto(3, 0.65)), _runs(EVEN, EVEN, EVEN))
    assert (found.outcome, found.label, found.label_name) == (RISEN, 3, "class 3")
    assert found.score == pytest.approx(0.5, abs=0.02)  # the run in which it rose least
    assert found.threshold == 0.3
    assert found.metrics["mean_rise"] == pytest.approx(0.55, abs=0.02)
    assert found.metrics["agreement"] == 1
    assert (found.metrics["reference"], found.metrics["reference_sha256"]) == ("b" + ".bin", "b" * 64)


def test_in_all_runs_but_one_is_not_enough() -> None:
    found = _look(_runs(_onto(3, 0.7), _onto(3, 0.7), _onto(4, 0.7)), _runs(EVEN, EVEN, EVEN))
    assert found.outcome is Outcome.PASSED
    assert found.label is None


def test_a_collapse_that_the_reference_had_too_is_no_drift() -> None:
    both = _runs(_onto(3, 0.45), _onto(3, 0.4), _onto(3, 0.45))
    assert _look(both, both).outcome is Outcome.PASSED
    assert _look(both, both).score == pytest.approx(0, abs=0.01)


def test_what_the_reference_lost_is_no_drift_of_the_model() -> None:
    drained = [0, *[22] * 8, 24]  # the reference stopped predicting label 0
    found = _look(_runs(*[_onto(0, 0.35)] * 3), _runs(drained, drained, drained))
    assert found.score == pytest.approx(0.27, abs=0.01)  # and not 0.37
    assert found.outcome is Outcome.PASSED


def test_runs_are_compared_by_seed() -> None:
    model = [_run(seed, _onto(seed, 0.45)) for seed in (0, 1, 2)]
    reference = [_run(seed, _onto(seed, 0.45)) for seed in (2, 0, 1)]
    assert _look(model, reference).score == pytest.approx(-0.06, abs=0.07)


@pytest.mark.parametrize(
    ("model", "reference", "said"),
    [
        (_runs(EVEN, EVEN, None), _runs(EVEN, EVEN, EVEN), "with 2 of 3 seeds"),
        (_runs(EVEN, EVEN, EVEN), _runs(None, None, None), "with 0 of 3 seeds"),
    ],
)
def test_what_cannot_be_compared_is_inconclusive(
    model: list[ExposureRun], reference: list[ExposureRun], said: str
) -> None:
    found = _look(model, reference)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert said in found.message
    assert found.label is None


def test_a_reference_that_collapses_itself_is_nothing_to_compare_with() -> None:
    found = _look(_runs(*[_onto(3, 0.9)] * 3), _runs(EVEN, EVEN, _onto(6, 0.9)))
    assert found.outcome is Outcome.SKIPPED
    assert "The reference itself collapses onto 'class 6'" in found.message


@pytest.mark.parametrize(
    ("outcome", "label", "wanted"),
    [
        (Outcome.INCONCLUSIVE, 3, Outcome.FAILED),
        (Outcome.FAILED, 3, Outcome.FAILED),
        (Outcome.INCONCLUSIVE, 4, RISEN),
        (Outcome.PASSED, 3, RISEN),
        (Outcome.ERROR, None, RISEN),
    ],
)
def test_a_rise_fails_together_with_a_trigger_toward_the_same_label(
    outcome: Outcome, label: int | None, wanted: Outcome
) -> None:
    earlier = Finding(check="model-detection", outcome=outcome, message="m", label=label)
    found = _look(_runs(*[_onto(3, 0.7)] * 3), _runs(EVEN, EVEN, EVEN), findings=(earlier,))
    assert (found.outcome, found.label) == (wanted, 3)
    other = earlier.model_copy(update={"check": "backdoor-label"})
    assert _look(_runs(*[_onto(3, 0.7)] * 3), _runs(EVEN, EVEN, EVEN), findings=(other,)).outcome is RISEN
    assert _look(_runs(EVEN, EVEN, EVEN), _runs(EVEN, EVEN, EVEN), findings=(earlier,)).outcome is Outcome.PASSED


@pytest.mark.parametrize("worse", ["classifier", "reference"])
def test_models_of_different_quality_are_inconclusive(worse: str) -> None:
    found = _look(_runs(*[_onto(3, 0.8)] * 3), _runs(EVEN, EVEN, EVEN), **{worse: _wrong_on(3)})
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "70%" in found.message
    evidence = _evidence(_runs(EVEN, EVEN, EVEN), _runs(EVEN, EVEN, EVEN), **{worse: _wrong_on(3)})
    assert ReferenceDrift(max_accuracy_gap=0.4).run(evidence).outcome is Outcome.PASSED


@pytest.mark.parametrize("who", ["classifier", "reference"])
def test_without_batch_norm_it_does_not_apply(who: str) -> None:
    found = _look(_runs(*[_onto(3, 0.8)] * 3), _runs(EVEN, EVEN, EVEN), **{who: _classifier(has_batch_norm=False)})
    assert found.outcome is Outcome.SKIPPED
    assert "BatchNorm" in found.message


def test_where_exposure_does_not_apply_the_reason_is_told() -> None:
    frozen = [_run(0, None, applicable=False, reason="the graph is frozen")]
    for model, reference in ((frozen, _runs(EVEN)), (_runs(EVEN), frozen)):
        found = _look(model, reference)
        assert (found.outcome, found.message) == (Outcome.SKIPPED, "the graph is frozen")


class TestTheModelItself:
    collapsed = _runs(*[_onto(6, 0.9)] * 3)

    def test_the_same_tensors_in_another_file(self) -> None:
        found = _look(self.collapsed, self.collapsed, classifier=_classifier(3), reference=_classifier(3))
        assert (found.outcome, found.score) == (Outcome.PASSED, 0)
        assert "The model is the reference" in found.message

    def test_the_same_file(self) -> None:
        assert _look(self.collapsed, self.collapsed, reference_artifact=_artifact("a")).outcome is Outcome.PASSED

    @pytest.mark.parametrize(
        "change",
        [
            {"reference": _classifier(4)},
            {"reference": _classifier(3, architecture="another")},
            {"reference_artifact": _artifact("b", "torchscript")},  # may compute other things with the same tensors
            {"reference": replace(_classifier(3), module=torch.nn.Flatten()), "classifier": _classifier(3)},
        ],
    )
    def test_something_else(self, change: dict[str, Any]) -> None:
        evidence = _evidence(self.collapsed, self.collapsed, **{"classifier": _classifier(3), **change})
        assert not evidence.is_reference

    def test_no_tensors_are_not_the_same_tensors(self) -> None:
        empty = replace(_classifier(), module=torch.nn.Flatten())
        assert not empty.same_tensors(empty)


@pytest.mark.slow
def test_a_planted_label_rises_over_a_clean_reference(
    backdoored_digits: Any, clean_digits: Any, digit_samples: Any
) -> None:
    from ebyd_scan.exposers.clean_unlearning import CleanUnlearning

    exposer = CleanUnlearning()
    runs = {
        name: [exposer.expose(classifier, digit_samples, seed=seed).run for seed in range(3)]
        for name, classifier in (("planted", backdoored_digits), ("clean", clean_digits))
    }
    common = {"samples": digit_samples, "classifier": backdoored_digits, "reference": clean_digits}
    planted = ReferenceDrift(max_rise=0.1).run(_evidence(runs["planted"], runs["clean"], **common))
    assert (planted.outcome, planted.label) == (RISEN, 2)
    common = {"samples": digit_samples, "classifier": clean_digits, "reference": backdoored_digits}
    clean = ReferenceDrift(max_reference_gain=1).run(_evidence(runs["clean"], runs["planted"], **common))
    assert clean.outcome is Outcome.PASSED
    assert clean.metrics["accuracy"] > 0.95
