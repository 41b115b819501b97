"""Searches the smallest trigger of a family that sends samples to a label, for several labels in one batch.

The weight of the size follows the attack's success as in Neural Cleanse (Wang et al. 2019, sec. IV-B); the kinds of
trigger are in trigger_families.py.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..evidence.classifier import Classifier
from ..evidence.samples import SamplePart
from .trigger_families import FAMILIES, Family

AWAY = -1  # the "label" of a search that only leads away from the true one, wherever to (all-to-all backdoors)


@dataclass(frozen=True)
class Trigger:
    """A recovered trigger.

    `apply(pixels)`, with pixels [N, channels, H, W] in 0..1, gives triggered ones. `size` is in the family's unit.
    `success` is the share of the samples searched on that went to the label; `found` whether it ever reached what
    was asked. `parts` holds the family's tensors (mask, pattern, flow ...) to show.
    """

    family: str
    label: int  # or AWAY
    size: float
    success: float
    found: bool
    apply: Callable[[Tensor], Tensor]
    parts: dict[str, Tensor] = field(default_factory=dict)


class _Best:
    """The smallest successful trigger of each row so far, or the most successful one where none was enough."""

    def __init__(self, trigger: Family, rows: int) -> None:
        self.size = torch.full((rows,), math.inf)
        self.success = torch.zeros(rows)
        self.found = torch.zeros(rows, dtype=torch.bool)
        self.parameters = [parameter.detach().clone() for parameter in trigger.parameters]

    def update(self, trigger: Family, size: Tensor, success: Tensor, wanted: float) -> None:
        enough = (success >= wanted) & (~self.found | (size < self.size))
        take = enough | (~self.found & ~enough & (success >= self.success))
        self.found |= enough
        self.size = torch.where(take, size, self.size)
        self.success = torch.where(take, success, self.success)
        rows = take.to(self.parameters[0].device)
        for kept, parameter in zip(self.parameters, trigger.parameters, strict=True):
            kept[rows] = parameter.detach()[rows]


WINDOW = 4  # batches whose success counts together: one lucky batch is no success


def invert_labels(
    classifier: Classifier,
    part: SamplePart,
    labels: Sequence[int],
    *,
    family: str,
    steps: int,
    batch_size: int,
    success: float,
    seed: int,
    on_step: Callable[[int], None] | None = None,
) -> list[Trigger]:
    """For each label, find the smallest trigger that sends at least `success` of other classes' samples to it.

    All labels are searched at once, `batch_size` samples a label and step. The weight of a size rises while the
    success holds and falls while it does not, so that the search oscillates around the smallest size that works.
    The same seed draws the same start and, of their pools, the same places, so that sizes can be compared.
    With `AWAY` for a label, success is any prediction other than the true label.
    """
    rows = len(labels)
    generator = torch.Generator().manual_seed(seed)
    kind = FAMILIES[family]
    trigger: Family = kind(rows, tuple(part.pixels.shape[1:]), classifier.device, generator)
    optimizer = torch.optim.Adam(trigger.parameters, lr=kind.rate, betas=(0.5, 0.9))
    pools = [torch.nonzero(part.labels != label).flatten() for label in labels]
    wanted = torch.tensor(labels)
    weight = torch.full((rows,), float(kind.weight))
    best, recent = _Best(trigger, rows), list[Tensor]()
    with _frozen_parameters(classifier):
        for step in range(steps):
            draw = torch.rand(batch_size, generator=generator)  # shared: labels see the same samples where they can
            index = torch.stack([pool[(draw * len(pool)).long()] for pool in pools])
            pixels = part.pixels[index].to(classifier.device)
            triggered = trigger.apply(pixels)
            size = trigger.size(pixels, triggered)
            logits = classifier.logits(triggered.flatten(0, 1)).unflatten(0, (rows, batch_size))
            misses, hits = _loss(logits, wanted, part.labels[index])
            recent = [*recent[1 - WINDOW :], hits]
            reached = torch.stack(recent).mean(dim=0)
            if len(recent) == WINDOW:
                best.update(trigger, size.detach().cpu(), reached, success)
            loss = (misses + weight.to(size.device) * size).sum()
            weight = torch.where(reached >= success, weight * 1.15, weight / 1.15)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if on_step:
                on_step(step + 1)
    return [_trigger(trigger, best, row, label, family) for row, label in enumerate(labels)]


def _loss(logits: Tensor, wanted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Mean loss [rows], on the device, and share of hits [rows], on the CPU, of logits [rows, N, classes]."""
    wanted, truth = wanted[:, None].to(logits.device), truth.to(logits.device)
    away = wanted == AWAY
    label = torch.where(away, truth, wanted)
    chosen = logits.log_softmax(dim=-1).gather(2, label[..., None])[..., 0]
    misses = torch.where(away, -torch.log((1 - chosen.exp()).clamp_min(1e-6)), -chosen)
    hits = (logits.argmax(dim=-1) == label) != away
    return misses.mean(dim=1), hits.float().mean(dim=1).detach().cpu()


def _trigger(trigger: Family, best: _Best, row: int, label: int, family: str) -> Trigger:
    kept = copy.copy(trigger)
    kept.parameters = [parameter[row : row + 1] for parameter in best.parameters]
    return Trigger(
        family=family,
        label=label,
        size=float(best.size[row]),
        success=float(best.success[row]),
        found=bool(best.found[row]),
        apply=lambda pixels: kept.apply(pixels[None])[0],
        parts={name: part[0].cpu() for name, part in kept.parts().items()},
    )


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
    """`invert_labels` for one label."""
    return invert_labels(
        classifier,
        part,
        [label],
        family=family,
        steps=steps,
        batch_size=batch_size,
        success=success,
        seed=seed,
    )[0]


class Replay:
    """Held-out samples that the model gets right, predicted once and triggered as often as needed."""

    def __init__(self, classifier: Classifier, part: SamplePart) -> None:
        self.classifier = classifier
        right = [labels == self._predict(pixels) for pixels, labels in _chunks(part.pixels, part.labels)]
        usable = torch.cat(right)
        self.pixels, self.labels = part.pixels[usable], part.labels[usable]

    @torch.no_grad()
    def _predict(self, pixels: Tensor) -> Tensor:
        return self.classifier.logits(pixels.to(self.classifier.device)).argmax(dim=1).cpu()

    @torch.no_grad()
    def predictions(self, trigger: Trigger, pixels: Tensor) -> Tensor:
        """Predicted classes [N] of triggered `pixels` [N, channels, H, W]."""
        device = self.classifier.device
        parts = [self._predict(trigger.apply(chunk.to(device))) for (chunk,) in _chunks(pixels)]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long)

    def success(self, trigger: Trigger) -> tuple[float, int]:
        """Attack success rate on samples of the other classes, and how many these are."""
        others = self.labels != trigger.label
        count = int(others.sum())
        predicted = self.predictions(trigger, self.pixels[others])
        hits = predicted != self.labels[others] if trigger.label == AWAY else predicted == trigger.label
        return (float(hits.float().mean()) if count else 0.0), count


def _chunks(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    return list(zip(*(tensor.split(256) for tensor in tensors), strict=True)) if len(tensors[0]) else []


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
