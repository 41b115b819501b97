"""Which labels the exposed model's predictions collapse onto."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..evidence.exposure import ExposureRun

MIN_AGREEMENT, MIN_MARGIN = 0.66, 0.05  # share of the runs, share of the predictions


@dataclass(frozen=True)
class Collapse:
    """The collapse of several runs, corrected for the histogram before exposure.

    `gain[label]` is the mean share of predictions on the exposed model minus that on the original, so that a
    label that is merely frequent is no suspect. `tops` holds the label with the largest gain of each run.
    """

    gain: tuple[float, ...]
    tops: tuple[int, ...]

    @property
    def ranked(self) -> list[int]:
        """Labels, the largest gain first."""
        return sorted(range(len(self.gain)), key=lambda label: -self.gain[label])

    @property
    def label(self) -> int:
        """The label with the largest mean gain."""
        return self.ranked[0]

    @property
    def margin(self) -> float:
        """Gain of the first label minus gain of the runner-up."""
        first, second = self.ranked[:2]
        return self.gain[first] - self.gain[second]

    @property
    def agreement(self) -> float:
        """Share of the runs in which `label` comes first."""
        return self.tops.count(self.label) / len(self.tops)

    def named(self, min_agreement: float = MIN_AGREEMENT, min_margin: float = MIN_MARGIN) -> int | None:
        """`label` where enough of the runs agree on it and it leads by enough, otherwise None."""
        return self.label if self.agreement >= min_agreement and self.margin >= min_margin else None


def converged(runs: Sequence[ExposureRun]) -> list[ExposureRun]:
    """The runs whose exposed model can be read."""
    return [run for run in runs if run.converged and run.after is not None]


def collapse(runs: Sequence[ExposureRun]) -> Collapse:
    """The collapse over converged runs; ValueError if there are none."""
    if not runs:
        raise ValueError("no run converged")
    gains = [_gain(run) for run in runs]
    mean = tuple(sum(column) / len(gains) for column in zip(*gains, strict=True))
    tops = tuple(max(range(len(gain)), key=gain.__getitem__) for gain in gains)
    return Collapse(mean, tops)


def _gain(run: ExposureRun) -> list[float]:
    assert run.after is not None
    before, after = run.before.histogram, run.after.histogram
    return [a / max(1, sum(after)) - b / max(1, sum(before)) for a, b in zip(after, before, strict=True)]
