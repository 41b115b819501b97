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
import torch.nn.functional as F
from torch import Tensor

from ..evidence.at_once import pictures_at_once
from ..evidence.classifier import Classifier
from ..evidence.samples import SamplePart
from .trigger_families import FAMILIES, Family

NEXT = -1  # the "label" of a search that leads every class to the one after it, the last to the first (all-to-all)


@dataclass(frozen=True)
class Trigger:
    """A recovered trigger.

    `apply(pixels)`, with pixels [N, channels, H, W] in 0..1, gives triggered ones. `size` is as its family counts it.
    `success` is the share of the samples searched on that went to the label; `found` whether it ever reached what
    was asked, `searched` whether the search went on to the end: the size is an upper bound if not. `parts` holds the
    family's tensors (mask, pattern, flow ...) to show.
    """

    family: str
    label: int  # or NEXT
    size: float
    success: float
    found: bool
    searched: bool
    apply: Callable[[Tensor], Tensor]
    parts: dict[str, Tensor] = field(default_factory=dict)


WINDOW = 4  # batches whose success counts together: one lucky batch is no success
SIFT = 3  # a search goes on with the most promising labels alone after one in so many steps
NEXT_SUCCESS = 0.6  # an all-to-all backdoor is rarely learned as well as one label; see Family.success


class _Search:
    """The rows still searched, and the best trigger of every row so far.

    The best is the smallest one that was successful, or the most successful where none was enough.
    """

    def __init__(self, trigger: Family, labels: Sequence[int], pools: list[Tensor], success: float | None) -> None:
        count = len(labels)
        self.trigger = trigger
        self.labels = torch.tensor(labels)
        self.rows = torch.arange(count)  # those still searched
        self.pools = pools
        self.wanted = torch.full((count,), trigger.success if success is None else success)
        self.wanted[self.labels == NEXT] = NEXT_SUCCESS
        self.weight = torch.full((count,), float(trigger.weight))
        self.recent: list[Tensor] = []
        self.size = torch.full((count,), math.inf)
        self.success = torch.zeros(count)
        self.found = torch.zeros(count, dtype=torch.bool)
        self.best = [parameter.detach().clone() for parameter in trigger.parameters]
        self.optimizer = self._adam()

    def _adam(self) -> torch.optim.Adam:
        return torch.optim.Adam(self.trigger.parameters, lr=self.trigger.rate, betas=(0.5, 0.9))

    def note(self, size: Tensor, hits: Tensor) -> None:
        """Take the size and the share of hits of the rows searched ([rows], CPU) of the last batch."""
        self.recent = [*self.recent[1 - WINDOW :], hits]
        rows, reached = self.rows, torch.stack(self.recent).mean(dim=0)
        enough = reached >= self.wanted[rows]
        self.weight[rows] *= torch.where(enough, 1.15, 1 / 1.15)
        if len(self.recent) < WINDOW:
            return
        better = enough & (~self.found[rows] | (size < self.size[rows]))
        better |= ~self.found[rows] & ~enough & (reached >= self.success[rows])
        taken = rows[better]
        self.found[rows] |= enough
        self.size[taken] = size[better]
        self.success[taken] = reached[better]
        for kept, parameter in zip(self.best, self.trigger.parameters, strict=True):
            kept[taken.to(kept.device)] = parameter.detach()[better.to(kept.device)]

    def _promise(self, row: int) -> tuple[bool, float]:
        """Sorts rows that reached their labels first, the smallest trigger first; then those nearest to success."""
        return (False, float(self.size[row])) if self.found[row] else (True, -float(self.success[row]))

    def sift(self, survivors: int) -> None:
        """Go on with the `survivors` labels of the smallest triggers, and with NEXT."""
        ranked = sorted(range(len(self.labels)), key=self._promise)
        inward = [row for row in ranked if self.labels[row] != NEXT][:survivors]
        self.rows = torch.tensor(sorted(inward + [row for row in ranked if self.labels[row] == NEXT]))
        self.recent = [hits[self.rows] for hits in self.recent]
        earlier, old = self.optimizer, self.trigger.parameters
        rows = self.rows.to(old[0].device)
        self.trigger.parameters = [parameter.detach()[rows].clone().requires_grad_() for parameter in old]
        self.optimizer = self._adam()
        for parameter, before in zip(self.trigger.parameters, old, strict=True):
            # Adam's moments go on as they were; a new start would be a jolt.
            state = earlier.state[before]
            self.optimizer.state[parameter] = {
                key: value[rows].clone() if value.dim() else value.clone() for key, value in state.items()
            }


def invert_labels(
    classifier: Classifier,
    part: SamplePart,
    labels: Sequence[int],
    *,
    family: str,
    steps: int,
    batch_size: int,
    seed: int,
    survivors: int | None = None,
    success: float | None = None,
    on_step: Callable[[int], None] | None = None,
) -> list[Trigger]:
    """For each label, find the smallest trigger that sends the share `success` of other classes' samples to it.

    All labels are searched at once, `batch_size` samples a label and step; after a third of the steps only the
    `survivors` labels whose triggers are the smallest are searched on (all, if None): the sizes of the others are upper
    bounds. The weight of a size rises while the success holds and falls while it does not, so that the search
    oscillates around the smallest size that works. The same seed draws the same start and, of their pools, the same
    places, so that sizes can be compared. With `NEXT` for a label, every sample is sent to the label after its own.
    `success` is the family's if not given.
    """
    generator = torch.Generator().manual_seed(seed)
    trigger: Family = FAMILIES[family](len(labels), tuple(part.pixels.shape[1:]), classifier.device, generator)
    search = _Search(trigger, labels, [_pool(classifier, part, label) for label in labels], success)
    with _frozen_parameters(classifier):
        for step in range(steps):
            if survivors is not None and step == steps // SIFT and survivors < len(labels):
                search.sift(survivors)
            _step(classifier, part, search, batch_size, generator)
            if on_step:
                on_step(step + 1)
    return [_trigger(search, row, label, family) for row, label in enumerate(labels)]


def _pool(classifier: Classifier, part: SamplePart, label: int) -> Tensor:
    """The samples to search on: those of other classes; for NEXT those that the model gets right."""
    if label != NEXT:
        return torch.nonzero(part.labels != label).flatten()
    # Of the others some are on the next label without a trigger.
    right = torch.nonzero(Replay(classifier, part).right).flatten()
    return right if len(right) else torch.arange(len(part))


def _step(
    classifier: Classifier, part: SamplePart, search: _Search, batch_size: int, generator: torch.Generator
) -> None:
    """One step of Adam for every row that is searched."""
    rows, trigger = search.rows, search.trigger
    draw = torch.rand(batch_size, generator=generator)  # shared: labels see the same samples where they can
    pools = [search.pools[int(row)] for row in rows]
    index = torch.stack([pool[(draw * len(pool)).long()] for pool in pools])
    pixels = part.pixels[index].to(classifier.device)
    triggered = trigger.apply(pixels)
    size = trigger.size(pixels, triggered)
    wanted = wanted_labels(search.labels[rows, None], part.labels[index], classifier.num_classes)
    gradient, hits = _gradient(classifier, triggered.detach(), wanted)
    weighted = (search.weight[rows].to(size.device) * size).sum()
    search.note(size.detach().cpu(), hits)
    search.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward([triggered, weighted], [gradient, None])
    search.optimizer.step()


def wanted_labels(label: Tensor, truth: Tensor, classes: int) -> Tensor:
    """What the samples with labels `truth` are to be sent to, for a label or NEXT; the two broadcast."""
    return torch.where(label == NEXT, (truth + 1) % classes, label)


def _gradient(classifier: Classifier, pictures: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of the rows' mean losses at `pictures` [rows, N, channels, H, W], and share of hits [rows] on the CPU.

    `wanted` are labels [rows, N]. The model computes a part of the pictures at a time and lets its activations go
    before the next: they do not grow with the labels that are searched, nor with the size of the pictures.
    """
    flat, labels = pictures.flatten(0, 1), wanted.flatten()
    gradients, hits = [], []
    at_once = pictures_at_once(flat, len(flat))
    for some, label in zip(flat.split(at_once), labels.split(at_once), strict=True):
        leaf = some.detach().requires_grad_()
        logits = classifier.logits(leaf)
        loss, hit = _loss(logits, label.to(logits.device))
        hits.append(hit)
        gradient = None
        if loss.requires_grad:  # a graph may answer what no input changes
            (gradient,) = torch.autograd.grad(loss / pictures.shape[1], leaf, allow_unused=True)
        gradients.append(torch.zeros_like(leaf) if gradient is None else gradient)
    return torch.cat(gradients).view_as(pictures), torch.cat(hits).view_as(wanted).float().mean(dim=1)


def _loss(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the losses, on the device, and hits [N], on the CPU, of logits [N, classes] toward labels [N]."""
    chosen = logits.gather(1, label[:, None])[:, 0]
    others = logits.scatter(1, label[:, None], -math.inf).logsumexp(dim=1)
    misses = F.softplus(others - chosen)  # -log p(label)
    return misses.sum(), (logits.argmax(dim=1) == label).cpu()


def _trigger(search: _Search, row: int, label: int, family: str) -> Trigger:
    kept = copy.copy(search.trigger)
    kept.parameters = [parameter[row : row + 1] for parameter in search.best]
    return Trigger(
        family=family,
        label=label,
        size=float(search.size[row]),
        success=float(search.success[row]),
        found=bool(search.found[row]),
        searched=bool((search.rows == row).any()),
        apply=lambda pixels: kept.apply(pixels[None])[0],
        parts={name: part[0].cpu() for name, part in kept.parts().items()},
    )


class Replay:
    """Held-out samples that the model gets right, predicted once and triggered as often as needed."""

    def __init__(self, classifier: Classifier, part: SamplePart) -> None:
        self.classifier = classifier
        right = [labels == self._predict(pixels) for pixels, labels in _chunks(part.pixels, part.labels)]
        self.right = torch.cat(right)  # [N] of `part`
        self.pixels, self.labels = part.pixels[self.right], part.labels[self.right]

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
        wanted = wanted_labels(torch.tensor(trigger.label), self.labels, self.classifier.num_classes)
        others = self.labels != wanted
        count = int(others.sum())
        hits = self.predictions(trigger, self.pixels[others]) == wanted[others]
        return (float(hits.float().mean()) if count else 0.0), count


def _chunks(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    if not len(tensors[0]):
        return []
    at_once = pictures_at_once(tensors[0], 256)
    return list(zip(*(tensor.split(at_once) for tensor in tensors), strict=True))


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
