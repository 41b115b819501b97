"""The baseline detectors: their decision rules on numbers made by hand, and each on small digit models."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
from ebyd_scan.benchmarks.baselines import BASELINES  # noqa: E402
from ebyd_scan.benchmarks.baselines.histogram_variance import HistogramVariance, histogram_variance  # noqa: E402
from ebyd_scan.benchmarks.baselines.last_layer import LastLayer, critical_q, dixon_q, head_weight  # noqa: E402
from ebyd_scan.benchmarks.baselines.mm_bd import MMBD, fit_gamma, log_p_value, maximum_margins  # noqa: E402
from ebyd_scan.benchmarks.baselines.neural_cleanse import NeuralCleanse, anomaly_indices  # noqa: E402
from ebyd_scan.benchmarks.exposure_settings import digit_samples  # noqa: E402
from ebyd_scan.evidence.classifier import Classifier  # noqa: E402
from ebyd_scan.fixtures.digits import ARCH_ARGS, MODELS, RECIPE, load_digits  # noqa: E402
from ebyd_scan.fixtures.networks import plain_convnet, wide_resnet  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch import nn  # noqa: E402

TARGET = 7  # of the shipped models, which fixtures.digits planted with seeds 1 and 2
# Small enough for a test; where Neural Cleanse has to be right it gets all its steps.
QUICK: dict[str, dict[str, Any]] = {
    "neural-cleanse": {"steps": 12, "batch_size": 16, "success": 0.3},
    "mm-bd": {"starts": 2, "steps": 12},
    "histogram-variance": {},
    "last-layer": {},
}


def _classifier(module: nn.Module, **changes: Any) -> Classifier:
    return replace(Classifier(module.eval(), 10, RECIPE.mean, RECIPE.std, "cpu", "", True, True), **changes)


def _shipped(name: str) -> Classifier:
    module = plain_convnet(**ARCH_ARGS)
    module.load_state_dict(load_file(MODELS / f"{name}.safetensors"))
    return _classifier(module)


@pytest.fixture(scope="module")
def samples() -> Any:
    return digit_samples(load_digits())


@pytest.fixture(scope="module")
def backdoored() -> Classifier:
    return _shipped("digits-badnets")


@pytest.fixture(scope="module")
def clean() -> Classifier:
    return _shipped("digits-clean")


def test_every_baseline_is_listed_under_its_id() -> None:
    assert set(BASELINES) == set(QUICK)
    assert all(factory().id == name for name, factory in BASELINES.items())


@pytest.mark.parametrize("name", QUICK)
def test_scores_are_numbers_the_seed_repeats_them_and_the_model_is_untouched(
    name: str, backdoored: Classifier, clean: Classifier, samples: Any
) -> None:
    for classifier in (backdoored, clean):
        module = classifier.module
        weights = copy.deepcopy(module.state_dict())
        gradients = [parameter.grad for parameter in module.parameters()]
        random_state = torch.get_rng_state()
        first, again = (BASELINES[name](**QUICK[name]).detect(classifier, samples, seed=5) for _ in range(2))
        assert first.method == name
        assert math.isfinite(first.score)
        assert first.seconds > 0
        assert first.label in range(10)
        assert replace(first, seconds=0) == replace(again, seconds=0)
        assert all(torch.equal(weights[key], value) for key, value in module.state_dict().items())
        assert not any(part.training for part in module.modules())
        assert all(parameter.requires_grad for parameter in module.parameters())
        assert all(parameter.grad is old for parameter, old in zip(module.parameters(), gradients, strict=True))
        assert torch.equal(torch.get_rng_state(), random_state)


def test_neural_cleanse_names_the_target(backdoored: Classifier, clean: Classifier, samples: Any) -> None:
    found = NeuralCleanse(steps=100, batch_size=16).detect(backdoored, samples, seed=0)
    assert found.detected
    assert found.label == TARGET
    assert found.score > 2
    other = NeuralCleanse(steps=100, batch_size=16).detect(clean, samples, seed=0)
    assert other.score < found.score  # on a clean model its index is near the paper's bound of 2, on either side


def test_neural_cleanse_says_so_where_it_reaches_no_label(clean: Classifier, samples: Any) -> None:
    found = NeuralCleanse(steps=2, batch_size=16).detect(clean, samples, seed=0)  # three batches make a success
    assert (found.label, found.detected, found.score) == (None, False, 0.0)
    assert "no label" in found.note


def test_the_anomaly_index_counts_robust_deviations_below_the_median() -> None:
    indices = anomaly_indices([10.0, 12.0, 14.0, 16.0, 2.0])  # median 12, deviations 2 0 2 4 10: MAD 2
    assert indices == pytest.approx([2 / 2.9652, 0, -2 / 2.9652, -4 / 2.9652, 10 / 2.9652])
    assert all(map(math.isfinite, anomaly_indices([5.0, 5.0, 5.0, 1.0])))


def test_the_variance_of_a_histogram() -> None:
    assert histogram_variance([10] * 10) == 0
    assert histogram_variance([200, *[0] * 9]) == pytest.approx(0.09)
    assert histogram_variance([7, *[0] * 97]) > 0.01 > histogram_variance([7, *[0] * 98])  # as the module says
    with pytest.raises(ValueError, match="no predictions"):
        histogram_variance([0, 0])


def test_the_histogram_rule_fires_above_its_threshold_only(backdoored: Classifier, samples: Any) -> None:
    found = HistogramVariance().detect(backdoored, samples, seed=0)
    assert found.detected == (found.score > 0.01)
    assert not HistogramVariance(threshold=found.score).detect(backdoored, samples, seed=0).detected
    frozen = HistogramVariance().detect(replace(backdoored, trainable=False), samples, seed=0)
    assert (frozen.label, frozen.detected, frozen.score) == (None, False, 0.0)
    assert "does not apply" in frozen.note


def test_dixons_q_is_the_gap_over_the_range() -> None:
    assert dixon_q(torch.tensor([1.0, 9.0, 4.0, 5.0])) == (pytest.approx(0.5), 1)
    assert dixon_q(torch.ones(4))[0] == 0


@pytest.mark.parametrize(("count", "published"), [(3, 0.941), (8, 0.468), (10, 0.412), (20, 0.300), (30, 0.260)])
def test_simulated_critical_values_are_those_of_the_tables(count: int, published: float) -> None:
    assert critical_q(count, 0.05) == pytest.approx(published, abs=0.006)


class _Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(1, 10, 3, padding=1)
        self.head = nn.Conv2d(10, 10, 1)

    def forward(self, pixels: Any) -> Any:
        return self.head(self.wide(pixels).relu()).mean(dim=(2, 3))


def test_the_head_is_found() -> None:
    for network in (wide_resnet(channels=1), plain_convnet(channels=1, width=8)):
        assert torch.equal(head_weight(network, 10), network.fc.weight)
        assert head_weight(network, 11) is None
        scripted = torch.jit.trace(network.eval(), torch.zeros(1, 1, 16, 16))
        assert torch.equal(head_weight(scripted, 10), network.fc.weight)
    convolutional = _Convolutional()
    assert torch.equal(head_weight(convolutional, 10), convolutional.head.weight.flatten(1))
    convolutional.head = nn.Identity()
    assert head_weight(convolutional, 10) is None  # 3x3


def test_last_layer_finds_a_raised_row_and_no_other(samples: Any) -> None:
    torch.manual_seed(0)
    network = wide_resnet(channels=1)
    assert not LastLayer().detect(_classifier(network), samples, seed=0).detected
    with torch.no_grad():
        network.fc.weight[6] += 0.5
    found = LastLayer().detect(_classifier(network), samples, seed=0)
    assert found.detected and found.label == 6 and found.score > 1
    headless = LastLayer().detect(_classifier(nn.Flatten()), samples, seed=0)
    assert (headless.label, headless.detected) == (None, False)
    assert "no linear layer" in headless.note


class _Linear(nn.Module):
    """Scores whose largest margins over pixels in 0..1 are known: the sum of the positive differences of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[1.0, 1.0, -1.0, -1.0], [0.0] * 4, [-2.0, -2.0, 2.0, 3.0]]))

    def forward(self, pixels: Any) -> Any:
        return self.head(pixels.flatten(1))


def test_ascent_finds_the_largest_margins_inside_the_input_domain() -> None:
    classifier = _classifier(_Linear(), num_classes=3, mean=(0.0,), std=(1.0,))
    options = {"starts": 4, "steps": 400, "step_size": 0.02, "tolerance": 1e-5, "seed": 0}
    first, second, third = maximum_margins(classifier, (1, 2, 2), **options)
    assert (first, third) == (2.0, 5.0)  # in the corners (1, 1, 0, 0) and (0, 0, 1, 1)
    assert -0.2 < second <= 0  # no input puts class 1 first; ascent circles around the ridge


def test_the_gamma_fit_recovers_what_it_was_drawn_from() -> None:
    stats = pytest.importorskip("scipy.stats")
    draws = stats.gamma.rvs(4.0, loc=10.0, scale=2.0, size=4000, random_state=0)
    location, shape, scale = fit_gamma(draws.tolist())
    fitted = stats.gamma(shape, loc=location, scale=scale)
    for share in (0.05, 0.5, 0.95, 0.999):
        assert fitted.ppf(share) == pytest.approx(stats.gamma.ppf(share, 4.0, loc=10.0, scale=2.0), rel=0.05)
    assert fit_gamma([1.0, 1.1, 1.2, 9.0])[1] == 1  # an unconstrained shape would go to zero
    with pytest.raises(ValueError, match="two different"):
        fit_gamma([2.0, 2.0])


def test_the_p_value_is_that_of_the_maximum_of_all_classes() -> None:
    stats = pytest.importorskip("scipy.stats")
    others = [20.0, 22.0, 25.0, 26.0, 28.0, 31.0, 33.0, 35.0, 40.0]
    location, shape, scale = fit_gamma(others)
    for largest in (20.0, 41.0, 60.0):
        expected = 1 - stats.gamma.cdf(largest, shape, loc=location, scale=scale) ** 10
        assert math.exp(log_p_value(largest, others)) == pytest.approx(expected)
    assert log_p_value(-1e3, others) == 0.0
    # On both sides of where the tail runs out of floating point the logarithm goes on alike.
    far = [log_p_value(location + scale * z, others) for z in (600.0, 660.0, 720.0)]
    assert far[0] - far[1] == pytest.approx(far[1] - far[2], rel=0.01)


def test_mm_bd_needs_more_than_two_classes(samples: Any) -> None:
    torch.manual_seed(0)
    two = _classifier(plain_convnet(num_classes=2, channels=1, width=4), num_classes=2)
    found = MMBD(starts=1, steps=2).detect(two, samples, seed=0)
    assert (found.label, found.detected, found.score) == (None, False, 0.0)
    assert "two different values" in found.note
