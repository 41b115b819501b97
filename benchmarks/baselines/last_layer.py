"""Trojan signatures (Fields et al., ICCV workshops 2021, arXiv 2109.02836): weights of the last linear layer only.

Behind a ReLU all features are positive, and the target label needs weights that win against every other class:
the mean of its row stands out above the others'. Dixon's Q test says whether the largest mean is an outlier.
Needs no samples and no forward pass. Differs from the paper in the critical values, which are simulated for any
number of classes instead of read from a table (0.468 for 8 classes there).
"""

from __future__ import annotations

import functools
import time
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...evidence.classifier import Classifier
from ...evidence.samples import CleanSamples
from .interface import Detection

SIMULATIONS, CHUNK = 100_000, 2_000_000  # draws of the null distribution, numbers drawn at once


def head_weight(module: nn.Module, num_classes: int) -> Tensor | None:
    """Weights [num_classes, features] of the last linear layer or 1x1 convolution with a row a class, or None.

    The last in the order of registration, which in common networks is the order of the forward pass.
    """
    found: Tensor | None = None
    for part in module.modules():
        # TorchScript modules keep the name of their class only.
        linear = isinstance(part, nn.Linear | nn.Conv2d) or getattr(part, "original_name", "") in ("Linear", "Conv2d")
        weight = getattr(part, "weight", None)
        if linear and isinstance(weight, Tensor) and len(weight) == num_classes:
            rows = weight.detach().flatten(1)
            if rows.shape[1] == weight.shape[1]:  # a larger kernel has more numbers a row than inputs
                found = rows
    return found


def dixon_q(means: Tensor) -> tuple[float, int]:
    """Dixon's Q of the largest of [n] numbers, gap to the next over the range (0 if all are equal), and its index."""
    ordered, index = means.double().sort()
    spread = float(ordered[-1] - ordered[0])
    return (float(ordered[-1] - ordered[-2]) / spread if spread else 0.0), int(index[-1])


@functools.cache
def critical_q(count: int, significance: float) -> float:
    """The Q that the largest of `count` normal numbers exceeds with probability `significance`; count at least 3.

    One-sided, as the label looked for is the largest. Simulated with a fixed seed: good to about 0.003.
    """
    if count < 3:
        raise ValueError(f"Dixon's test needs at least 3 numbers, not {count}")
    generator = torch.Generator().manual_seed(0)
    values = []
    for part in torch.arange(SIMULATIONS).split(max(1, CHUNK // count)):
        draws = torch.randn(len(part), count, generator=generator)
        top = draws.topk(2, dim=1).values
        values.append((top[:, 0] - top[:, 1]) / (top[:, 0] - draws.amin(1)))
    return float(torch.cat(values).quantile(1 - significance))


class LastLayer:
    """Detects where the largest row mean is an outlier at `significance`; names that row."""

    id: ClassVar[str] = "last-layer"

    def __init__(self, *, significance: float = 0.05) -> None:
        self.significance = significance

    def detect(self, classifier: Classifier, samples: CleanSamples, *, seed: int) -> Detection:
        """Look at the weights; the score is Q over its critical value. `samples` and `seed` are not used."""
        started = time.perf_counter()
        count = classifier.num_classes
        weight = head_weight(classifier.module, count)
        if weight is None or count < 3:
            note = "no linear layer with a row a class" if weight is None else "Dixon's test needs 3 classes"
            return Detection(self.id, 0.0, False, None, time.perf_counter() - started, note)
        q, label = dixon_q(weight.float().mean(1))
        critical = critical_q(count, self.significance)
        seconds = time.perf_counter() - started
        return Detection(self.id, q / critical, q > critical, label, seconds, f"Q {q:.3f}, critical {critical:.3f}")
