"""Inverted triggers: small toward a planted target, and the model is left as it was."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
from ebyd_scan.checks.trigger_families import FAMILIES  # noqa: E402
from ebyd_scan.checks.trigger_inversion import NEXT, Replay, Trigger, invert_labels  # noqa: E402
from ebyd_scan.evidence.samples import SamplePart  # noqa: E402

TARGET, OTHER = 2, 4


def _invert(classifier: Any, samples: Any, label: int, family: str = "patch", **changes: Any) -> Trigger:
    options = {"steps": 160, "batch_size": 32, "success": 0.95, "seed": 0, **changes}
    return invert_labels(classifier, samples.exposure, [label], family=family, **options)[0]


@pytest.fixture(scope="module")
def planted(backdoored_digits: Any, digit_samples: Any) -> Trigger:
    return _invert(backdoored_digits, digit_samples, TARGET)


def test_the_target_needs_a_much_smaller_patch(planted: Trigger, backdoored_digits: Any, digit_samples: Any) -> None:
    other = _invert(backdoored_digits, digit_samples, OTHER)
    assert planted.found
    assert planted.success >= 0.95
    assert planted.size < 12 / 256  # the planted patch has 9 pixels
    assert other.size > 2 * planted.size


def test_the_patch_works_on_samples_it_has_not_seen(
    planted: Trigger, backdoored_digits: Any, digit_samples: Any
) -> None:
    success, count = Replay(backdoored_digits, digit_samples.held_out).success(planted)
    assert success > 0.7
    others = int((digit_samples.held_out.labels != TARGET).sum())
    assert 0.95 * others <= count <= others


def test_an_applied_trigger_is_a_picture(planted: Trigger, digit_samples: Any) -> None:
    pixels = digit_samples.held_out.pixels
    kept = pixels.clone()
    triggered = planted.apply(pixels)
    assert torch.equal(pixels, kept)
    assert triggered.shape == pixels.shape
    assert 0 <= float(triggered.min()) <= float(triggered.max()) <= 1
    assert not triggered.requires_grad


def test_the_same_seed_finds_the_same(backdoored_digits: Any, digit_samples: Any) -> None:
    for family in ("patch", "blend"):
        sizes = [_invert(backdoored_digits, digit_samples, 1, family, steps=12, seed=s).size for s in (3, 3, 4)]
        assert sizes[0] == sizes[1] != sizes[2]


def test_the_model_is_left_as_it_was(backdoored_digits: Any, digit_samples: Any) -> None:
    module = copy.deepcopy(backdoored_digits.module)
    module.zero_grad(set_to_none=True)
    classifier = backdoored_digits.with_module(module)
    frozen = module.features[0].weight.requires_grad_(False)
    weights = copy.deepcopy(module.state_dict())
    _invert(classifier, digit_samples, 1, steps=5)
    assert not frozen.requires_grad
    assert sum(not parameter.requires_grad for parameter in module.parameters()) == 1
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(weights[name], value) for name, value in module.state_dict().items())
    assert not any(part.training for part in module.modules())


def test_the_model_is_left_as_it_was_after_an_error(backdoored_digits: Any, digit_samples: Any) -> None:
    module = copy.deepcopy(backdoored_digits.module)
    broken = replace(digit_samples, exposure=SamplePart(torch.rand(4, 3, 16, 16), torch.zeros(4, dtype=torch.long)))
    with pytest.raises(RuntimeError):
        _invert(backdoored_digits.with_module(module), broken, 1)
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_an_unreachable_label_is_not_found(backdoored_digits: Any, digit_samples: Any) -> None:
    class Never(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            scores = x.flatten(1)[:, :10] * 0
            return scores + torch.arange(10.0).flip(0) * 100 * (1 + x.mean())

    trigger = _invert(backdoored_digits.with_module(Never()), digit_samples, 9, steps=10)
    assert not trigger.found
    assert trigger.success == 0
    assert trigger.size > 0


def test_replay_without_usable_samples(planted: Trigger, backdoored_digits: Any, digit_samples: Any) -> None:
    held_out = digit_samples.held_out
    own = held_out.labels == TARGET
    only = SamplePart(held_out.pixels[own], held_out.labels[own])
    assert Replay(backdoored_digits, only).success(planted) == (0.0, 0)


def test_blend_triggers_stay_in_range(backdoored_digits: Any, digit_samples: Any) -> None:
    trigger = _invert(backdoored_digits, digit_samples, TARGET, "blend", steps=40)
    triggered = trigger.apply(digit_samples.held_out.pixels)
    assert 0 <= float(triggered.min()) <= float(triggered.max()) <= 1
    assert trigger.size > 0


def test_labels_searched_together_come_out_as_alone(backdoored_digits: Any, digit_samples: Any) -> None:
    options: dict[str, Any] = {"steps": 30, "batch_size": 16, "success": 0.9, "seed": 0}
    for family in FAMILIES:
        both = invert_labels(backdoored_digits, digit_samples.exposure, [1, 4], family=family, **options)
        alone = _invert(backdoored_digits, digit_samples, 4, family, **options)
        assert both[1].label == 4
        assert both[1].size == pytest.approx(alone.size, rel=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_makes_pictures_and_shows_its_parts(
    family: str, backdoored_digits: Any, digit_samples: Any
) -> None:
    trigger = _invert(backdoored_digits, digit_samples, 1, family, steps=10)
    triggered = trigger.apply(digit_samples.held_out.pixels)
    assert triggered.shape == digit_samples.held_out.pixels.shape
    assert 0 <= float(triggered.min()) <= float(triggered.max()) <= 1
    assert trigger.size > 0
    assert trigger.parts
    assert all(bool(part.isfinite().all()) for part in trigger.parts.values())


def test_the_smallest_are_searched_on_and_the_others_left(backdoored_digits: Any, digit_samples: Any) -> None:
    options: dict[str, Any] = {"family": "patch", "steps": 90, "batch_size": 16, "seed": 0}
    labels = [*range(10), NEXT]
    whole = invert_labels(backdoored_digits, digit_samples.exposure, labels, **options)
    sifted = invert_labels(backdoored_digits, digit_samples.exposure, labels, survivors=2, **options)
    on = [trigger.label for trigger in sifted if trigger.searched]
    assert len(on) == 3
    assert {TARGET, NEXT} < set(on)
    assert all(trigger.searched for trigger in whole)
    for one, other in zip(whole, sifted, strict=True):
        if other.searched:
            assert other.size == pytest.approx(one.size, rel=0.1)
        else:
            assert other.size >= one.size or not other.found


def test_every_class_to_the_next(digit_samples: Any, clean_digits: Any) -> None:
    class Shifts(torch.nn.Module):
        """Right where the corner is dark, one label on where it is bright."""

        def forward(self, x: Any) -> Any:
            scores = 10 * clean_digits.module(x).log_softmax(dim=1)
            bright = (4 * (x[:, :, :3, :3].mean(dim=(1, 2, 3)) - clean_digits.mean[0])).sigmoid()[:, None]
            return (1 - bright) * scores + bright * scores.roll(1, dims=1)

    classifier = clean_digits.with_module(Shifts())
    options: dict[str, Any] = {"family": "patch", "steps": 150, "batch_size": 16, "seed": 0}
    trigger, none = (
        invert_labels(which, digit_samples.exposure, [NEXT], **options)[0] for which in (classifier, clean_digits)
    )
    assert trigger.found
    assert trigger.size < 0.1
    assert not none.found or none.size > 2 * trigger.size
    replay = Replay(classifier, digit_samples.held_out)
    success, count = replay.success(trigger)
    assert count == len(replay.labels)
    assert success > 0.25  # nothing without it


def test_every_class_to_the_next_where_no_sample_is_right(clean_digits: Any, digit_samples: Any) -> None:
    class Wrong(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return clean_digits.module(x).roll(3, dims=1)

    wrong, part = clean_digits.with_module(Wrong()), digit_samples.exposure
    missed = ~Replay(wrong, part).right
    part = SamplePart(part.pixels[missed], part.labels[missed])
    (trigger,) = invert_labels(wrong, part, [NEXT], family="patch", steps=6, batch_size=8, seed=0)
    assert trigger.label == NEXT
    assert not trigger.found
