"""What a scan costs by the size of the model: the formulas of docs/scaling.md, and how they are fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FORWARD, SEARCH, TRAIN = "forward", "search", "train"
WORK: Final = {FORWARD: 1.0, SEARCH: 2.0, TRAIN: 3.0}
"""Work of a pass in forward passes: gradients of the input cost one more, those of the weights another."""


@dataclass(frozen=True)
class Passes:
    """What a stage did: calls of the model, and units (pictures, or tokens of texts) by the kind of pass."""

    calls: int
    units: dict[str, int]

    @property
    def forwards(self) -> float:
        """Units, each counted as the work of so many forward passes."""
        return sum(WORK[kind] * count for kind, count in self.units.items())


@dataclass(frozen=True)
class Point:
    """A measured stage."""

    seconds: float
    calls: int
    flops: float


@dataclass(frozen=True)
class Fit:
    """seconds = a * calls + b * FLOPs."""

    a: float  # seconds a call of the model
    b: float  # seconds a FLOP

    def seconds(self, calls: float, flops: float) -> float:
        """CPU seconds of one thread."""
        return self.a * calls + self.b * flops


def fit(points: Sequence[Point]) -> Fit:
    """Least squares of relative errors, neither figure below 0. Raises ValueError for fewer than two points."""
    if len(points) < 2:
        raise ValueError(f"{len(points)} point(s) do not make a line")
    x = [(point.calls / point.seconds, point.flops / point.seconds) for point in points]
    cc, cf, ff = (sum(one[i] * one[j] for one in x) for i, j in ((0, 0), (0, 1), (1, 1)))
    c, f = sum(one[0] for one in x), sum(one[1] for one in x)
    determinant = cc * ff - cf * cf
    if determinant > 1e-12 * cc * ff:
        a, b = (c * ff - f * cf) / determinant, (f * cc - c * cf) / determinant
        if a >= 0 and b >= 0:
            return Fit(a, b)
    only_calls, only_flops = (c / cc if cc else 0.0), (f / ff if ff else 0.0)
    errors = [sum((1 - k * one[i]) ** 2 for one in x) for i, k in ((0, only_calls), (1, only_flops))]
    return Fit(only_calls, 0.0) if errors[0] < errors[1] else Fit(0.0, only_flops)


def gpu_seconds(flops: float, peak_flops: float, utilisation: float) -> float:
    """Of so much work on a GPU that does `peak_flops` a second by its data sheet and `utilisation` of it in truth."""
    if not (peak_flops > 0 and 0 < utilisation <= 1):
        raise ValueError(f"a GPU with {peak_flops} FLOP/s at {utilisation}")
    return flops / (peak_flops * utilisation)


@dataclass(frozen=True)
class Plan:
    """What of a policy decides the work on a picture model."""

    exposure: int = 500  # samples
    held_out: int = 500
    seeds: int = 3
    epochs: float = 5.0  # a seed; 3 to 15 were seen on models that people trained
    families: int = 4
    steps: int = 150
    batch_size: int = 16
    survivors: int = 4


def picture_passes(plan: Plan, labels: int) -> Passes:
    """Passes of a whole scan of a clean model, for which all families are searched, with `labels` of them searched.

    Sample-fit predicts all samples, exposing looks before and after, every family replays its survivors.
    """
    p = plan
    first, kept = p.steps // 3, min(labels, p.survivors)
    rows = first * labels + (p.steps - first) * kept
    searched = p.batch_size * (p.families * rows + p.steps)  # patches also from each class to the next
    replayed = p.families * kept * p.held_out + p.exposure + p.held_out
    looks = (1 + p.seeds) * p.exposure + p.exposure + p.held_out
    trained = round(p.seeds * p.epochs * p.exposure)
    calls = p.families * p.steps + trained // 32 + (looks // 64) + replayed // 256
    return Passes(calls, {FORWARD: replayed + looks, SEARCH: searched, TRAIN: trained})
