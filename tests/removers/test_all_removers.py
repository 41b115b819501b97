"""What holds for every remover: the original stays, seeds reproduce, nothing raises, most backdoors weaken."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from ebyd_scan.evidence.classifier import Classifier  # noqa: E402
from ebyd_scan.evidence.repair import Known, KnownTrigger, Remover  # noqa: E402
from ebyd_scan.evidence.samples import CleanSamples, SamplePart  # noqa: E402
from ebyd_scan.removers.anp import AdversarialNeuronPruning  # noqa: E402
from ebyd_scan.removers.fine_pruning import FinePruning  # noqa: E402
from ebyd_scan.removers.fine_tuning import FineTuning  # noqa: E402
from ebyd_scan.removers.i_bau import ImplicitUnlearning  # noqa: E402
from ebyd_scan.removers.nad import AttentionDistillation  # noqa: E402
from ebyd_scan.removers.rnp import ReconstructiveNeuronPruning  # noqa: E402
from ebyd_scan.removers.sharpness_aware import SharpnessAwareTuning  # noqa: E402
from ebyd_scan.removers.trigger_unlearning import TriggerUnlearning  # noqa: E402
from ebyd_scan.removers.universal_unlearning import UniversalUnlearning  # noqa: E402
from ebyd_scan.scanner.models.identify import identify  # noqa: E402
from ebyd_scan.scanner.models.load import load_classifier  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from ..checks.text_evidence import evidence_of  # noqa: E402
from ..tiny_texts import TextModels  # noqa: E402
from .conftest import as_classifier  # noqa: E402

Make = Callable[..., Remover]
# Shorter runs for the tests that look at something else than the end.
SHORT: dict[Any, dict[str, Any]] = {
    AdversarialNeuronPruning: {"epochs": 1},
    AttentionDistillation: {"teacher_epochs": 1, "epochs": 1},
    FinePruning: {"epochs": 1},
    FineTuning: {"epochs": 1},
    ImplicitUnlearning: {"rounds": 1, "epochs": 1, "search_steps": 2},
    ReconstructiveNeuronPruning: {"mask_epochs": 1, "stop_accuracy": 0.5},
    SharpnessAwareTuning: {"epochs": 1},
    TriggerUnlearning: {"epochs": 1, "search_steps": 20},
    UniversalUnlearning: {"first_epochs": 1, "steps": 10, "lead": 1, "word_steps": 2},
}
ALL = list(SHORT)
PRUNES = (AdversarialNeuronPruning, ReconstructiveNeuronPruning)
STRONG = [cls for cls in ALL if cls not in PRUNES]  # on digits the two leave the backdoor
TAKES_LOSS = STRONG


def _short(cls: Make) -> Remover:
    return cls(**SHORT[cls])


def _patched(pixels: Tensor) -> Tensor:
    """BadNets' trigger of the shipped model: white in the corner."""
    from ebyd_scan.fixtures.attacks.badnets import BadNets
    from ebyd_scan.fixtures.planter import to_pixels

    images = (pixels.detach().cpu().permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    return to_pixels(BadNets(target=7).apply(images)).to(pixels.device)


PATCH = KnownTrigger("patch", 7, _patched)


def _known(cls: Make) -> Known:
    """Spares the search where a test looks at something else."""
    return Known(triggers=(PATCH,)) if cls is TriggerUnlearning else Known()


def _share(classifier: Classifier, pixels: Tensor, labels: Tensor | int) -> float:
    with torch.no_grad():
        return float((classifier.logits(pixels).argmax(1) == labels).float().mean())


def _accuracy(classifier: Classifier, part: SamplePart) -> float:
    return _share(classifier, part.pixels, part.labels)


def _success(classifier: Classifier, part: SamplePart) -> float:
    return _share(classifier, _patched(part.pixels[part.labels != 7]), 7)


def _small(batch_norm: bool = True) -> nn.Module:
    torch.manual_seed(0)
    norm: list[nn.Module] = [nn.BatchNorm2d(6)] if batch_norm else []
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, stride=2), *norm, nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(384, 10)
    )


@pytest.mark.parametrize("cls", STRONG)
def test_the_backdoor_of_a_digits_model_weakens(cls: Make, backdoored: Classifier, digit_samples: CleanSamples) -> None:
    held_out, told = digit_samples.held_out, []
    assert _success(backdoored, held_out) > 0.9
    repair = cls().remove(backdoored, digit_samples, _known(cls), seed=0, progress=lambda *step: told.append(step))
    assert repair.run.applied, repair.run.reason
    assert repair.run.method == cls.id
    assert _success(repair.classifier, held_out) < 0.4
    assert _accuracy(repair.classifier, held_out) > _accuracy(backdoored, held_out) - 0.03
    assert all(1 <= done <= total for _, done, total in told)
    assert told[-1][1] == told[-1][2]


@pytest.mark.parametrize("cls", PRUNES)
def test_pruning_alone_keeps_accuracy(cls: Make, backdoored: Classifier, digit_samples: CleanSamples) -> None:
    repair = cls(threshold=1.0).remove(backdoored, digit_samples, Known(), seed=0)
    assert repair.run.applied, repair.run.reason
    assert 0 < repair.run.metrics["pruned_share"] < 1
    before = _accuracy(backdoored, digit_samples.exposure)
    assert _accuracy(repair.classifier, digit_samples.exposure) >= before - 0.04


def test_trigger_unlearning_searches_its_own(backdoored: Classifier, digit_samples: CleanSamples) -> None:
    repair = TriggerUnlearning().remove(backdoored, digit_samples, Known(labels=(7,)), seed=0)
    assert "1 searched" in repair.run.reason
    assert _success(repair.classifier, digit_samples.held_out) < 0.2


def test_rnp_takes_exposed_models(backdoored: Classifier, digit_samples: CleanSamples) -> None:
    from ebyd_scan.exposers.clean_unlearning import CleanUnlearning

    exposed = [CleanUnlearning().expose(backdoored, digit_samples, seed=seed).classifier for seed in (0, 1)]
    weights = copy.deepcopy(exposed[0].module.state_dict())
    remover = _short(ReconstructiveNeuronPruning)
    run = remover.remove(backdoored, digit_samples, Known(exposed=exposed), seed=0).run
    assert "2 unlearned models" in run.reason
    assert all(torch.equal(weights[name], value) for name, value in exposed[0].module.state_dict().items())


def test_pruned_channels_stay_pruned(backdoored: Classifier, digit_samples: CleanSamples) -> None:
    repair = FinePruning(epochs=2, max_drop=0.3).remove(backdoored, digit_samples, Known(), seed=0)
    last = [part for part in repair.classifier.module.modules() if isinstance(part, nn.BatchNorm2d)][-1]
    gone = (last.weight == 0) & (last.bias == 0)
    assert float(gone.float().mean()) == pytest.approx(repair.run.metrics["pruned_share"])
    assert gone.any()


@pytest.mark.parametrize("cls", ALL)
def test_the_original_stays_bit_for_bit(cls: Make, backdoored: Classifier, digit_samples: CleanSamples) -> None:
    module = backdoored.module
    frozen = next(iter(module.parameters()))
    frozen.requires_grad_(False)
    try:
        weights = copy.deepcopy(module.state_dict())
        state = torch.random.get_rng_state()
        repaired = _short(cls).remove(backdoored, digit_samples, _known(cls), seed=0).classifier.module
        assert all(torch.equal(weights[name], value) for name, value in module.state_dict().items())
        assert not frozen.requires_grad
        assert all(parameter.grad is None for parameter in module.parameters())
        assert not any(part.training or part._forward_hooks for part in module.modules())
        assert torch.equal(state, torch.random.get_rng_state())
        if cls not in PRUNES:
            assert any(not torch.equal(weights[name], value) for name, value in repaired.named_parameters())
        assert all(parameter.requires_grad and parameter.grad is None for parameter in repaired.parameters())
        assert not any(part.training or part._forward_hooks for part in repaired.modules())
    finally:
        frozen.requires_grad_(True)


@pytest.mark.parametrize("cls", ALL)
def test_the_seed_decides(cls: Make, backdoored: Classifier, digit_samples: CleanSamples) -> None:
    options = {**SHORT[cls], "threshold": 1.0, "max_drop": 0.5} if cls in PRUNES else SHORT[cls]
    remover, weights = cls(**options), []
    for seed in (5, 5, 6):
        torch.rand(7)  # whatever else draws numbers has no say
        repaired = remover.remove(backdoored, digit_samples, _known(cls), seed=seed).classifier.module
        weights.append(torch.cat([parameter.detach().flatten() for parameter in repaired.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("cls", ALL)
def test_a_frozen_graph_is_told(cls: Make, digit_samples: CleanSamples) -> None:
    classifier = replace(as_classifier(_small()), trainable=False)
    repair = cls().remove(classifier, digit_samples, Known(), seed=0)
    assert not repair.run.applied
    assert "frozen" in repair.run.reason


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("batch_norm", [True, False])
def test_weights_beyond_numbers_are_told(cls: Make, batch_norm: bool, digit_samples: CleanSamples) -> None:
    module = _small(batch_norm)
    with torch.no_grad():
        module[-1].weight[0] = float("nan")
    run = _short(cls).remove(as_classifier(module), digit_samples, _known(cls), seed=0).run
    assert not run.applied
    assert "numbers" in run.reason or "a number" in run.reason or "could not be unlearned" in run.reason


@pytest.mark.parametrize("cls", ALL)
def test_one_sample_a_class(cls: Make, backdoored: Classifier, digit_samples: CleanSamples) -> None:
    part = digit_samples.exposure
    first = torch.stack([(part.labels == label).nonzero()[0, 0] for label in range(10)])
    few = replace(digit_samples, exposure=SamplePart(part.pixels[first], part.labels[first]))
    repair = _short(cls).remove(backdoored, few, _known(cls), seed=0)
    assert repair.run.applied or "could not be unlearned" in repair.run.reason


@pytest.mark.parametrize("cls", ALL)
def test_no_batch_norm_and_one_layer(cls: Make, digit_samples: CleanSamples) -> None:
    classifier = as_classifier(_small(batch_norm=False), has_batch_norm=False)
    run = _short(cls).remove(classifier, digit_samples, _known(cls), seed=0).run
    assert run.applied or "could not be unlearned" in run.reason
    linear = as_classifier(nn.Sequential(nn.Flatten(), nn.Linear(256, 10)), has_batch_norm=False)
    run = _short(cls).remove(linear, digit_samples, _known(cls), seed=0).run
    if cls in (*PRUNES, FinePruning):
        assert "no layer whose channels" in run.reason
    elif cls is AttentionDistillation:
        assert "no feature maps" in run.reason
    else:
        assert run.applied


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("name", ["small_convnext", "small_vit"])
def test_networks_with_layer_norm(cls: Make, name: str) -> None:
    from ebyd_scan.fixtures import networks

    torch.manual_seed(0)
    sized = {"size": 16} if name == "small_vit" else {}
    module = getattr(networks, name)(channels=1, width=16, **sized)
    labels = torch.arange(20) % 10
    part = SamplePart(torch.rand(20, 1, 16, 16, generator=torch.Generator().manual_seed(0)), labels)
    samples = CleanSamples(None, "", 10, tuple("0123456789"), part, part)
    run = _short(cls).remove(as_classifier(module, has_batch_norm=False), samples, _known(cls), seed=0).run
    assert run.applied or "could not be unlearned" in run.reason


@pytest.fixture(scope="module")
def scripted(backdoored: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    path = tmp_path_factory.mktemp("scripted") / "model.pt"
    torch.jit.script(copy.deepcopy(backdoored.module)).save(path)
    return load_classifier(
        identify(path),
        architecture=None,
        arch_args={},
        mean=backdoored.mean,
        std=backdoored.std,
        input_shape=(1, 16, 16),
        device="cpu",
        allow_pickle=False,
    )


@pytest.mark.parametrize("cls", ALL)
def test_torchscript(cls: Make, scripted: Classifier, digit_samples: CleanSamples) -> None:
    run = _short(cls).remove(scripted, digit_samples, _known(cls), seed=0).run
    if cls in (AttentionDistillation, FinePruning):
        assert not run.applied
        assert "watched" in run.reason
    else:
        assert run.applied, run.reason


@pytest.mark.parametrize("cls", ALL)
def test_texts(cls: Make, text_models: TextModels) -> None:
    evidence = evidence_of(text_models, "backdoored")
    classifier, samples = evidence.classifier, evidence.samples
    codec = classifier.codec
    run = _short(cls).remove(classifier, samples, Known(), seed=0).run
    if cls in (ImplicitUnlearning, TriggerUnlearning):
        assert not run.applied
        assert "texts" in run.reason
    else:
        assert run.applied, run.reason
    if cls is TriggerUnlearning:
        said = KnownTrigger("words", 1, lambda tokens: codec.encode([f"cf {text}" for text in tokens.texts]))
        run = cls().remove(classifier, samples, Known(triggers=(said,)), seed=0).run
        assert run.applied, run.reason


@pytest.mark.parametrize("cls", ALL)
def test_options_show(cls: Make) -> None:
    assert repr(cls(**SHORT[cls])) != repr(cls())
    if cls in TAKES_LOSS:
        assert repr(cls(loss="active-passive")) != repr(cls())


@pytest.mark.slow
@pytest.mark.parametrize("known", [Known(labels=(7,)), Known(), Known(triggers=(PATCH,), labels=(7,))], ids=repr)
def test_universal_unlearning_with_and_without_a_suspect(
    known: Known, backdoored: Classifier, clean: Classifier, digit_samples: CleanSamples
) -> None:
    held_out = digit_samples.held_out
    repair = UniversalUnlearning(steps=150).remove(backdoored, digit_samples, known, seed=0)
    assert _success(repair.classifier, held_out) < 0.1
    assert _accuracy(repair.classifier, held_out) > _accuracy(backdoored, held_out) - 0.015
    kept = UniversalUnlearning(steps=150).remove(clean, digit_samples, known, seed=0)
    assert _accuracy(kept.classifier, held_out) > _accuracy(clean, held_out) - 0.015


def test_the_lesson_of_universal_unlearning_has_no_labels(backdoored: Classifier, digit_samples: CleanSamples) -> None:
    part = digit_samples.exposure
    wrong = replace(digit_samples, exposure=SamplePart(part.pixels, (part.labels + 1) % 10))
    remover = UniversalUnlearning(first_epochs=0, steps=100)
    kept = remover.remove(backdoored, wrong, Known(labels=(7,)), seed=0).classifier
    assert _accuracy(kept, digit_samples.held_out) > _accuracy(backdoored, digit_samples.held_out) - 0.03


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 8, 8), (3, 9, 20)], ids=str)
def test_pictures_near_clean_ones(shape: tuple[int, ...]) -> None:
    from ebyd_scan.removers.vicinity import disturbed, vicinity

    pixels = torch.rand(16, *shape, generator=torch.Generator().manual_seed(0))
    for make in (vicinity, disturbed):
        first, again, other = (make(pixels, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert first.shape == pixels.shape
        assert first.min() >= 0 and first.max() <= 1
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert not torch.equal(first, pixels)


def test_attention_is_of_maps_with_the_channels_first() -> None:
    from ebyd_scan.fixtures.networks import small_convnext

    part = SamplePart(torch.rand(20, 1, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 10)
    samples = CleanSamples(None, "", 10, tuple("0123456789"), part, part)
    classifier = as_classifier(small_convnext(channels=1, width=16), has_batch_norm=False)
    run = _short(AttentionDistillation).remove(classifier, samples, Known(), seed=0).run
    assert run.metrics["layers"] == "features.2, features"
