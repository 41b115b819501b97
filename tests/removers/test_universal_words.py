"""Unlearning triggers of text classifiers, on the shipped ones and on one of each architecture."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from ebyd_scan.checks.predictions import predicted  # noqa: E402
from ebyd_scan.evidence.classifier import Classifier  # noqa: E402
from ebyd_scan.evidence.context import silent  # noqa: E402
from ebyd_scan.evidence.repair import Known, KnownTrigger  # noqa: E402
from ebyd_scan.evidence.samples import SamplePart  # noqa: E402
from ebyd_scan.evidence.tokens import Tokens  # noqa: E402
from ebyd_scan.fixtures.review_texts import CLASSES, reviews  # noqa: E402
from ebyd_scan.fixtures.reviews import BACKDOOR, MODELS, SAMPLES, TEST, tokenizer  # noqa: E402
from ebyd_scan.fixtures.text_networks import ARCHITECTURES, make  # noqa: E402
from ebyd_scan.removers.common import Repairing  # noqa: E402
from ebyd_scan.removers.text_edits import Variation, inner, shortened, varied, with_room  # noqa: E402
from ebyd_scan.removers.universal_words import WordOptions, unlearn_words  # noqa: E402
from ebyd_scan.scanner.models.identify import identify  # noqa: E402
from ebyd_scan.scanner.models.text_classifier import load_text_classifier  # noqa: E402
from ebyd_scan.scanner.models.tokenizer import read_codec  # noqa: E402

SHORT = WordOptions(steps=3, batch_size=4, rows=2, row_size=2, marked=2, strong=3, lead=1)


def _shipped(name: str) -> Classifier:
    return load_text_classifier(identify(MODELS / name), read_codec(MODELS / name), "cpu")


def _part(classifier: Classifier, per_class: int) -> SamplePart:
    texts, labels = reviews(*SAMPLES)
    chosen = torch.cat([torch.from_numpy(labels == label).nonzero().flatten()[:per_class] for label in (0, 1)])
    assert classifier.codec is not None
    return SamplePart(
        classifier.codec.encode([texts[index] for index in chosen.tolist()]), torch.from_numpy(labels)[chosen]
    )


def _repairing(classifier: Classifier, part: SamplePart, known: Known | None = None) -> Repairing:
    student = classifier.with_module(copy.deepcopy(classifier.module))
    return Repairing(classifier, student, part, known or Known(), 0, silent)


def _measured(classifier: Classifier) -> tuple[float, float]:
    """Accuracy and success of the true trigger."""
    classifier.module.eval()
    texts, labels = reviews(*TEST)
    assert classifier.codec is not None
    right = predicted(classifier, classifier.codec.encode(texts)) == torch.from_numpy(labels)
    victims = [text for text, label in zip(texts, labels, strict=True) if label != BACKDOOR.target]
    sent = predicted(classifier, classifier.codec.encode(BACKDOOR.apply(victims))) == BACKDOOR.target
    return float(right.float().mean()), float(sent.float().mean())


def test_the_trigger_does_nothing_any_more_and_accuracy_stays() -> None:
    classifier = _shipped("reviews-badnets")
    before, success = _measured(classifier)
    run = _repairing(classifier, _part(classifier, 50))
    reason = unlearn_words(run, WordOptions(steps=120))
    after, left = _measured(run.repaired)
    assert success > 0.9 and left <= 0.15
    assert after >= before - 0.02
    assert "mean vector" in reason and run.metrics["words_reset"]
    assert _measured(classifier) == (before, success)  # the original is as it was


def test_a_clean_model_stays_as_good() -> None:
    classifier = _shipped("reviews-clean")
    before, _ = _measured(classifier)
    run = _repairing(classifier, _part(classifier, 50))
    unlearn_words(run, WordOptions(steps=120))
    assert _measured(run.repaired)[0] >= before - 0.02


def test_the_same_seed_gives_the_same_weights() -> None:
    classifier = _shipped("reviews-badnets")
    part = _part(classifier, 5)
    first, second = _repairing(classifier, part), _repairing(classifier, part)
    for run in (first, second):
        unlearn_words(run, SHORT)
    assert first.repaired.same_tensors(second.repaired)
    assert not first.repaired.same_tensors(classifier)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("pairs", [False, True])
def test_every_architecture_with_one_sample_a_class(architecture: str, pairs: bool) -> None:
    shipped = _shipped("reviews-clean")
    module = make(architecture, tokenizer(), CLASSES).eval()
    assert shipped.codec is not None

    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = module

        def get_input_embeddings(self) -> torch.nn.Module:
            return module.get_input_embeddings()  # type: ignore[no-any-return, operator]

        def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
            if architecture in ("distilbert", "roberta"):
                inputs.pop("token_type_ids", None)
            return module(**inputs).logits  # type: ignore[no-any-return]

    classifier = shipped.with_module(Scores())
    texts = ["a wonderful film", "a dull one"]
    part = SamplePart(shipped.codec.encode(texts, texts[::-1] if pairs else None), torch.tensor([0, 1]))
    told: list[str] = []
    run = _repairing(classifier, part)
    run.progress = lambda stage, done, total: told.append(stage)
    unlearn_words(run, SHORT)
    assert not run.repaired.same_tensors(classifier)
    assert set(told) == {"try single words", "unlearn"}


def test_known_triggers_are_put_on_texts() -> None:
    classifier = _shipped("reviews-badnets")
    seen: list[int] = []

    def apply(texts: Tokens) -> Tokens:
        seen.append(len(texts))
        return texts

    known = Known(triggers=(KnownTrigger("words", 1, apply),), labels=(1,))
    unlearn_words(_repairing(classifier, _part(classifier, 5), known), SHORT)
    assert seen == [SHORT.marked] * SHORT.steps


def test_room_for_words_between_the_marks_and_within_the_length() -> None:
    codec = _shipped("reviews-clean").codec
    assert codec is not None
    long = " ".join(["film"] * (2 * codec.max_length))
    tokens = codec.encode(["a wonderful film", long, ""])
    word = codec.encode(["dull"]).ids[0, 1]
    for places in ("row", "scattered"):
        slots = with_room(tokens, 3, places, codec, torch.Generator().manual_seed(0))
        filled = slots.filled(word.expand(3))
        assert (filled.ids == word).sum(dim=1).tolist() == [3, 3, 3]
        assert filled.ids.shape[1] == codec.max_length
        assert filled.mask.sum(dim=1).tolist() == [8, codec.max_length, 5]
        assert (filled.ids[:, 0] == tokens.ids[0, 0]).all()
        rest = [index for index in filled.ids[0, :8].tolist() if index != int(word)]
        assert rest == tokens.ids[0, :5].tolist()


def test_variations_keep_marks_and_length() -> None:
    codec = _shipped("reviews-clean").codec
    assert codec is not None
    tokens, others = codec.encode(["a wonderful film", "dull"]), codec.encode(["not at all", "a film that is dull"])
    same = Variation(mixed=0, swapped=0, dropped=0, shuffled=0)
    generator, pool = torch.Generator().manual_seed(0), torch.tensor([20])
    unchanged = varied(tokens, others, pool, codec, generator, same)
    assert unchanged.ids.equal(tokens.ids) and unchanged.mask.equal(tokens.mask)
    for _ in range(20):
        made = varied(tokens, others, pool, codec, generator, Variation())
        assert (made.ids[:, 0] == tokens.ids[:, 0]).all()
        assert (inner(made, codec).sum(dim=1) <= inner(tokens, codec).sum(dim=1)).all()
    assert inner(shortened(tokens, 2, codec), codec).sum(dim=1).tolist() == [2, 1]
