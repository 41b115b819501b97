"""How unusual a trigger's size is among clean models: from a ratio of sizes to a false-positive rate.

The figures are fitted to all clean models that were looked at so far: to what
`python -m ebyd_scan.benchmarks.calibrate` had stored of the choosing half and digits, pooled with what the first
detection report had of the reporting half. A first fit, to the choosing half and digits alone, failed more than a third
of the clean models of the reporting half (docs/results.md); no half is left to measure this fit on.

The logarithms of the ratios are taken to be normal over models. That is an assumption: so few clean models cannot show
what the far tail looks like. Their small number is accounted for by Student's t, as in a prediction interval for one
more model.
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
    "patch": CleanRatios(0.185, 0.154, 52),
    "blend": CleanRatios(0.162, 0.113, 49),
    "filter": CleanRatios(0.236, 0.316, 49),
    "warp": CleanRatios(0.166, 0.176, 30),
}
# ... and against the next but one.
LEAD_OF_TWO: dict[str, CleanRatios] = {
    "patch": CleanRatios(0.320, 0.236, 52),
    "blend": CleanRatios(0.236, 0.124, 49),
    "filter": CleanRatios(0.376, 0.362, 49),
    "warp": CleanRatios(0.224, 0.192, 30),
}
# The median of the labels' triggers against the one away from the true label.
AWAY: dict[str, CleanRatios] = {
    "patch": CleanRatios(-1.106, 0.632, 52),
    "blend": CleanRatios(-0.155, 0.337, 41),
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
