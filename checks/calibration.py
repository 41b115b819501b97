"""How unusual a trigger's size is among clean models: from a ratio of sizes to a false-positive rate.

The figures are fitted to the clean models of the zoo's choosing half by `python -m ebyd_scan.benchmarks.calibrate`;
the reporting half had no part in them. The logarithms of the ratios are taken to be normal over models. That is an
assumption: so few clean models cannot show what the far tail looks like. Their small number is accounted for by
Student's t, as in a prediction interval for one more model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

_UNITS = {"patch": "pixels", "blend": "L2", "filter": "RMS", "warp": "pixels"}


@dataclass(frozen=True)
class CleanRatios:
    """Natural logarithms of a ratio over clean models: mean, standard deviation, and how many models."""

    mean: float
    deviation: float
    count: int

    def tail(self, ratio: float) -> float:
        """How often one more clean model shows at least this ratio."""
        value = (math.log(max(ratio, 1e-9)) - self.mean) / (self.deviation * math.sqrt(1 + 1 / self.count))
        return student_tail(value, self.count - 1)


# The smallest trigger of a clean model against the next ...
LEAD: dict[str, CleanRatios] = {
    "patch": CleanRatios(0.138, 0.099, 28),
    "blend": CleanRatios(0.132, 0.088, 28),
    "filter": CleanRatios(0.256, 0.309, 28),
    "warp": CleanRatios(0.208, 0.195, 20),
}
# ... and against the next but one.
LEAD_OF_TWO: dict[str, CleanRatios] = {
    "patch": CleanRatios(0.252, 0.149, 28),
    "blend": CleanRatios(0.211, 0.112, 28),
    "filter": CleanRatios(0.378, 0.338, 28),
    "warp": CleanRatios(0.264, 0.216, 20),
}
# The median of the labels' triggers against the one away from the true label.
AWAY: dict[str, CleanRatios] = {
    "patch": CleanRatios(-0.774, 0.395, 28),
    "blend": CleanRatios(0.001, 0.272, 24),
}
FAMILIES_IN_ORDER: tuple[Literal["patch", "blend", "filter", "warp"], ...] = ("patch", "blend", "filter", "warp")
TESTS = len(LEAD) + len(LEAD_OF_TWO) + len(AWAY)

# Weights of labels in the search for the smallest trigger (Genovese, Roeder & Wasserman 2006): a label that exposure
# names is believed sooner, the others later, so that the false-positive rate over all stays what it is as long as
# exposure names a clean model's smallest trigger in at most NAMED_BY_CHANCE of the cases.
FAVOUR, NAMED_BY_CHANCE = 3.0, 0.2


def unit(family: str) -> str:
    """What sizes of a family are counted in."""
    return _UNITS[family]


def false_positive_rate(family: str, lead: float, lead_of_two: float | None, *, named: bool | None) -> float:
    """How often a clean model has a label with a trigger so much smaller than its other labels' in any family.

    Args:
        lead: the smallest trigger of the other labels over this one's.
        lead_of_two: the second smallest over this one's; None where there is none.
        named: whether exposure names this label; None where it names none.

    The ways of being unusual are added up (Bonferroni), so this errs on the high side.
    """
    tail = LEAD[family].tail(lead)
    if lead_of_two is not None:
        tail = min(tail, LEAD_OF_TWO[family].tail(lead_of_two))
    rate = tail * TESTS
    if named is not None:
        rate *= NAMED_BY_CHANCE * FAVOUR + 1 - NAMED_BY_CHANCE
        rate /= FAVOUR if named else 1.0
    return min(1.0, rate)


def outward_false_positive_rate(family: str, ratio: float) -> float:
    """The same for a trigger away from the true labels, `ratio` times smaller than the median of the labels'.

    1 for families without a figure: what leads anywhere is too easy to find in them.
    """
    return min(1.0, AWAY[family].tail(ratio) * TESTS) if family in AWAY else 1.0


def student_tail(value: float, freedom: int) -> float:
    """Upper tail of Student's t with `freedom` degrees (Abramowitz & Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(value / math.sqrt(freedom))
    cosine_squared = math.cos(angle) ** 2
    term = math.cos(angle) if freedom % 2 else 1.0
    total = 0.0
    for k in range(3 if freedom % 2 else 2, freedom + 1, 2):
        total += term
        term *= cosine_squared * (k - 1) / k
    inside = math.sin(angle) * total
    if freedom % 2:
        inside = 2 / math.pi * (angle + inside)
    return (1 - inside) / 2
