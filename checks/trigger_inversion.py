"""Searches the smallest trigger that sends samples to one label.

Patch triggers as in Neural Cleanse (Wang et al. 2019, sec. IV-B): a mask and a pattern, the L1 size of the mask
under a weight that follows the attack's success. Blended triggers likewise, as one perturbation of the whole
input under its L2 norm (a universal adversarial perturbation).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..evidence.classifier import Classifier
from ..evidence.samples import SamplePart


@dataclass(frozen=True)
class Trigger:
    """A recovered trigger.

    `apply(pixels)`, with pixels [N, channels, H, W] in 0..1, gives triggered ones. `size` is L1 of the mask in
    pixels (patch) or L2 of the perturbation in units of 0..1 (blend). `success` is the share of the samples
    searched on that went to the label; `found` whether it ever reached what was asked.
    """

    family: str
    label: int
    size: float
    success: float
    found: bool
    apply: Callable[[Tensor], Tensor]


class Family(Protocol):
    """A parametrised kind of trigger."""

    parameters: list[Tensor]

    def apply(self, pixels: Tensor) -> Tensor: ...

    def size(self) -> Tensor: ...


class Patch:
    """`(1 - mask) * pixels + mask * pattern`; mask [H, W] and pattern [channels, H, W] in 0..1 through a sigmoid."""

    def __init__(self, shape: tuple[int, ...], device: str, generator: torch.Generator) -> None:
        channels, height, width = shape
        mask = torch.randn(height, width, generator=generator) * 0.1 - 1.0
        pattern = torch.randn(channels, height, width, generator=generator) * 0.1
        self.parameters = [mask.to(device).requires_grad_(), pattern.to(device).requires_grad_()]

    def apply(self, pixels: Tensor) -> Tensor:
        mask, pattern = (parameter.sigmoid() for parameter in self.parameters)
        return pixels + mask * (pattern - pixels)

    def size(self) -> Tensor:
        return self.parameters[0].sigmoid().sum()


class Blended:
    """`clip(pixels + perturbation)`; perturbation [channels, H, W] in units of 0..1."""

    def __init__(self, shape: tuple[int, ...], device: str, generator: torch.Generator) -> None:
        start = torch.randn(*shape, generator=generator) * 0.01
        self.parameters = [start.to(device).requires_grad_()]

    def apply(self, pixels: Tensor) -> Tensor:
        return (pixels + self.parameters[0]).clamp(0, 1)

    def size(self) -> Tensor:
        return self.parameters[0].square().sum().add(1e-12).sqrt()


def _frozen(trigger: Family) -> Callable[[Tensor], Tensor]:
    """`apply` with today's parameters, for good."""
    kept = copy.copy(trigger)
    kept.parameters = [parameter.detach().clone() for parameter in trigger.parameters]
    return kept.apply


# Adam's step and the first weight of the size in the loss: a family's sizes differ by an order of magnitude.
FAMILIES: dict[str, tuple[type[Patch] | type[Blended], float, float]] = {
    "patch": (Patch, 0.1, 1e-3),
    "blend": (Blended, 0.01, 1e-2),
}


def invert(
    classifier: Classifier,
    part: SamplePart,
    label: int,
    *,
    family: str,
    steps: int,
    batch_size: int,
    success: float,
    seed: int,
) -> Trigger:
    """Find the smallest trigger of a family that sends at least `success` of other classes' samples to `label`.

    The weight of the size rises by half while the success holds and falls while it does not, so that the search
    oscillates around the smallest size that works. A batch counts together with the two before it: one lucky
    batch is no success. The same seed draws the same samples for every label, so that sizes can be compared.
    """
    kind, rate, weight = FAMILIES[family]
    pool = part.pixels[part.labels != label]
    generator = torch.Generator().manual_seed(seed)
    trigger: Family = kind(tuple(part.pixels.shape[1:]), classifier.device, generator)
    optimizer = torch.optim.Adam(trigger.parameters, lr=rate, betas=(0.5, 0.9))
    best_size, best_apply, best_success, found = math.inf, _frozen(trigger), 0.0, False
    recent: list[float] = []
    with _frozen_parameters(classifier):
        for _ in range(steps):
            index = torch.randint(len(pool), (batch_size,), generator=generator)
            logits = classifier.logits(trigger.apply(pool[index].to(classifier.device)))
            size = trigger.size()
            loss = F.cross_entropy(logits, torch.full((batch_size,), label, device=logits.device)) + weight * size
            recent = [*recent[-2:], float((logits.argmax(1) == label).float().mean())]
            reached, now = sum(recent) / len(recent), size.item()
            if len(recent) == 3 and reached >= success and (not found or now < best_size):
                best_size, best_apply, best_success, found = now, _frozen(trigger), reached, True
            elif not found and reached >= best_success:
                best_size, best_apply, best_success = now, _frozen(trigger), reached
            weight = weight * 1.15 if reached >= success else weight / 1.15
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return Trigger(family, label, best_size, best_success, found, best_apply)


@torch.no_grad()
def replay(classifier: Classifier, trigger: Trigger, part: SamplePart) -> tuple[float, int]:
    """Attack success rate on samples of the other classes that the model gets right, and how many these are."""
    hits = count = 0
    for start in range(0, len(part), 256):
        pixels = part.pixels[start : start + 256].to(classifier.device)
        labels = part.labels[start : start + 256].to(classifier.device)
        usable = (classifier.logits(pixels).argmax(1) == labels) & (labels != trigger.label)
        if usable.any():
            hits += int((classifier.logits(trigger.apply(pixels[usable])).argmax(1) == trigger.label).sum())
            count += int(usable.sum())
    return (hits / count if count else 0.0), count


class _frozen_parameters:
    """Only the trigger needs gradients: a third less work a step."""

    def __init__(self, classifier: Classifier) -> None:
        self.parameters = [p for p in classifier.module.parameters() if p.requires_grad]

    def __enter__(self) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(False)

    def __exit__(self, *exception: object) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(True)
