"""`model-detection` on a planted and a clean model, from real exposure runs."""

from __future__ import annotations

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
def failed(on_backdoored: Evidence) -> Finding:
    return ModelDetection(suspects=1, batch_size=32).run(on_backdoored)


def test_exposure_names_the_target(on_backdoored: Evidence) -> None:
    found = BackdoorLabel().run(on_backdoored)
    assert (found.label, found.label_name) == (TARGET, "digit 2")


def test_a_planted_model_fails_with_a_witness(failed: Finding) -> None:
    assert failed.outcome is Outcome.FAILED
    assert (failed.label, failed.label_name) == (TARGET, "digit 2")
    assert failed.score is not None and failed.threshold is not None
    assert failed.score >= failed.threshold
    witness = failed.witness
    assert witness is not None
    assert witness.label == TARGET
    assert TARGET not in witness.control_sizes
    assert witness.size < min(witness.control_sizes.values())
    assert witness.attack_success_rate >= 0.6
    assert witness.samples > 100
    assert "digit 2" in failed.message
    assert "held-out" in failed.message


def test_a_clean_model_passes(on_clean: Evidence) -> None:
    found = ModelDetection(batch_size=32).run(on_clean)
    assert found.outcome is Outcome.PASSED, found.message
    assert found.label is None
    assert found.score is not None and found.threshold is not None
    assert found.score < found.threshold


def test_without_exposure_and_with_many_classes_it_cannot_tell(on_backdoored: Evidence) -> None:
    from dataclasses import replace

    found = ModelDetection(max_all_labels=9).run(replace(on_backdoored, exposures=()))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.label is None


def test_a_model_that_no_trigger_moves_is_no_pass(on_backdoored: Evidence) -> None:
    from dataclasses import replace

    class Constant(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.arange(10.0).expand(len(x), 10) * 100 + x.mean() * 0

    classifier = on_backdoored.classifier
    assert classifier is not None
    stuck = replace(on_backdoored, classifier=classifier.with_module(Constant()))
    found = ModelDetection(suspects=1, controls=2, steps=10).run(stuck)
    assert found.outcome is not Outcome.PASSED
    assert found.outcome is not Outcome.FAILED


def test_progress_is_told(on_backdoored: Evidence) -> None:
    from dataclasses import replace

    told: list[tuple[str, int, int]] = []
    evidence = replace(on_backdoored, progress=lambda *step: told.append(step))
    ModelDetection(suspects=1, controls=1, steps=10).run(evidence)
    assert told[-1][1] == told[-1][2] > 0
    for stage in {stage for stage, _, _ in told}:  # one stage a family
        steps = [done for name, done, _ in told if name == stage]
        assert steps == sorted(steps)


def test_a_clear_patch_ends_the_search(on_backdoored: Evidence) -> None:
    finding = ModelDetection(suspects=1, controls=3).run(on_backdoored)
    assert finding.outcome is Outcome.FAILED
    assert finding.score is not None and finding.score > 1.3
    assert not any(metric.startswith("ratio_blend") for metric in finding.metrics)


def test_repr_names_the_configuration() -> None:
    assert "steps=77" in repr(ModelDetection(steps=77))
