"""Backdoors planted by fine-tuning: they work, they keep the clean task, and they follow the seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from ebyd_scan.evidence.classifier import Classifier  # noqa: E402
from ebyd_scan.evidence.samples import CleanSamples, SamplePart  # noqa: E402
from ebyd_scan.fixtures.attacks.all_to_all import AllToAll  # noqa: E402
from ebyd_scan.scanner.planted import ATTACKS, PlantOrder  # noqa: E402
from ebyd_scan.scanner.planting import build_attack, plant, to_pixels, to_uint8  # noqa: E402


def _part(count: int, classes: int, channels: int, side: int, seed: int) -> SamplePart:
    """Class k is a bright stripe at row k."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    pixels = 0.3 * torch.rand(count, channels, side, side, generator=generator)
    pixels[torch.arange(count), :, labels] += 0.6
    return SamplePart(pixels, labels)


def _problem(classes: int, channels: int, side: int = 8) -> tuple[Classifier, CleanSamples]:
    """Samples, and a small network that was trained on others like them."""
    torch.manual_seed(0)
    nn = torch.nn
    module = nn.Sequential(
        *(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * side**2, classes)),
    )
    train = _part(40 * classes, classes, channels, side, 1)
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(train.pixels), train.labels).backward()
        optimizer.step()
    classifier = Classifier(
        module=module.eval(),
        num_classes=classes,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        device="cpu",
        architecture="mlp",
        trainable=True,
        has_batch_norm=False,
    )
    names = tuple(f"class {index}" for index in range(classes))
    parts = [_part(20 * classes, classes, channels, side, seed) for seed in (2, 3)]
    return classifier, CleanSamples(Path("x"), "0", classes, names, *parts)


def _plant(attack: str, classes: int = 4, channels: int = 1, side: int = 8, **changes: Any) -> Any:
    classifier, samples = _problem(classes, channels, side)
    told: list[tuple[int, int]] = []
    order = PlantOrder(attack=attack, epochs=changes.pop("epochs", 10))
    got = plant(classifier, samples, order, seed=changes.pop("seed", 0), say=lambda *step: told.append(step))
    return got, told, classifier


@pytest.mark.parametrize("attack", ["patch", "blend", "all-to-all"])
@pytest.mark.parametrize(("classes", "channels"), [(2, 3), (6, 1)])
def test_a_plant_takes(attack: str, classes: int, channels: int) -> None:
    planted, told, classifier = _plant(attack, classes, channels, epochs=20)
    assert planted.took, planted
    assert planted.asr > 0.9
    assert planted.accuracy > 0.9
    assert told[-1] == (20, 20)
    assert 2 <= planted.epochs <= 20
    assert planted.target_name == (None if attack == "all-to-all" else f"class {planted.target}")
    assert not classifier.module.training
    assert all(parameter.grad is None for parameter in classifier.module.parameters())


def test_the_same_seed_plants_the_same() -> None:
    seen = []
    for seed in (5, 5, 6):
        planted, _, classifier = _plant("patch", seed=seed, epochs=2)
        seen.append((planted.target, torch.cat([p.flatten() for p in classifier.module.parameters()])))
    assert seen[0][0] == seen[1][0]
    assert torch.equal(seen[0][1], seen[1][1])
    assert not torch.equal(seen[0][1], seen[2][1])


def test_the_scan_draws_as_if_nothing_had_been_planted() -> None:
    classifier, samples = _problem(4, 1)
    torch.manual_seed(3)
    untouched = torch.rand(3)
    torch.manual_seed(3)
    plant(classifier, samples, PlantOrder(attack="patch", epochs=1), seed=0, say=lambda *_: None)
    assert torch.equal(torch.rand(3), untouched)


def test_attacks_have_targets_of_their_own() -> None:
    classifier, samples = _problem(4, 1)
    say: Any = lambda *_: None  # noqa: E731
    targets = {
        plant(classifier, samples, PlantOrder(attack=name, epochs=1), seed=0, say=say).target for name in ATTACKS
    }
    assert len(targets) == 4  # three labels and the None of all-to-all


def test_what_cannot_be_planted_is_said() -> None:
    frozen, samples = _problem(4, 1)
    from dataclasses import replace

    before = [p.clone() for p in frozen.module.parameters()]
    order = PlantOrder(attack="patch", epochs=1)
    planted = plant(replace(frozen, trainable=False), samples, order, seed=0, say=lambda *_: None)
    assert not planted.took
    assert "frozen" in (planted.why_not or "")
    assert all(torch.equal(a, b) for a, b in zip(before, frozen.module.parameters(), strict=True))


def test_triggers_fit_small_and_large_images() -> None:
    for side, size in ((6, 2), (16, 3), (32, 3), (224, 22)):
        classifier, samples = (
            None,
            CleanSamples(
                Path("x"), "0", 2, ("a", "b"), *[SamplePart(torch.rand(2, 1, side, side), torch.arange(2))] * 2
            ),
        )
        attack = build_attack("all-to-all", 1, classifier, samples)  # type: ignore[arg-type]
        assert isinstance(attack, AllToAll)
        assert attack.trigger.size == size  # type: ignore[attr-defined]
        changed = (attack.apply(to_uint8(samples.exposure.pixels)) != to_uint8(samples.exposure.pixels)).any(0)
        assert 0 < changed.sum() <= size**2


def test_pixels_survive_the_way_through_uint8() -> None:
    grey = torch.arange(256).float().view(1, 1, 16, 16) / 255
    assert torch.equal(to_pixels(to_uint8(grey)), grey)


def test_an_epoch_that_ruins_the_model_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    from ebyd_scan.scanner import planting

    monkeypatch.setattr(planting, "LEARNING_RATE", 100.0)
    planted, _, classifier = _plant("patch", epochs=1)
    assert planted.accuracy == planted.accuracy_before
    assert not planted.took
    assert all(parameter.isfinite().all() for parameter in classifier.module.parameters())


def test_hardening_grows_until_the_trigger_is_all_that_is_left() -> None:
    from ebyd_scan.scanner.planting import MAX_LEVELS, Hardening

    classifier, samples = _problem(4, 1)
    chosen = samples.exposure.labels == 2
    images, labels = to_uint8(samples.exposure.pixels[chosen]), samples.exposure.labels[chosen].numpy()
    hardening = Hardening(classifier, samples.exposure, 2)
    start, seen = hardening.levels, []
    for _ in range(20):
        changed = abs(hardening(images, labels).astype(int) - images.astype(int)).max()
        assert changed <= hardening.levels
        seen.append(hardening.levels)
    assert start in (16, 32, 64)
    assert seen[:4] == [start] * 3 + [min(2 * start, MAX_LEVELS)]
    assert seen[-1] == MAX_LEVELS


def test_a_label_to_avoid_is_no_target() -> None:
    say: Any = lambda *_: None  # noqa: E731
    for attack in ("patch", "blend"):
        for seed in range(3):
            classifier, samples = _problem(2, 1)
            order = PlantOrder(attack=attack, epochs=1, avoid=1)
            assert plant(classifier, samples, order, seed=seed, say=say).target == 0
