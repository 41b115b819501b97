"""What holds for every exposer: the original stays, seeds reproduce, a backdoor comes to the top, nothing raises."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from ebyd_scan.checks.suspects import collapse  # noqa: E402
from ebyd_scan.evidence.classifier import Classifier  # noqa: E402
from ebyd_scan.evidence.context import Exposer  # noqa: E402
from ebyd_scan.evidence.samples import CleanSamples, SamplePart  # noqa: E402
from ebyd_scan.exposers.clean_unlearning import CleanUnlearning  # noqa: E402
from ebyd_scan.exposers.confusion import ConfusionFineTuning  # noqa: E402
from ebyd_scan.exposers.sparsification import Sparsification  # noqa: E402
from ebyd_scan.exposers.weight_perturbation import WeightPerturbation  # noqa: E402
from ebyd_scan.policies.plugins import EXPOSERS, options_model, plugin_class, plugin_names  # noqa: E402
from torch import nn  # noqa: E402

from .conftest import as_classifier  # noqa: E402

Make = Callable[..., Exposer]
NEW = [ConfusionFineTuning, Sparsification, WeightPerturbation]
ALL = [CleanUnlearning, *NEW]
# Shorter runs for the tests that look at something else than the end.
SHORT: dict[Any, dict[str, Any]] = {
    CleanUnlearning: {"max_epochs": 2},
    ConfusionFineTuning: {"max_epochs": 2},
    Sparsification: {"step_share": 0.3},
    WeightPerturbation: {"max_epochs": 2},
}


def _short(cls: Make) -> Exposer:
    return cls(**SHORT[cls])


def _small(batch_norm: bool = True) -> nn.Module:
    torch.manual_seed(0)
    norm: list[nn.Module] = [nn.BatchNorm2d(6)] if batch_norm else []
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, stride=2), *norm, nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(384, 10)
    )


@pytest.mark.parametrize("cls", NEW)
def test_a_planted_backdoor_comes_to_the_top(cls: Make, backdoored: Classifier, digit_samples: CleanSamples) -> None:
    told: list[tuple[str, int, int]] = []
    run = cls().expose(backdoored, digit_samples, seed=0, progress=lambda *step: told.append(step)).run
    assert run.applicable
    assert run.converged, run.reason
    assert run.method == cls.id
    assert run.before.accuracy > 0.9
    assert run.after is not None
    assert run.after.accuracy < 0.5
    assert sum(run.before.histogram) == sum(run.after.histogram) == 200
    assert collapse([run]).label == 7
    assert [step.step for step in run.trajectory] == list(range(len(run.trajectory)))
    assert run.after.step == len(run.trajectory)
    stage, done, total = told[-1]
    assert (stage, done) == ("expose", total)


@pytest.mark.parametrize("cls", NEW)
def test_a_clean_model_is_stripped_too(cls: Make, clean: Classifier, digit_samples: CleanSamples) -> None:
    run = cls().expose(clean, digit_samples, seed=0).run
    assert run.converged, run.reason
    assert max(collapse([run]).gain) < 0.6


@pytest.mark.parametrize("cls", ALL)
def test_the_original_stays_bit_for_bit(cls: Make, backdoored: Classifier, digit_samples: CleanSamples) -> None:
    module = backdoored.module
    frozen = next(iter(module.parameters()))
    frozen.requires_grad_(False)
    try:
        weights = copy.deepcopy(module.state_dict())
        state = torch.random.get_rng_state()
        exposed = _short(cls).expose(backdoored, digit_samples, seed=0).classifier.module
        assert all(torch.equal(weights[name], value) for name, value in module.state_dict().items())
        assert [p.requires_grad for p in module.parameters()].count(False) == 1
        assert all(parameter.grad is None for parameter in module.parameters())
        assert not any(part.training for part in module.modules())
        assert torch.equal(state, torch.random.get_rng_state())
        assert any(not torch.equal(weights[name], value) for name, value in exposed.named_parameters())
        assert all(parameter.requires_grad and parameter.grad is None for parameter in exposed.parameters())
        assert not any(part.training for part in exposed.modules())
        assert not any(part._forward_hooks for part in exposed.modules())
    finally:
        frozen.requires_grad_(True)


@pytest.mark.parametrize("cls", ALL)
def test_the_seed_decides(cls: Make, backdoored: Classifier, digit_samples: CleanSamples) -> None:
    exposer = _short(cls)
    runs = []
    for seed in (5, 5, 6):
        torch.rand(7)  # whatever else draws numbers has no say
        runs.append(exposer.expose(backdoored, digit_samples, seed=seed).run.model_dump(exclude={"seconds"}))
    assert runs[0] == runs[1]
    assert (runs[0]["trajectory"], runs[0]["after"]) != (runs[2]["trajectory"], runs[2]["after"])


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize(
    ("changes", "said"), [({"trainable": False}, "frozen"), ({"normalisation_frozen": True}, "BatchNorm is frozen")]
)
def test_a_frozen_graph_is_told(cls: Make, changes: dict[str, Any], said: str, digit_samples: CleanSamples) -> None:
    run = cls().expose(replace(as_classifier(_small()), **changes), digit_samples, seed=0).run
    assert not run.applicable
    assert not run.converged
    assert said in run.reason
    assert run.trajectory == []
    assert run.after is None
    assert sum(run.before.histogram) == 200


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_weights_beyond_numbers_are_told(
    cls: Make, value: float, batch_norm: bool, digit_samples: CleanSamples
) -> None:
    module = _small(batch_norm)
    with torch.no_grad():
        module[-1].weight[0] = value
        module[0].weight[2] = value
    run = cls().expose(as_classifier(module, has_batch_norm=batch_norm), digit_samples, seed=0).run
    assert not run.converged
    assert "stopped being" in run.reason or "was still" in run.reason


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("count", [1, 3])
def test_a_handful_of_samples(cls: Make, count: int, backdoored: Classifier, digit_samples: CleanSamples) -> None:
    part = digit_samples.exposure
    few = replace(digit_samples, exposure=SamplePart(part.pixels[:count], part.labels[:count]))
    run = _short(cls).expose(backdoored, few, seed=0).run
    assert all(sum(step.histogram) == count for step in run.trajectory)


@pytest.mark.parametrize("cls", ALL)
def test_no_batch_norm_and_one_layer(cls: Make, digit_samples: CleanSamples) -> None:
    classifier = as_classifier(_small(batch_norm=False), has_batch_norm=False)
    assert _short(cls).expose(classifier, digit_samples, seed=0).run.after is not None
    torch.manual_seed(0)
    linear = as_classifier(nn.Sequential(nn.Flatten(), nn.Linear(256, 10)), has_batch_norm=False)
    run = _short(cls).expose(linear, digit_samples, seed=0).run
    if cls in (Sparsification, WeightPerturbation):
        assert "no layer whose channels" in run.reason
        assert not run.converged


@pytest.mark.parametrize("cls", NEW)
def test_too_few_steps_do_not_converge(cls: Make, backdoored: Classifier, digit_samples: CleanSamples) -> None:
    idle = {
        ConfusionFineTuning: {"max_epochs": 1, "learning_rate": 1e-6},
        Sparsification: {"step_share": 0.5, "stop_accuracy": 1e-9},
        WeightPerturbation: {"max_epochs": 1, "epsilon": 1e-3, "epsilon_growth": 0.0},
    }
    run = cls(**idle[cls]).expose(backdoored, digit_samples, seed=0).run
    assert run.applicable
    assert not run.converged
    assert "clean accuracy was still" in run.reason


def test_all_are_installed_and_a_policy_can_set_them() -> None:
    assert {cls.id for cls in ALL} <= set(plugin_names(EXPOSERS, built_in_only=True))
    for cls in ALL:
        assert plugin_class(EXPOSERS, cls.id) is cls
        fields = options_model(cls).model_fields
        assert "stop_accuracy" in fields
        assert "stop_accuracy=0.3" in repr(cls(stop_accuracy=0.3))
