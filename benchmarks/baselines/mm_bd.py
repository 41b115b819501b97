"""MM-BD (Wang, Xiang, Miller & Kesidis, IEEE S&P 2024, arXiv 2205.06900): a target's largest margin stands out.

For each class the margin, its logit minus the largest other, is maximised over the whole input domain by projected
gradient ascent from random noise; no clean samples are needed. All classes' maxima but the largest give a null
distribution, and the largest is held against the maximum of as many draws from it as there are classes.

The size of a step is that of the authors' code. What differs: 5 starts a class instead of many; 100 steps instead of
300 (margins rise on for long, and on our models for choosing the planted ones stood out best early); all classes in
one batch; and the null, a gamma distribution with a free location as theirs, has a shape of at least 1: below it the
likelihood has no maximum.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...evidence.classifier import Classifier
from ...evidence.samples import CleanSamples
from .interface import Detection

BATCH = 128  # images at once
NEWTON_STEPS = 30


def maximum_margins(
    classifier: Classifier,
    shape: tuple[int, ...],
    *,
    starts: int,
    steps: int,
    step_size: float,
    tolerance: float,
    seed: int,
) -> list[float]:
    """The largest margin that ascent finds for each class, in logits, over inputs of `shape` in 0..1.

    Every class starts from the same `starts` draws of uniform noise. A group of classes stops after `steps`, or
    once the sum of its margins changes by less than a share of `tolerance` in a step.
    """
    noise = torch.rand(starts, *shape, generator=torch.Generator().manual_seed(seed)).to(classifier.device)
    found: list[float] = []
    for labels in torch.arange(classifier.num_classes).split(max(1, BATCH // starts)):
        wanted = F.one_hot(labels.repeat_interleave(starts), classifier.num_classes).bool().to(classifier.device)
        pixels = noise.repeat(len(labels), 1, 1, 1)
        before = math.inf
        for _ in range(steps):
            pixels.requires_grad_(True)
            total = _margins(classifier.logits(pixels), wanted).sum()
            # Not backward(): that would leave gradients on the model's parameters.
            (slope,) = torch.autograd.grad(total, pixels)
            pixels = (pixels.detach() + step_size * slope).clamp(0, 1)
            now = total.item()
            if abs(now - before) <= tolerance * abs(before) < math.inf:
                break
            before = now
        with torch.no_grad():
            margins = _margins(classifier.logits(pixels), wanted)
        found += margins.view(len(labels), starts).amax(1).tolist()
    return found


def _margins(logits: Tensor, wanted: Tensor) -> Tensor:
    return logits[wanted] - logits.masked_fill(wanted, -math.inf).amax(1)


def fit_gamma(values: Sequence[float]) -> tuple[float, float, float]:
    """Location, shape (at least 1) and scale of the gamma distribution with the largest likelihood.

    For each location of a grid below the smallest value shape and scale have their usual estimates; the best wins.
    Raises ValueError for fewer than two values or if all are equal.
    """
    data = torch.tensor(values, dtype=torch.float64)
    if len(data) < 2 or data.amax() == data.amin():
        raise ValueError("a null distribution needs two different values")
    offsets = torch.logspace(-3, 1, 201, dtype=torch.float64) * (data.amax() - data.amin())
    shifted = data - (data.amin() - offsets)[:, None]
    mean, mean_log = shifted.mean(1), shifted.log().mean(1)
    spread = mean.log() - mean_log
    # Newton's method from a rational approximation, for log(shape) - digamma(shape) = spread.
    shape = (3 - spread + ((spread - 3) ** 2 + 24 * spread).sqrt()) / (12 * spread)
    for _ in range(NEWTON_STEPS):
        slope = 1 / shape - torch.polygamma(1, shape)
        shape = (shape - (shape.log() - torch.digamma(shape) - spread) / slope).clamp_min(1)
    scale = mean / shape
    likelihood = (shape - 1) * mean_log - mean / scale - shape * scale.log() - torch.lgamma(shape)
    best = int(likelihood.argmax())
    return float(data.amin() - offsets[best]), float(shape[best]), float(scale[best])


def log_p_value(largest: float, others: Sequence[float]) -> float:
    """Natural logarithm of the order-statistic p-value `1 - F(largest) ** K`, K classes, F fitted to `others`."""
    location, shape, scale = fit_gamma(others)
    count = len(others) + 1
    z = max(0.0, (largest - location) / scale)
    arguments = torch.tensor([shape, z], dtype=torch.float64)
    tail = float(torch.special.gammaincc(arguments[0], arguments[1]))
    if tail >= 1:
        return 0.0
    if tail < 1e-290:  # so far out the first term of the tail's expansion is good, and its logarithm has no bottom
        return math.log(count) + shape * math.log(z) - z - math.lgamma(shape) - math.log(z - shape + 1)
    return math.log(-math.expm1(count * math.log1p(-tail)))


class MMBD:
    """Detects where the p-value of the largest margin is below `significance`; names that margin's class."""

    id: ClassVar[str] = "mm-bd"

    def __init__(
        self,
        *,
        starts: int = 5,
        steps: int = 100,
        step_size: float = 0.01,
        tolerance: float = 1e-5,
        significance: float = 0.05,
    ) -> None:
        self.starts = starts
        self.steps = steps
        self.step_size = step_size
        self.tolerance = tolerance
        self.significance = significance

    def detect(self, classifier: Classifier, samples: CleanSamples, *, seed: int) -> Detection:
        """Ascend from noise; of `samples` only the shape is used. The score is -log10 of the p-value."""
        started = time.perf_counter()
        margins = maximum_margins(
            classifier,
            tuple(samples.exposure.pixels.shape[1:]),
            starts=self.starts,
            steps=self.steps,
            step_size=self.step_size,
            tolerance=self.tolerance,
            seed=seed,
        )
        label = max(range(len(margins)), key=margins.__getitem__)
        others = [margin for index, margin in enumerate(margins) if index != label]
        try:
            log_p = log_p_value(margins[label], others)
        except ValueError as reason:
            return Detection(self.id, 0.0, False, None, time.perf_counter() - started, str(reason))
        detected = log_p < math.log(self.significance)
        note = f"margin {margins[label]:.1f}, next {max(others):.1f}, p {math.exp(log_p):.2g}"
        return Detection(self.id, -log_p / math.log(10), detected, label, time.perf_counter() - started, note)
