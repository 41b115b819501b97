"""sample-fit on a small network that is trained on scikit-learn's digits, in a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ebyd_scan.checks.sample_fit import SampleFit, wilson_lower
from ebyd_scan.evidence.artifact import Artifact
from ebyd_scan.evidence.classifier import Classifier
from ebyd_scan.evidence.context import Evidence
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.evidence.samples import CleanSamples, SamplePart
from sklearn.datasets import load_digits
from torch import Tensor, nn

ARTIFACT = Artifact(path=Path("model.pt"), format="pytorch-zip", sha256="0" * 64, size=1)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def _parts(pixels: Tensor, labels: Tensor) -> CleanSamples:
    half = len(labels) // 2
    return CleanSamples(
        path=Path("digits"),
        sha256="0" * 64,
        num_classes=10,
        class_names=NAMES,
        exposure=SamplePart(pixels[:half], labels[:half]),
        held_out=SamplePart(pixels[half:], labels[half:]),
    )


def _run(classifier: Classifier, samples: CleanSamples) -> Finding:
    return SampleFit().run(Evidence(artifact=ARTIFACT, seed=0, classifier=classifier, samples=samples))


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """Pixels [1797, 3, 8, 8]: dark red digits, so that normalisation and channel order matter."""
    bunch = load_digits()
    grey = torch.from_numpy(bunch.images).float().div(16).unsqueeze(1)
    return torch.cat([grey, grey * 0.5, 1 - grey], dim=1), torch.from_numpy(bunch.target).long()


@pytest.fixture(scope="module")
def classifier(digits: tuple[Tensor, Tensor]) -> Classifier:
    """Trained on the first 1000 digits, normalised with ImageNet's statistics."""
    torch.manual_seed(0)
    pixels, labels = digits[0][:1000], digits[1][:1000]
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 10))
    made = Classifier(module, 10, MEAN, STD, "cpu", "test", trainable=True, has_batch_norm=False)
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(60):
        loss = nn.functional.cross_entropy(made.logits(pixels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.eval()
    return made


@pytest.fixture(scope="module")
def samples(digits: tuple[Tensor, Tensor]) -> CleanSamples:
    return _parts(digits[0][1000:], digits[1][1000:])


def test_a_model_on_its_own_samples_passes(classifier: Classifier, samples: CleanSamples) -> None:
    finding = _run(classifier, samples)
    assert finding.outcome is Outcome.PASSED
    assert finding.score is not None and finding.score > 0.85
    assert finding.threshold == pytest.approx(0.33, abs=0.02)
    assert finding.metrics["samples"] == 797
    assert "correctly, well above chance" in finding.message


def test_the_same_input_gives_the_same_finding(classifier: Classifier, samples: CleanSamples) -> None:
    assert _run(classifier, samples) == _run(classifier, samples)


@pytest.mark.parametrize("shift", [1, 3])
def test_another_class_order_is_diagnosed(classifier: Classifier, samples: CleanSamples, shift: int) -> None:
    labels = torch.cat([samples.exposure.labels, samples.held_out.labels])
    moved = _parts(torch.cat([samples.exposure.pixels, samples.held_out.pixels]), (labels + shift) % 10)
    finding = _run(classifier, moved)
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert finding.metrics["likely_cause"] == "class-order"
    assert float(finding.metrics["accuracy_once_mended"]) > 0.85
    assert f"the model's class 0 is {shift} {NAMES[shift]!r}" in finding.message
    assert "classes.txt" in finding.message


class _Input(nn.Module):
    """What an input of another range does to a deep network, in one layer: it saturates."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, batch: Tensor) -> Tensor:
        pixels = batch * batch.new_tensor(self.std).view(1, 3, 1, 1) + batch.new_tensor(self.mean).view(1, 3, 1, 1)
        return (pixels.clamp(0, 1) - batch.new_tensor(MEAN).view(1, 3, 1, 1)) / batch.new_tensor(STD).view(1, 3, 1, 1)


BYTES = (0.0,) * 3, (1 / 255,) * 3
NONE = (0.0,) * 3, (1.0,) * 3
DARK = (1.4,) * 3, (0.25,) * 3  # nothing that anybody trains with
HALF = (0.5,) * 3, (0.5,) * 3
IMAGENET = MEAN, STD
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


@pytest.mark.parametrize(
    ("trained", "given", "option"),
    [
        (BYTES, NONE, "--mean 0 --std 0.003922"),
        (BYTES, IMAGENET, "--mean 0 --std 0.003922"),
        (HALF, BYTES, "--mean 0.5 --std 0.5"),
        (NONE, DARK, "--mean 0 --std 1"),
    ],
)
def test_wrong_normalisation_is_diagnosed(
    samples: CleanSamples, classifier: Classifier, trained: Normalisation, given: Normalisation, option: str
) -> None:
    module = nn.Sequential(_Input(*trained), classifier.module)
    right, wrong = (replace(classifier, module=module, mean=mean, std=std) for mean, std in (trained, given))
    assert _run(right, samples).outcome is Outcome.PASSED
    finding = _run(wrong, samples)
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert finding.metrics["likely_cause"] == "normalisation"
    assert f"`{option}`" in finding.message


def test_a_better_normalisation_counts_even_where_accuracy_is_above_the_threshold(
    samples: CleanSamples, classifier: Classifier
) -> None:
    module = nn.Sequential(_Input(*NONE), classifier.module)
    given = replace(classifier, module=module, mean=(0.7,) * 3, std=(1.0,) * 3)
    finding = _run(given, samples)
    assert finding.score is not None and finding.threshold is not None
    assert finding.score > finding.threshold
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert "`--mean 0 --std 1`" in finding.message


def test_two_swapped_classes_count_even_where_accuracy_is_above_the_threshold(
    classifier: Classifier, samples: CleanSamples
) -> None:
    order = torch.tensor([0, 1, 2, 3, 4, 6, 5, 7, 8, 9])
    exposure, held_out = samples.exposure, samples.held_out
    moved = replace(
        samples,
        exposure=SamplePart(exposure.pixels, order[exposure.labels]),
        held_out=SamplePart(held_out.pixels, order[held_out.labels]),
    )
    finding = _run(classifier, moved)
    assert finding.score is not None and finding.score > 0.6
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert "if the model's class 5 is 6 'six', the model's class 6 is 5 'five';" in finding.message


def test_swapped_channels_are_diagnosed(classifier: Classifier, samples: CleanSamples) -> None:
    swapped = replace(
        samples,
        exposure=SamplePart(samples.exposure.pixels.flip(1), samples.exposure.labels),
        held_out=SamplePart(samples.held_out.pixels.flip(1), samples.held_out.labels),
    )
    finding = _run(classifier, swapped)
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert finding.metrics["likely_cause"] == "channel-order"
    assert "blue, green, red" in finding.message


def test_wrong_samples_are_called_wrong_samples(classifier: Classifier, samples: CleanSamples) -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.cat([samples.exposure.labels, samples.held_out.labels])
    pixels = torch.cat([samples.exposure.pixels, samples.held_out.pixels])
    finding = _run(classifier, _parts(pixels, labels[torch.randperm(len(labels), generator=generator)]))
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert finding.metrics["likely_cause"] == "unknown"
    assert "samples for another model" in finding.message


def test_no_class_order_is_found_in_noise_with_many_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(1000).repeat_interleave(4)
    labels = labels[torch.randperm(len(labels), generator=generator)]
    samples = replace(
        _parts(torch.rand(4000, 1, 4, 4, generator=generator), labels),
        num_classes=1000,
        class_names=tuple(str(i) for i in range(1000)),
    )
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 1000)).eval()
    finding = _run(Classifier(module, 1000, (0.5,), (0.25,), "cpu", "test", True, False), samples)
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert finding.metrics["likely_cause"] == "unknown"


class _Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, batch: Tensor) -> Tensor:
        scores = batch.new_zeros(len(batch), 10)
        scores[:, 3] = self.value
        return scores


def test_a_constant_prediction_is_called_so(classifier: Classifier, samples: CleanSamples) -> None:
    finding = _run(replace(classifier, module=_Constant(1.0)), samples)
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert finding.metrics["likely_cause"] == "constant"
    assert "answers class 3 'three' for 100.0%" in finding.message


def test_scores_that_are_not_numbers_are_called_so(classifier: Classifier, samples: CleanSamples) -> None:
    finding = _run(replace(classifier, module=_Constant(float("nan"))), samples)
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert finding.metrics["likely_cause"] == "not-a-number"


def test_a_handful_of_samples_is_not_enough(classifier: Classifier, samples: CleanSamples) -> None:
    labels, pixels = samples.exposure.labels, samples.exposure.pixels
    keep = torch.tensor([int((labels == 0).nonzero()[0]), int((labels == 1).nonzero()[0])])
    two = replace(_parts(pixels[keep], labels[keep]), num_classes=2, class_names=NAMES[:2])
    finding = _run(classifier, two)
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert finding.metrics["likely_cause"] == "few-samples"


def test_a_model_of_another_input_size_is_an_error_with_the_way_out(
    classifier: Classifier, samples: CleanSamples
) -> None:
    bigger = replace(samples, exposure=SamplePart(samples.exposure.pixels.repeat(1, 1, 2, 2), samples.exposure.labels))
    bigger = replace(bigger, held_out=bigger.exposure)
    finding = _run(classifier, bigger)
    assert finding.outcome is Outcome.ERROR
    assert "3x16x16" in finding.message and "--size" in finding.message


def test_a_model_that_answers_no_scores_is_an_error(classifier: Classifier, samples: CleanSamples) -> None:
    finding = _run(replace(classifier, module=nn.Identity()), samples)
    assert finding.outcome is Outcome.ERROR
    assert "one score for each of 10 classes" in finding.message


def test_without_a_model_it_is_skipped() -> None:
    assert SampleFit().run(Evidence(artifact=ARTIFACT, seed=0)).outcome is Outcome.SKIPPED


def test_thresholds_are_parameters(classifier: Classifier, samples: CleanSamples) -> None:
    check = SampleFit(min_skill=1.0)
    finding = check.run(Evidence(artifact=ARTIFACT, seed=0, classifier=classifier, samples=samples))
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert finding.threshold == 1.0
    assert repr(check) == "SampleFit(min_skill=1.0, min_gain=0.1)"


def test_wilson_lower_bound() -> None:
    assert wilson_lower(0.5, 100) == pytest.approx(0.4038, abs=1e-4)  # the textbook's interval 0.404..0.596
    assert wilson_lower(0.0, 10) == pytest.approx(0.0, abs=1e-12)
    assert wilson_lower(1.0, 10) == pytest.approx(0.7225, abs=1e-4)
