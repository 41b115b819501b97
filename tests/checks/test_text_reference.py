"""Words that only the model answers to: found beside a clean reference, and none beside one with the same backdoor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from ebyd_scan.checks.reference import ReferenceDrift  # noqa: E402
from ebyd_scan.checks.text_reference import KINDS, new_words  # noqa: E402
from ebyd_scan.evidence.context import Evidence  # noqa: E402
from ebyd_scan.evidence.finding import Finding, Outcome  # noqa: E402
from ebyd_scan.evidence.samples import CleanSamples, SamplePart  # noqa: E402
from ebyd_scan.fixtures.review_texts import CLASSES  # noqa: E402
from ebyd_scan.fixtures.reviews import MODELS  # noqa: E402

from ..tiny_texts import NAMES, TARGET, TRIGGER, TextModels  # noqa: E402
from .text_evidence import evidence_beside, evidence_of  # noqa: E402

Beside = Callable[[str, str], Evidence]


@pytest.fixture(scope="module")
def beside(text_models: TextModels) -> Beside:
    """The evidence of one model with another one as its reference."""

    def make(name: str, other: str) -> Evidence:
        reference = evidence_of(text_models, other)
        return replace(
            evidence_of(text_models, name), reference=reference.classifier, reference_artifact=reference.artifact
        )

    return make


def _look(evidence: Evidence) -> Finding:
    return ReferenceDrift(word_steps=20).run(evidence)


def test_a_trigger_that_the_reference_does_not_know_fails(beside: Beside) -> None:
    evidence = beside("backdoored", "clean")
    found = {(one.label, one.kind): one for one in new_words(evidence, range(2), 20)}
    assert set(found) == {(label, kind) for label in range(2) for kind in KINDS}
    assert found[TARGET, "new 1"].words == TRIGGER and found[TARGET, "new 1"].success > 0.9
    assert found[1 - TARGET, "new 1"].success < 0.5
    told = _look(evidence)
    assert told.outcome is Outcome.FAILED and told.label == TARGET and told.label_name == NAMES[TARGET]
    assert told.witness is not None and told.witness.text is not None and TRIGGER in told.witness.text.split()
    assert "did not in the reference" in told.message and told.metrics["agreement"] > 0.9


def test_a_clean_model_beside_a_backdoored_one_passes() -> None:
    """The shipped models: what two clean trainings of the tiny ones make of words differs too much."""
    clean, backdoored = (
        evidence_beside(MODELS / name, MODELS / "reviews.tsv", CLASSES) for name in ("reviews-clean", "reviews-badnets")
    )
    beside = replace(clean, reference=backdoored.classifier, reference_artifact=backdoored.artifact)
    told = ReferenceDrift().run(beside)  # as it ships: with fewer steps of one label's search it is less even
    assert told.outcome is Outcome.PASSED, told.message
    assert told.label is None and told.witness is None


def test_the_reference_itself_passes_without_a_search(beside: Beside) -> None:
    told = _look(beside("backdoored", "backdoored"))
    assert told.outcome is Outcome.PASSED and told.message.startswith("The model is the reference")


def test_without_texts_that_both_get_right_it_stays_open(beside: Beside) -> None:
    evidence = beside("backdoored", "clean")
    assert evidence.samples is not None
    parts = [
        SamplePart(part.inputs[:4], (1 - part.labels)[:4])  # type: ignore[index]
        for part in (evidence.samples.exposure, evidence.samples.held_out)
    ]
    wrong = CleanSamples(evidence.artifact.path, "", 2, NAMES, parts[0], parts[1])
    told = _look(replace(evidence, samples=wrong))
    assert told.outcome is Outcome.INCONCLUSIVE and "that both models get right" in told.message
