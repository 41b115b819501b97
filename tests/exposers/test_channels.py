"""Which layers have channels, and what pruning and perturbing one of them does."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402
from ebyd_scan.evidence.classifier import Classifier  # noqa: E402
from ebyd_scan.evidence.samples import CleanSamples  # noqa: E402
from ebyd_scan.exposers.channels import channel_layers  # noqa: E402
from ebyd_scan.exposers.confusion import ConfusionFineTuning  # noqa: E402
from ebyd_scan.exposers.sparsification import Sparsification, saliency  # noqa: E402
from ebyd_scan.exposers.weight_perturbation import WeightPerturbation  # noqa: E402
from ebyd_scan.fixtures.networks import small_convnext, small_vit, wide_resnet  # noqa: E402
from ebyd_scan.scanner.models.identify import identify  # noqa: E402
from ebyd_scan.scanner.models.load import load_classifier  # noqa: E402
from torch import nn  # noqa: E402

from .conftest import as_classifier  # noqa: E402


def test_normalisation_comes_first_and_the_head_is_never_touched() -> None:
    names = [layer.name for layer in channel_layers(wide_resnet())]
    assert len(names) == 13
    assert all("bn" in name for name in names)
    plain = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.PReLU(4), nn.Conv2d(4, 4, 3, bias=False), nn.Flatten(), nn.Linear(4, 2)
    )
    layers = channel_layers(plain)
    assert [layer.name for layer in layers] == ["0", "2"]
    assert [len(layer.parameters) for layer in layers] == [2, 1]
    assert channel_layers(nn.Linear(3, 2)) == []


@pytest.mark.parametrize("build", [small_convnext, small_vit])
def test_layer_norm_counts(build: object) -> None:
    layers = channel_layers(build(channels=1, size=16) if build is small_vit else build(channels=1))
    assert layers
    assert all(layer.normalises for layer in layers)


def test_saliency_is_the_rise_of_the_loss() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)).double()
    x, y = torch.randn(16, 5).double(), torch.randint(3, (16,))
    with torch.no_grad():
        module[1].bias.normal_()
    (layer,) = channel_layers(module)
    loss = F.cross_entropy(module(x), y)
    loss.backward()
    found = saliency(layer)
    share = 1e-5  # a first-order term: exact for a channel that is shrunk by a hair
    for channel in range(4):
        shrunk = copy.deepcopy(module)
        with torch.no_grad():
            shrunk[1].weight[channel] *= 1 - share
            shrunk[1].bias[channel] *= 1 - share
            rise = (F.cross_entropy(shrunk(x), y) - loss) / share
        assert float(found[channel].detach()) == pytest.approx(float(rise), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("criterion", ["saliency", "activation", "magnitude"])
def test_pruned_channels_are_zero_and_the_others_untouched(
    criterion: str, backdoored: Classifier, digit_samples: CleanSamples
) -> None:
    exposure = Sparsification(criterion=criterion, step_share=0.1).expose(backdoored, digit_samples, seed=0)
    assert exposure.run.converged, exposure.run.reason
    gone = total = 0
    pairs = zip(channel_layers(backdoored.module), channel_layers(exposure.classifier.module), strict=True)
    for before, after in pairs:
        zero = (after.weight == 0) & (after.bias == 0)
        assert torch.equal(after.weight[~zero], before.weight[~zero])
        gone, total = gone + int(zero.sum()), total + len(zero)
    steps = len(exposure.run.trajectory)
    assert gone == pytest.approx(0.1 * steps * total, abs=4)
    assert f"{gone / total:.0%} of channels" in exposure.run.reason
    fc = backdoored.module.fc.weight
    assert torch.equal(fc, exposure.classifier.module.fc.weight)


def test_the_largest_weights_go_first(backdoored: Classifier, digit_samples: CleanSamples) -> None:
    exposer = Sparsification(criterion="magnitude", step_share=0.1, stop_accuracy=0.5)
    exposed = exposer.expose(backdoored, digit_samples, seed=0).classifier.module
    for before, after in zip(channel_layers(backdoored.module), channel_layers(exposed), strict=True):
        zero = after.weight == 0
        assert before.weight[zero].abs().min() >= before.weight[~zero].abs().max()


def test_activations_of_any_layout_are_watched(digit_samples: CleanSamples) -> None:
    for build, arguments in ((small_convnext, {}), (small_vit, {"size": 16, "depth": 1})):
        torch.manual_seed(0)
        classifier = as_classifier(build(channels=1, **arguments), has_batch_norm=False)
        run = Sparsification(criterion="activation", step_share=0.5).expose(classifier, digit_samples, seed=0).run
        assert "cannot be watched" not in run.reason
        assert run.after is not None


def test_torchscript(backdoored: Classifier, digit_samples: CleanSamples, tmp_path: Path) -> None:
    torch.jit.script(copy.deepcopy(backdoored.module)).save(tmp_path / "model.pt")
    scripted = load_classifier(
        identify(tmp_path / "model.pt"),
        architecture=None,
        arch_args={},
        mean=backdoored.mean,
        std=backdoored.std,
        input_shape=(1, 16, 16),
        device="cpu",
        allow_pickle=False,
    )
    for exposer in (Sparsification(step_share=0.1), WeightPerturbation(max_epochs=2)):
        run = exposer.expose(scripted, digit_samples, seed=0).run
        plain = exposer.expose(backdoored, digit_samples, seed=0).run
        assert run.after == plain.after
        assert run.reason == plain.reason
    blind = Sparsification(criterion="activation").expose(scripted, digit_samples, seed=0).run
    assert not blind.converged
    assert "choose another criterion" in blind.reason


@pytest.mark.parametrize("perturb_bias", [True, False])
def test_noise_is_a_factor_a_channel_within_epsilon(
    perturb_bias: bool, backdoored: Classifier, digit_samples: CleanSamples
) -> None:
    exposer = WeightPerturbation(epsilon=0.2, epsilon_growth=0.1, max_epochs=2, perturb_bias=perturb_bias)
    exposed = exposer.expose(backdoored, digit_samples, seed=0).classifier.module
    perturbed = set()
    for (name, before), after in zip(backdoored.module.named_parameters(), exposed.parameters(), strict=True):
        change = (after / before - 1).abs().max()
        assert change <= 0.3 + 1e-4
        if change > 0:
            perturbed.add(name)
    norms = [f"features.{place}" for place in (1, 5, 9, 13)]
    kinds = ("weight", "bias") if perturb_bias else ("weight",)
    assert perturbed == {f"{name}.{kind}" for name in norms for kind in kinds}


def test_a_convolution_is_scaled_as_a_whole(digit_samples: CleanSamples) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 10))
    exposer = WeightPerturbation(max_epochs=1, stop_accuracy=1e-9)
    exposed = exposer.expose(as_classifier(module, has_batch_norm=False), digit_samples, seed=0).classifier.module
    factors = (exposed[0].weight / module[0].weight).flatten(1)
    assert torch.allclose(factors, factors[:, :1].expand_as(factors), rtol=1e-4)
    assert len(factors[:, 0].unique()) > 1
    assert torch.equal(exposed[3].weight, module[3].weight)


def test_random_labels(backdoored: Classifier, digit_samples: CleanSamples) -> None:
    found = {}
    for labels in ("uniform", "redrawn", "fixed"):
        exposer = ConfusionFineTuning(labels=labels, max_epochs=2, stop_accuracy=1e-9)
        found[labels] = exposer.expose(backdoored, digit_samples, seed=0).run.trajectory
    assert found["redrawn"][:7] == found["fixed"][:7]  # one epoch, and the first batch of the second
    assert found["redrawn"] != found["fixed"]
    assert found["uniform"] != found["fixed"]
