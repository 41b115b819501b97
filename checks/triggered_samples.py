"""Which samples look as if they carried a trigger, from three traits of each, and whether they are too many for chance.

Traits are held against the other samples of the same set and model. The limits stand on the clean sets of the choosing
half of the zoo (docs/checks/sample-trust.md says which); there clean samples show each trait now and then, so it takes
several of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..evidence.classifier import Classifier
    from .cognitive_distillation import Distillation

IMPORTANT = 0.1  # share of the picture that is carried over to others
MIXED = 0.5  # weight of the picture in the mean of two
DONORS = 16
_PARTNERS = 4  # in mixtures that show to which classes the model falls back
_MAX_FALLBACK = 0.1  # into a class that takes more of the mixtures pictures are pulled without a trigger
_LEAST_SIZE = 1e-3  # smaller masks are equally small


@dataclass(frozen=True)
class Traits:
    """Of N samples, each [N] on the CPU."""

    predictions: Tensor  # int64
    size: Tensor  # share of the picture that keeps the answer, 0..1
    carried: Tensor  # share of other samples that the picture's most important tenth pulls to its class
    mixed: Tensor  # the same of the mean of both pictures
    fallback: Tensor  # how often the mean of two pictures of other classes is put into the sample's class


@dataclass(frozen=True)
class Limits:
    """From where on a trait counts, and how many samples it takes."""

    carried: float
    mixed: float
    size: float  # robust standard deviations of log size from the set's median
    count: int  # samples with a trigger in one place
    share: float  # of the set: samples with a trigger spread over the picture


@dataclass(frozen=True)
class Triggered:
    """Positions of suspected samples by where their trigger is; empty where they are few enough for chance."""

    local: tuple[int, ...]
    spread: tuple[int, ...]

    @property
    def positions(self) -> tuple[int, ...]:
        """Both, in order."""
        return tuple(sorted({*self.local, *self.spread}))


def measure(
    classifier: Classifier,
    pixels: Tensor,
    scores: Tensor,
    how: Distillation,
    *,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Traits:
    """The traits of `pixels`, float [N, channels, H, W] in 0..1 on the CPU, whose finite scores are `scores` [N, C].

    Raises RuntimeError where the model passes no gradient on to its input.
    """
    import torch

    from .cognitive_distillation import distil, sizes
    from .pattern_transfer import fallback, important, transfer

    masks = distil(classifier, pixels, scores, how, seed=seed, progress=progress)
    predictions = scores.argmax(dim=1)
    half = torch.full_like(masks[:, :, :1, :1], MIXED)
    carried, mixed = (
        transfer(classifier, pixels, over, predictions, donors=DONORS, seed=seed + 1, batch_size=2 * how.batch_size)
        for over in (important(masks, IMPORTANT), half)
    )
    usual = fallback(classifier, pixels, predictions, draws=_PARTNERS, seed=seed + 2)
    return Traits(predictions, sizes(masks), carried, mixed, usual[predictions])


def relative_size(size: Tensor) -> Tensor:
    """Log sizes as robust standard deviations from their median: float [N]; 0 where they do not differ."""
    log = size.clamp(min=_LEAST_SIZE).log()
    away = log - log.median()
    deviation = 1.4826 * away.abs().median()
    return away / deviation if float(deviation) > 0 else away * 0


def spread_like(traits: Traits, labels: Tensor, limits: Limits) -> tuple[Tensor, Tensor]:
    """Samples that look as if a trigger were spread over them: bool [N], by their size and by their label.

    All of them pull others to their class when mixed with them. Few clean samples do so that are small as well, or that
    the model puts into another class than they are labelled.
    """
    pulls = (traits.mixed >= limits.mixed) & (traits.fallback <= _MAX_FALLBACK)
    return pulls & (relative_size(traits.size) <= limits.size), pulls & (traits.predictions != labels)


def judge(traits: Traits, labels: Tensor, limits: Limits) -> Triggered:
    """The suspected samples of a set, whose labels are int64 [N]."""
    total = len(labels)
    local = (traits.carried >= limits.carried).nonzero().flatten().tolist()
    found: set[int] = set()
    for kind in spread_like(traits, labels, limits):
        some = kind.nonzero().flatten().tolist()
        if len(some) >= max(limits.count, limits.share * total):
            found |= set(some)
    return Triggered(tuple(local) if len(local) >= limits.count else (), tuple(sorted(found)))
