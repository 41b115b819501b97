"""`model-detection` on a planted and a clean model, from real exposure runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
from ebyd_scan.checks.backdoor_label import BackdoorLabel  # noqa: E402
from ebyd_scan.checks.model_detection import ModelDetection  # noqa: E402
from ebyd_scan.evidence.artifact import Artifact  # noqa: E402
from ebyd_scan.evidence.context import Evidence  # noqa: E402
from ebyd_scan.evidence.finding import Finding, Outcome  # noqa: E402
from ebyd_scan.evidence.recovered import RecoveredTrigger  # noqa: E402
from ebyd_scan.exposers.clean_unlearning import CleanUnlearning  # noqa: E402

TARGET = 2


def _evidence(classifier: Any, samples: Any, **more: Any) -> Evidence:
    artifact = Artifact(path=Path("m"), format="safetensors", sha256="0" * 64, size=1)
    runs = [CleanUnlearning().expose(classifier, samples, seed=seed).run for seed in range(3)]
    return Evidence(artifact=artifact, seed=0, classifier=classifier, samples=samples, exposures=runs, **more)


@pytest.fixture(scope="module")
def on_backdoored(backdoored_digits: Any, digit_samples: Any) -> Evidence:
    return _evidence(backdoored_digits, digit_samples)


@pytest.fixture(scope="module")
def on_clean(clean_digits: Any, digit_samples: Any) -> Evidence:
    return _evidence(clean_digits, digit_samples)


@pytest.fixture(scope="module")
def kept() -> list[RecoveredTrigger]:
    return []


@pytest.fixture(scope="module")
def failed(on_backdoored: Evidence, kept: list[RecoveredTrigger]) -> Finding:
    return ModelDetection().run(replace(on_backdoored, keep=kept.append))


def test_exposure_names_the_target(on_backdoored: Evidence) -> None:
    found = BackdoorLabel().run(on_backdoored)
    assert (found.label, found.label_name) == (TARGET, "digit 2")


def test_a_planted_model_fails_with_a_witness(failed: Finding) -> None:
    assert failed.outcome is Outcome.FAILED
    assert (failed.label, failed.label_name) == (TARGET, "digit 2")
    assert failed.score is not None and failed.threshold is not None
    assert failed.score >= failed.threshold
    assert 0 <= float(failed.metrics["false_positive_rate"]) <= 0.005
    assert str(TARGET) in str(failed.metrics["suspect_labels"]).split()
    witness = failed.witness
    assert witness is not None
    assert witness.label == TARGET
    assert TARGET not in witness.control_sizes
    assert witness.size < min(witness.control_sizes.values())
    assert witness.attack_success_rate >= 0.5
    assert witness.samples > 100
    assert "digit 2" in failed.message
    assert "held-out" in failed.message


def test_the_witness_is_handed_over_with_samples(failed: Finding, kept: list[RecoveredTrigger]) -> None:
    assert failed.witness is not None
    first = kept[0]
    assert (first.label, first.label_name, first.family) == (TARGET, "digit 2", failed.witness.family)
    assert first.before.shape == first.after.shape == (5, 16, 16, 1)
    assert (first.predicted_before == first.true_labels).all()
    assert (first.predicted_after == TARGET).all()
    assert len(set(first.true_labels.tolist())) == 5
    assert first.parts["mask"].shape == (16, 16)


def test_a_clear_patch_ends_the_search(failed: Finding) -> None:
    assert not any(metric.startswith("lead_filter") for metric in failed.metrics)


def test_a_clean_model_passes(on_clean: Evidence) -> None:
    kept: list[RecoveredTrigger] = []
    found = ModelDetection().run(replace(on_clean, keep=kept.append))
    assert found.outcome is Outcome.PASSED, found.message
    assert found.label is None
    assert found.score is not None and found.threshold is not None
    assert found.score < found.threshold
    assert {name.split("_")[1] for name in found.metrics if name.startswith("lead")} >= {"patch", "blend", "filter"}
    assert not kept


def test_a_trigger_that_does_not_hold_is_no_witness(on_backdoored: Evidence) -> None:
    unsure = ModelDetection(min_attack_success=1.0).run(on_backdoored)
    assert unsure.outcome is Outcome.INCONCLUSIVE
    assert unsure.label == TARGET


def test_with_few_samples_nothing_fails(on_backdoored: Evidence) -> None:
    unsure = ModelDetection(min_per_class=21).run(on_backdoored)  # there are 20
    assert unsure.outcome is Outcome.INCONCLUSIVE
    assert unsure.label == TARGET
    assert "With 20 a class" in unsure.message


def test_without_exposure_and_with_many_classes_it_cannot_tell(on_backdoored: Evidence) -> None:
    found = ModelDetection(max_all_labels=9).run(replace(on_backdoored, exposures=()))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.label is None


def test_with_many_classes_suspects_and_controls_are_searched(on_backdoored: Evidence) -> None:
    found = ModelDetection(max_all_labels=9, suspects=1, controls=4).run(on_backdoored)
    assert found.metrics["labels_compared"] <= 5
    assert found.label == TARGET


def test_a_model_that_no_trigger_moves_is_no_pass(on_backdoored: Evidence) -> None:
    class Constant(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.arange(10.0).expand(len(x), 10) * 100 + x.mean() * 0

    classifier = on_backdoored.classifier
    assert classifier is not None
    stuck = replace(on_backdoored, classifier=classifier.with_module(Constant()))
    found = ModelDetection(steps=60).run(stuck)
    assert found.outcome is Outcome.INCONCLUSIVE


def test_progress_is_told(on_backdoored: Evidence) -> None:
    told: list[tuple[str, int, int]] = []
    evidence = replace(on_backdoored, progress=lambda *step: told.append(step))
    ModelDetection(steps=60, max_all_labels=2, suspects=1, controls=1).run(evidence)
    assert told[-1][1] == told[-1][2] > 0
    for stage in {stage for stage, _, _ in told}:  # one stage a family
        steps = [done for name, done, _ in told if name == stage]
        assert steps == sorted(steps)


def test_repr_names_the_configuration() -> None:
    assert "steps=77" in repr(ModelDetection(steps=77))


@pytest.mark.slow
def test_all_to_all_is_reported_as_such(digit_samples: Any, backdoored_digits: Any) -> None:
    from ebyd_scan.fixtures.attacks.all_to_all import AllToAll
    from ebyd_scan.fixtures.attacks.badnets import BadNets
    from ebyd_scan.fixtures.digits import load_digits, plant

    module = plant(load_digits(), AllToAll(trigger=BadNets(target=0)), seed=13, rate=0.3)
    found = ModelDetection().run(_evidence(backdoored_digits.with_module(module.eval()), digit_samples))
    assert found.outcome is Outcome.FAILED, found.message
    assert found.label is None
    assert "all-to-all" in found.message
    assert "'digit 0' to 'digit 1'" in found.message
