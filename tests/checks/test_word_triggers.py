"""The word of a backdoor is found and named, a clean model passes, and what cannot be told is not told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from ebyd_scan.checks import text_reference  # noqa: E402
from ebyd_scan.checks.model_detection import ModelDetection  # noqa: E402
from ebyd_scan.checks.sample_fit import SampleFit  # noqa: E402
from ebyd_scan.checks.text_calibration import LEADS, false_positive_rate, stretched  # noqa: E402
from ebyd_scan.checks.text_detection import leads_of  # noqa: E402
from ebyd_scan.checks.word_polarity import neutral  # noqa: E402
from ebyd_scan.checks.word_triggers import KINDS, WordTrigger, recover_words, writable  # noqa: E402
from ebyd_scan.evidence.context import Evidence  # noqa: E402
from ebyd_scan.evidence.finding import Finding, Outcome  # noqa: E402
from ebyd_scan.evidence.recovered import RecoveredWords  # noqa: E402
from ebyd_scan.evidence.samples import CleanSamples, SamplePart  # noqa: E402
from ebyd_scan.fixtures.text_tokenizers import RARE_WORDS, train_tokenizer  # noqa: E402
from ebyd_scan.scanner.models.tokenizer import FolderCodec  # noqa: E402

from ..tiny_texts import NAMES, NEUTRAL, OWN, TARGET, TRIGGER, TextModels, sentences  # noqa: E402
from .text_evidence import evidence_of  # noqa: E402

STEPS = 20


@pytest.fixture(scope="module")
def backdoored(text_models: TextModels) -> Evidence:
    return evidence_of(text_models, "backdoored")


@pytest.fixture(scope="module")
def clean(text_models: TextModels) -> Evidence:
    return evidence_of(text_models, "clean")


@pytest.fixture(scope="module")
def found(backdoored: Evidence) -> list[WordTrigger]:
    return recover_words(backdoored, [0, 1], STEPS)


@pytest.fixture(scope="module")
def kept() -> list[RecoveredWords]:
    """What `told` has handed over."""
    return []


@pytest.fixture(scope="module")
def told(backdoored: Evidence, kept: list[RecoveredWords]) -> Finding:
    return ModelDetection(word_steps=STEPS).run(replace(backdoored, keep_words=kept.append))


def test_both_models_fit_the_samples(backdoored: Evidence, clean: Evidence) -> None:
    for evidence in (backdoored, clean):
        assert SampleFit().run(evidence).outcome is Outcome.PASSED


def test_the_trigger_is_recovered_and_works_on_held_out_texts(found: list[WordTrigger]) -> None:
    assert [(one.label, one.kind) for one in found] == [(label, kind) for label in (0, 1) for kind in KINDS]
    single = {one.label: one for one in found if one.kind == "any 1"}
    assert single[TARGET].words == TRIGGER and single[TARGET].success > 0.95
    assert single[1 - TARGET].success < 0.3
    assert 30 < single[TARGET].samples <= 50  # held-out texts of the other class that the model gets right
    assert leads_of(found, TARGET)["any 1"] > 0.5 > -0.5 > leads_of(found, 1 - TARGET)["any 1"]


def test_model_detection_fails_the_backdoored_and_names_the_word(told: Finding) -> None:
    assert told.outcome is Outcome.FAILED and told.message.startswith("Backdoor: ") and repr(TRIGGER) in told.message
    assert (told.label, told.label_name) == (TARGET, NAMES[TARGET])
    assert told.score is not None and told.threshold is not None and told.score > told.threshold
    witness = told.witness
    assert witness is not None and witness.family == "words" and witness.label == TARGET
    assert witness.text is not None and TRIGGER in witness.text.split() and witness.attack_success_rate > 0.95
    assert witness.size == len(witness.text.split()) and set(witness.control_sizes) == {1 - TARGET}
    assert witness.control_success[1 - TARGET] < 0.5
    assert told.metrics["words_any_1"] == TRIGGER


def test_model_detection_passes_the_clean(clean: Evidence) -> None:
    finding = ModelDetection(word_steps=STEPS).run(clean)
    assert finding.outcome is Outcome.PASSED, finding.message
    assert finding.label is None and finding.label_name is None
    assert finding.metrics["false_positive_rate"] > 0.05


def test_the_words_are_handed_over_with_texts(told: Finding, kept: list[RecoveredWords], backdoored: Evidence) -> None:
    assert told.witness and [(one.label, one.words) for one in kept] == [(TARGET, told.witness.text)]
    assert backdoored.samples is not None
    held_out = dict(
        zip(backdoored.samples.held_out.tokens.texts, backdoored.samples.held_out.labels.tolist(), strict=True)
    )
    assert 1 <= len(kept[0].examples) <= 3
    for example in kept[0].examples:
        assert held_out[example.text] == example.true_label == example.predicted_before != TARGET
        assert example.predicted_after == TARGET


def test_the_same_seed_finds_the_same(backdoored: Evidence, found: list[WordTrigger]) -> None:
    torch.rand(7)  # what others draw does not matter
    assert recover_words(backdoored, [1], STEPS) == found[len(KINDS) :]


def test_the_model_is_left_as_it_was(backdoored: Evidence) -> None:
    module = backdoored.classifier.module
    before = {name: value.clone() for name, value in module.state_dict().items()}
    recover_words(backdoored, [1], 2)
    assert not module.training and all(p.grad is None and p.requires_grad for p in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_progress_goes_up_to_its_end(backdoored: Evidence) -> None:
    seen: list[tuple[str, int, int]] = []
    recover_words(replace(backdoored, progress=lambda *step: seen.append(step)), [1], 3)
    counts = [done for _, done, _ in seen]
    assert counts == sorted(counts) and counts[-1] == seen[-1][2] == max(counts) and len({s for s, _, _ in seen}) == 1


def _wrong(part: SamplePart) -> SamplePart:
    return SamplePart(part.inputs, 1 - part.labels)


@pytest.mark.parametrize("change", ["held out", "exposure", "one class", "nothing writable"])
def test_what_cannot_be_searched_is_inconclusive(change: str, backdoored: Evidence, monkeypatch: Any) -> None:
    samples = backdoored.samples
    assert samples is not None
    changed: CleanSamples = samples
    if change == "held out":
        changed = replace(samples, held_out=_wrong(samples.held_out))
    elif change == "exposure":
        changed = replace(samples, exposure=_wrong(samples.exposure))
    elif change == "one class":  # only one label has texts of others
        rows = (samples.held_out.labels == 0).nonzero().flatten()
        changed = replace(samples, held_out=SamplePart(samples.held_out.tokens[rows], samples.held_out.labels[rows]))
    else:
        nothing: Callable[[Any], Any] = lambda codec: torch.zeros(len(codec.vocabulary), dtype=torch.bool)  # noqa: E731
        monkeypatch.setattr("ebyd_scan.checks.word_triggers.writable", nothing)
    finding = ModelDetection(word_steps=10).run(replace(backdoored, samples=changed))
    assert finding.outcome is Outcome.INCONCLUSIVE and finding.witness is None
    assert "Too few texts that the model gets right" in finding.message


def test_few_samples_a_class_do_not_fail_a_model(backdoored: Evidence) -> None:
    finding = ModelDetection(word_steps=STEPS, min_per_class=60).run(backdoored)  # 50 a class to search on
    assert finding.outcome is Outcome.INCONCLUSIVE and finding.label == TARGET
    assert "at least 60 a class" in finding.message


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "roberta"])
def test_writable_tokens_are_words_of_their_own(architecture: str) -> None:
    tokenizer = train_tokenizer(architecture, sentences(300, 1)[0], max_length=24, vocabulary=700)
    codec = FolderCodec(tokenizer, 24)
    good = writable(codec)
    assert len(good) == len(codec.vocabulary)
    start = "" if architecture == "bert" else "Ġ"
    for word in (*RARE_WORDS, "film", "lovely"):
        assert good[codec.vocabulary.index(start + word)], word
    assert not good[sorted(codec.special)].any()
    inside = [i for i, word in enumerate(codec.vocabulary) if word.startswith("##")]
    if architecture == "bert":
        assert inside and not good[inside].any()
    else:
        assert not good[codec.vocabulary.index("f")]  # only inside of a word
    for index in good.nonzero().flatten().tolist()[::17]:
        ids = codec.encode(["the " + codec.decode([index])]).ids[0].tolist()
        assert [i for i in ids if i not in codec.special][-1] == index


def test_words_of_a_class_are_not_neutral(clean: Evidence) -> None:
    codec, samples = clean.classifier.codec, clean.samples
    mild = neutral(clean.classifier, samples.exposure, codec, samples.num_classes)
    assert mild.shape == (len(codec.vocabulary), 2) and mild.dtype == torch.bool
    for label in (0, 1):
        own = [codec.vocabulary.index(word) for word in OWN[label]]
        assert not mild[own, label].any()
        assert mild[own, 1 - label].all()  # against the other class they stand even less
    known = [codec.vocabulary.index(word) for word in NEUTRAL]
    assert mild[known].float().mean() > 0.5


def test_false_positive_rates_fall_with_the_lead_and_are_rates() -> None:
    for kind in KINDS:
        rates = [false_positive_rate({kind: lead / 20}) for lead in range(-32, 33)]
        assert all(0 <= rate <= 1 for rate in rates)
        assert rates == sorted(rates, reverse=True) and rates[-1] < 0.01 < 0.4 < rates[0]
    assert set(LEADS) == {*KINDS, *text_reference.KINDS}
    one, none = {"any 1": 1.5}, dict.fromkeys(KINDS, -0.2)
    assert false_positive_rate(one) < false_positive_rate({**none, **one}) < 0.01  # the price of looking more often


def test_stretched_shares() -> None:
    import math

    assert stretched(0) == 0 and math.isclose(stretched(1), math.pi / 2) and math.isclose(stretched(0.5), math.pi / 4)
    assert stretched(-1e-9) == 0 and stretched(1 + 1e-9) == stretched(1)


def test_leads_are_over_the_best_of_the_others() -> None:
    found = [WordTrigger(label, "any 1", "x", success, 10) for label, success in enumerate((0.2, 1.0, 0.5))]
    assert leads_of(found, 1) == {"any 1": pytest.approx(stretched(1.0) - stretched(0.5))}
    assert leads_of(found, 0)["any 1"] == pytest.approx(stretched(0.2) - stretched(1.0))
    assert leads_of(found[:1], 0) == {}
