"""Clean unlearning on small digit models: the original stays as it is, and no model breaks it."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
from ebyd_scan.evidence.classifier import Classifier  # noqa: E402
from ebyd_scan.evidence.samples import CleanSamples, SamplePart  # noqa: E402
from ebyd_scan.exposers.clean_unlearning import CleanUnlearning  # noqa: E402
from ebyd_scan.fixtures.digits import RECIPE, load_digits  # noqa: E402
from ebyd_scan.fixtures.networks import plain_convnet  # noqa: E402
from ebyd_scan.fixtures.planter import to_pixels, train  # noqa: E402
from torch import nn  # noqa: E402


@pytest.fixture(scope="module")
def samples() -> CleanSamples:
    digits = load_digits()
    pixels, labels = to_pixels(digits.sample_x), torch.from_numpy(digits.sample_y)
    return CleanSamples(
        path=Path("digits.npz"),
        sha256="0" * 64,
        num_classes=10,
        class_names=tuple(str(label) for label in range(10)),
        exposure=SamplePart(pixels[:200], labels[:200]),
        held_out=SamplePart(pixels[200:], labels[200:]),
    )


def _classifier(module: nn.Module, **changes: Any) -> Classifier:
    known = {"trainable": True, "has_batch_norm": True, **changes}
    return Classifier(
        module=module.eval(), num_classes=10, mean=RECIPE.mean, std=RECIPE.std, device="cpu", architecture="x", **known
    )


def _trained(**arguments: Any) -> nn.Module:
    digits = load_digits()
    torch.manual_seed(0)
    recipe = replace(RECIPE, epochs=6)
    module = train(plain_convnet(channels=1, width=8, **arguments), digits.train_x, digits.train_y, recipe, seed=0)
    module.zero_grad(set_to_none=True)
    return module


@pytest.fixture(scope="module")
def plain() -> Classifier:
    return _classifier(_trained())


def test_it_unlearns_and_tells_how(plain: Classifier, samples: CleanSamples) -> None:
    told: list[tuple[str, int, int]] = []
    exposure = CleanUnlearning().expose(plain, samples, seed=0, progress=lambda *step: told.append(step))
    run = exposure.run
    assert run.applicable
    assert run.converged, run.reason
    assert run.before.accuracy > 0.9
    assert run.after is not None
    assert run.after.accuracy < 0.5
    assert sum(run.before.histogram) == sum(run.after.histogram) == 200
    assert [step.step for step in run.trajectory] == list(range(len(run.trajectory)))
    epochs = len(run.trajectory) / 6  # 200 samples in batches of about 32
    assert epochs == int(epochs)
    assert all(len(step.histogram) == 10 for step in run.trajectory)
    for start in range(0, len(run.trajectory), 6):
        sizes = [sum(step.histogram) for step in run.trajectory[start : start + 6]]
        assert sum(sizes) == 200
        assert set(sizes) == {33, 34}
    assert run.after.step == len(run.trajectory)
    assert told[-1] == ("expose", 20, 20)
    assert not exposure.classifier.module.training
    assert all(parameter.grad is None for parameter in exposure.classifier.module.parameters())


def test_the_original_stays_bit_for_bit(plain: Classifier, samples: CleanSamples) -> None:
    module = plain.module
    module.features[0].weight.requires_grad_(False)
    try:
        weights = copy.deepcopy(module.state_dict())
        asked = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
        state = torch.random.get_rng_state()
        exposed = CleanUnlearning(max_epochs=2).expose(plain, samples, seed=0).classifier.module
        assert all(torch.equal(weights[name], value) for name, value in module.state_dict().items())
        assert asked == {name: parameter.requires_grad for name, parameter in module.named_parameters()}
        assert all(parameter.grad is None for parameter in module.parameters())
        assert not any(part.training for part in module.modules())
        assert torch.equal(state, torch.random.get_rng_state())
        assert not torch.equal(exposed.fc.weight, module.fc.weight)
    finally:
        module.features[0].weight.requires_grad_(True)


def test_the_seed_decides(plain: Classifier, samples: CleanSamples) -> None:
    exposer = CleanUnlearning(max_epochs=2)
    runs = []
    for seed in (5, 5, 6):
        torch.rand(7)  # whatever else draws numbers has no say
        runs.append(exposer.expose(plain, samples, seed=seed).run.model_dump(exclude={"seconds"}))
    assert runs[0] == runs[1]
    assert runs[0]["trajectory"] != runs[2]["trajectory"]


@pytest.mark.parametrize("arguments", [{"dropout": 0.5}, {"batch_norm": False}], ids=["dropout", "no-batch-norm"])
def test_other_networks(arguments: dict[str, Any], samples: CleanSamples) -> None:
    classifier = _classifier(_trained(**arguments), has_batch_norm="batch_norm" not in arguments)
    run = CleanUnlearning().expose(classifier, samples, seed=0).run
    again = CleanUnlearning().expose(classifier, samples, seed=0).run
    assert run.converged or "clean accuracy was still" in run.reason
    assert run.after is not None
    assert run.trajectory == again.trajectory


@pytest.mark.parametrize(
    ("changes", "said"), [({"trainable": False}, "frozen"), ({"normalisation_frozen": True}, "BatchNorm is frozen")]
)
def test_a_frozen_graph_is_told(changes: dict[str, Any], said: str, plain: Classifier, samples: CleanSamples) -> None:
    run = CleanUnlearning().expose(replace(plain, **changes), samples, seed=0).run
    assert not run.applicable
    assert not run.converged
    assert said in run.reason
    assert run.trajectory == []
    assert run.after is None
    assert sum(run.before.histogram) == 200


def test_too_few_epochs_do_not_converge(plain: Classifier, samples: CleanSamples) -> None:
    run = CleanUnlearning(learning_rate=1e-6, max_epochs=2).expose(plain, samples, seed=0).run
    assert run.applicable
    assert not run.converged
    assert "after 2 epochs" in run.reason
    assert len(run.trajectory) == 12


@pytest.mark.parametrize("rate", [1e4, 1e30, 1e38])
def test_an_explosion_is_told_and_not_raised(rate: float, samples: CleanSamples) -> None:
    classifier = _classifier(_trained(batch_norm=False), has_batch_norm=False)
    exposer = CleanUnlearning(learning_rate=rate, clip_norm=1e30, stop_accuracy=1e-9)
    run = exposer.expose(classifier, samples, seed=0).run
    assert not run.converged
    assert "stopped being a number" in run.reason
    assert all(bool(value.isfinite().all()) for value in classifier.module.state_dict().values())


def test_a_handful_of_samples(plain: Classifier, samples: CleanSamples) -> None:
    few = replace(samples, exposure=SamplePart(samples.exposure.pixels[:3], samples.exposure.labels[:3]))
    run = CleanUnlearning(max_epochs=3).expose(plain, few, seed=0).run
    assert all(sum(step.histogram) == 3 for step in run.trajectory)


def test_repr_names_the_configuration() -> None:
    assert "learning_rate=0.02" in repr(CleanUnlearning(learning_rate=0.02))
