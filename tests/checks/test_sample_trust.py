"""sample-trust on the digits that are shipped: the two models, their samples with triggers, copies and noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ebyd_scan.checks import near_duplicates
from ebyd_scan.checks.cognitive_distillation import Distillation, distil, sizes
from ebyd_scan.checks.pattern_transfer import important, transfer
from ebyd_scan.checks.sample_trust import SampleTrust
from ebyd_scan.checks.triggered_samples import relative_size
from ebyd_scan.checks.unlearnable_noise import separation
from ebyd_scan.evidence.artifact import Artifact
from ebyd_scan.evidence.classifier import Classifier
from ebyd_scan.evidence.context import Evidence
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.evidence.samples import CleanSamples, SamplePart
from ebyd_scan.evidence.tokens import Tokens
from ebyd_scan.fixtures.attacks.badnets import BadNets
from ebyd_scan.fixtures.networks import plain_convnet
from ebyd_scan.fixtures.planter import to_pixels
from ebyd_scan.policies.decide import PREMISE_CHECKS
from ebyd_scan.policies.plugins import CHECKS, plugin_names
from ebyd_scan.scanner.samples.load import load_samples
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

MODELS = Path(str(near_duplicates.__file__)).parent.parent / "fixtures" / "models"
ARTIFACT = Artifact(path=Path("digits.safetensors"), format="safetensors", sha256="0" * 64, size=1)
TARGET = 7


def _classifier(name: str) -> Classifier:
    module = plain_convnet(channels=1, width=16)
    weights = load_file(MODELS / f"digits-{name}.safetensors")
    module.load_state_dict({key: value.to(module.state_dict()[key].dtype) for key, value in weights.items()})
    return Classifier(module.eval(), 10, (0.3,), (0.35,), "cpu", "digits", trainable=True, has_batch_norm=True)


@pytest.fixture(scope="module")
def backdoored() -> Classifier:
    return _classifier("badnets")


@pytest.fixture(scope="module")
def clean() -> Classifier:
    return _classifier("clean")


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """60 of the shipped samples, uint8 [N, 16, 16, 1], and their labels."""
    stored = np.load(MODELS / "digits-samples.npz")
    return stored["x"][:60], stored["y"][:60]


def _parts(pixels: Tensor, labels: Tensor, classes: int = 10) -> CleanSamples:
    return CleanSamples(
        path=Path("digits.npz"),
        sha256="0" * 64,
        num_classes=classes,
        class_names=tuple(str(label) for label in range(classes)),
        exposure=SamplePart(pixels[::2], labels[::2]),
        held_out=SamplePart(pixels[1::2], labels[1::2]),
    )


def _samples(digits: tuple[np.ndarray, np.ndarray], *, triggered: int = 0, relabelled: bool = False) -> CleanSamples:
    images, labels = digits[0].copy(), digits[1].copy()
    victims = np.flatnonzero(labels != TARGET)[:triggered]
    images[victims] = BadNets(target=TARGET).apply(images[victims])
    if relabelled:
        labels[victims] = TARGET
    return _parts(to_pixels(images), torch.from_numpy(labels))


def _run(classifier: Classifier, samples: CleanSamples, **options: Any) -> Finding:
    return SampleTrust(**options).run(Evidence(artifact=ARTIFACT, seed=0, classifier=classifier, samples=samples))


@pytest.mark.parametrize("name", ["clean", "badnets"])
def test_clean_samples_pass_on_both_models(name: str, digits: tuple[np.ndarray, np.ndarray]) -> None:
    finding = _run(_classifier(name), _samples(digits))
    assert finding.outcome is Outcome.PASSED, finding.message
    assert finding.score == 0
    assert finding.metrics["distilled"] == 60
    assert "triggered samples" in finding.message


@pytest.mark.parametrize("relabelled", [False, True], ids=["own label", "target label"])
def test_triggered_samples_are_told(
    relabelled: bool, backdoored: Classifier, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    samples = _samples(digits, triggered=5, relabelled=relabelled)
    finding = _run(backdoored, samples)
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert finding.score is not None and finding.threshold is not None and finding.score >= finding.threshold
    assert 3 <= int(finding.metrics["local"]) <= 5
    assert "class 7" in finding.message and "backdoor in the model as well" in finding.message
    victims = np.flatnonzero(digits[1] != TARGET)[:5]
    named = {f"{'held-out' if place % 2 else 'exposure'} {place // 2}" for place in victims.tolist()}
    assert 3 <= len(finding.samples) == finding.metrics["suspected"]
    assert set(finding.samples) <= named  # of samples without names


def test_the_files_to_remove_are_named(
    tmp_path: Path, backdoored: Classifier, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = digits[0].copy(), digits[1]
    victims = np.flatnonzero(labels != TARGET)[:5]
    images[victims] = BadNets(target=TARGET).apply(images[victims])
    names = [f"{label}/{'scan' if index in victims else 'ok'}-{index}.png" for index, label in enumerate(labels)]
    for name, image in zip(names, images, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(tmp_path / name)
    samples = load_samples(
        tmp_path, num_classes=10, size=None, channels=None, seed=0, held_out=0.5, min_per_class=1, max_count=1000
    )
    finding = _run(backdoored, samples)
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert 3 <= len(finding.samples) == len(set(finding.samples))
    assert set(finding.samples) <= {names[index] for index in victims}
    assert finding.samples[0] in finding.message
    assert all((tmp_path / name).is_file() for name in finding.samples)
    for name in finding.samples:
        (tmp_path / name).unlink()
    again = load_samples(
        tmp_path, num_classes=10, size=None, channels=None, seed=0, held_out=0.5, min_per_class=1, max_count=1000
    )
    assert _run(backdoored, again).outcome is Outcome.PASSED


def test_a_trigger_that_the_model_does_not_know_is_none(
    clean: Classifier, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    assert _run(clean, _samples(digits, triggered=12)).metrics["local"] == 0


def test_the_same_seed_gives_the_same_finding(backdoored: Classifier, digits: tuple[np.ndarray, np.ndarray]) -> None:
    small = digits[0][:30], digits[1][:30]
    samples = _samples(small, triggered=4)
    assert _run(backdoored, samples, steps=5) == _run(backdoored, samples, steps=5)


def test_the_model_is_left_as_it_was(backdoored: Classifier, digits: tuple[np.ndarray, np.ndarray]) -> None:
    before = {name: value.clone() for name, value in backdoored.module.state_dict().items()}
    _run(backdoored, _samples((digits[0][:20], digits[1][:20])), steps=5)
    assert all(value.equal(before[name]) for name, value in backdoored.module.state_dict().items())
    assert all(one.grad is None and one.requires_grad for one in backdoored.module.parameters())
    assert not backdoored.module.training


def test_a_mask_keeps_a_trigger_and_drops_the_rest(
    backdoored: Classifier, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    pixels = to_pixels(BadNets(target=TARGET).apply(digits[0][digits[1] != TARGET][:8]))
    with torch.no_grad():
        scores = backdoored.logits(pixels)
    masks = distil(backdoored, pixels, scores, Distillation(), seed=0)
    assert masks.shape == (8, 1, 16, 16)
    # The patch of 3x3 ends a pixel before the lower right corner.
    assert float(masks[:, :, 12:15, 12:15].mean()) > 2 * float(masks.mean())
    assert 0 < float(sizes(masks).min()) <= float(sizes(masks).max()) < 1
    carried = transfer(backdoored, pixels, important(masks, 0.1), scores.argmax(dim=1), donors=4, seed=0)
    assert carried.equal(torch.zeros(8))  # all are of one class: there is nothing to carry over to


def test_relative_size_of_equal_masks_is_zero() -> None:
    assert relative_size(torch.full((5,), 0.3)).equal(torch.zeros(5))


def test_near_duplicates_are_told(clean: Classifier, digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits[0][:60].copy(), digits[1][:60].copy()
    rng = np.random.default_rng(0)
    noise = rng.integers(-2, 3, images[:6].shape)
    images[30:36] = (images[:6].astype(int) + noise).clip(0, 255).astype(np.uint8)
    images[36:38] = images[6:8, :, ::-1]
    labels[30:38] = labels[:8]
    finding = _run(clean, _parts(to_pixels(images), torch.from_numpy(labels)), steps=5)
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert finding.metrics["near_duplicates"] == 8 and finding.metrics["contradictions"] == 0
    assert "8 of 60 samples nearly equal an earlier one" in finding.message
    assert finding.metrics["suspected_of"] == "near-duplicates"
    assert len(finding.samples) == 8  # the later ones: the earlier may stay


def test_triggered_samples_are_named_before_others(
    backdoored: Classifier, digits: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ebyd_scan.checks.sample_trust._MAX_NAMED", 5)
    images, labels = digits[0][:60].copy(), digits[1][:60].copy()
    victims = [place for place in np.flatnonzero(labels != TARGET) if place < 30][:5]
    images[30:], labels[30:] = images[:30], labels[:30]
    images[victims] = BadNets(target=TARGET).apply(images[victims])
    finding = _run(backdoored, _parts(to_pixels(images), torch.from_numpy(labels)))
    assert finding.metrics["near_duplicates"] >= 25
    named = {f"{'held-out' if place % 2 else 'exposure'} {place // 2}" for place in victims}
    assert len(finding.samples) == 5 and len(set(finding.samples) & named) >= 3


def test_equal_pictures_with_two_labels_are_told(clean: Classifier, digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits[0][:60].copy(), digits[1][:60].copy()
    images[30:33], labels[30:33] = images[:3], (labels[:3] + 1) % 10
    finding = _run(clean, _parts(to_pixels(images), torch.from_numpy(labels)), steps=5)
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert finding.metrics["contradictions"] == 3
    assert len(finding.samples) == 6  # both of each: which label is wrong is not known
    assert "another label" in finding.message


def test_flat_pictures_are_compared_by_their_colour() -> None:
    pixels = torch.stack([torch.full((1, 8, 8), shade) for shade in (0.0, 0.01, 0.5, 1.0)])
    assert near_duplicates.of_pictures(pixels, torch.zeros(4, dtype=torch.int64)).pairs == ((0, 1),)


def test_class_wise_noise_is_told(clean: Classifier, digits: tuple[np.ndarray, np.ndarray]) -> None:
    # Digits with labels drawn anew: then nothing but the noise tells the labels apart.
    generator = torch.Generator().manual_seed(3)
    images, labels = to_pixels(digits[0]) * 0.5 + 0.2, torch.arange(len(digits[1])) % 10
    noise = torch.randn((10, 1, 16, 16), generator=generator).sign()[labels] * (8 / 255)
    finding = _run(clean, _parts(images + noise, labels), steps=5)
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert "unlearnable" in finding.message
    assert float(finding.metrics["detail_accuracy"]) > 0.5 > float(finding.metrics["coarse_accuracy"])


def test_what_tells_classes_apart_by_nature_is_no_noise(digits: tuple[np.ndarray, np.ndarray]) -> None:
    stored = np.load(MODELS / "digits-samples.npz")
    found = separation(to_pixels(stored["x"]), torch.from_numpy(stored["y"]), seed=0)
    assert found is not None and found.gain < 0.05
    assert 0 < found.error < 0.03


def test_nothing_is_cross_validated_from_too_little() -> None:
    labels = torch.arange(10)
    assert separation(torch.rand((10, 3, 16, 16)), labels, seed=0) is None
    assert separation(torch.rand((20, 3, 1, 1)), labels % 2, seed=0) is None


def test_texts_that_are_a_token_apart() -> None:
    base = [1, 2, 3, 4, 5, 6, 7]
    texts = [base, [1, 2, 9, 4, 5, 6, 7], base[:-1], [*base[:3], 8, *base[3:]], [1, 2, 9, 9, 5, 6, 7], [1, 2], [1, 3]]
    found = near_duplicates.of_texts(texts, torch.tensor([0, 1, 0, 0, 0, 0, 0]))
    assert {pair for pair in found.pairs if pair[0] == 0} == {(0, 1), (0, 2), (0, 3)}
    assert found.contradictions == ((0, 1), (1, 4))
    assert not {5, 6} & {place for pair in found.pairs for place in pair}


def test_texts_are_only_looked_at_for_duplicates() -> None:
    ids = torch.arange(160).view(20, 8)
    tokens = Tokens(ids, torch.ones_like(ids), None, tuple("ab" for _ in range(20)))
    classifier = Classifier(nn.Identity(), 2, (), (), "cpu", "texts", trainable=True, has_batch_norm=False)
    samples = _parts_of_texts(tokens)
    finding = _run(classifier, samples)
    assert finding.outcome is Outcome.SKIPPED and "pictures" in finding.message
    copied = Tokens(ids[:10].repeat(2, 1), tokens.mask, None, tokens.texts)
    finding = _run(classifier, _parts_of_texts(copied))
    assert finding.outcome is Outcome.INCONCLUSIVE and finding.metrics["near_duplicates"] == 10


def _parts_of_texts(tokens: Tokens) -> CleanSamples:
    labels = torch.zeros(10, dtype=torch.int64)
    return replace(
        _parts(torch.zeros((2, 1, 8, 8)), labels[:2], classes=2),
        exposure=SamplePart(tokens[:10], labels),
        held_out=SamplePart(tokens[10:], labels),
    )


class _Means(nn.Module):
    """Answers with the mean colour against fixed shades; any size and number of channels."""

    def forward(self, pixels: Tensor) -> Tensor:
        mean = pixels.mean(dim=(1, 2, 3))
        return torch.stack([mean, 1 - mean, mean * 0], dim=1)


def _means(**options: Any) -> Classifier:
    return Classifier(
        _Means(), 3, (0.0,), (1.0,), "cpu", "means", **{"trainable": True, "has_batch_norm": False, **options}
    )


@pytest.mark.parametrize(
    ("shape", "says"),
    [((10, 1, 1, 1), "less than 8 pixels"), ((10, 3, 1, 40), "less than 8 pixels"), ((10, 3, 9, 17), "two classes")],
)
def test_odd_pictures_are_not_passed(shape: tuple[int, ...], says: str) -> None:
    generator = torch.Generator().manual_seed(0)
    finding = _run(_means(), _parts(torch.rand(shape, generator=generator), torch.arange(10) % 10), steps=5)
    assert finding.outcome in (Outcome.SKIPPED, Outcome.INCONCLUSIVE)
    assert says in finding.message


def test_scores_that_are_not_numbers_are_told() -> None:
    class Broken(_Means):
        def forward(self, pixels: Tensor) -> Tensor:
            return super().forward(pixels) * float("nan")

    pixels = torch.rand((12, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    finding = _run(replace(_means(), module=Broken()), _parts(pixels, torch.arange(12) % 2))
    assert finding.outcome is Outcome.INCONCLUSIVE and "NaN" in finding.message


def test_without_gradients_triggers_are_not_looked_for() -> None:
    pixels = torch.rand((20, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    finding = _run(_means(trainable=False), _parts(pixels, torch.arange(20) % 2))
    assert finding.outcome is Outcome.SKIPPED and "no gradients" in finding.message


def test_pictures_that_do_not_fit_the_model_are_an_error(clean: Classifier) -> None:
    finding = _run(clean, _parts(torch.rand((12, 3, 16, 16)), torch.arange(12) % 2))
    assert finding.outcome is Outcome.ERROR and "does not run" in finding.message


def test_a_pass_does_not_pass_a_model() -> None:
    assert SampleTrust.id in PREMISE_CHECKS
    assert SampleTrust.id in plugin_names(CHECKS, built_in_only=True)


def test_a_finding_on_many_samples_stays_short(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = np.repeat(digits[0][:12], 40, axis=0), np.repeat(digits[1][:12], 40)
    finding = _run(_means(trainable=False), _parts(to_pixels(images), torch.from_numpy(labels) % 3, classes=3))
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert len(finding.message) < 1000 and "and 464 more" in finding.message
    assert len(finding.samples) == 468


def test_nothing_loaded_is_skipped() -> None:
    finding = SampleTrust().run(Evidence(artifact=ARTIFACT, seed=0))
    assert finding.outcome is Outcome.SKIPPED
    assert repr(SampleTrust(min_count=4)).startswith("SampleTrust(min_carried=0.85")
