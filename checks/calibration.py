"""How unusual a trigger is among clean models: from its size and its lead over other labels to a false-positive rate.

The figures are fitted by `python -m ebyd_scan.benchmarks.calibrate` to clean models of the zoo's choosing half and to
clean digit networks; what they decide on models that nothing was chosen on is in docs/results.md.

The logarithms of sizes and leads are taken to be normal over models. That is an assumption: so few clean models cannot
show what the far tail looks like. Their small number is accounted for by Student's t, as in a prediction interval for
one more model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

# The size of a clean model's smallest trigger, roughly: a label that no trigger reached counts as no easier than that.
_USUAL = {"patch": 0.03, "blend": 0.4, "filter": 0.12, "warp": 0.1}


@dataclass(frozen=True)
class CleanSizes:
    """Natural logarithms of a size over clean models: mean, standard deviation, and how many models."""

    mean: float
    deviation: float
    count: int

    def below(self, size: float) -> float:
        """How often one more clean model shows this size or less."""
        return one_more_tail(self.mean - math.log(max(size, 1e-9)), self.deviation, self.count)


@dataclass(frozen=True)
class CleanModels:
    """A family's smallest trigger over clean models, in natural logarithms.

    `lead` is of the next label's size over its own and `lead_of_two` of the next but one's: mean and standard
    deviation. `size` is its own: the median and the spread below it, as of a normal distribution. `unusual` and
    `unusual_of_two` are what the methods of these names give for the clean models: mean and standard deviation.
    """

    lead: tuple[float, float]
    lead_of_two: tuple[float, float]
    size: tuple[float, float]
    unusual: tuple[float, float]
    unusual_of_two: tuple[float, float]
    count: int

    def unusualness(self, lead: float, size: float, *, of_two: bool = False) -> float:
        """How far ahead of the other labels, and how small: standardised logarithms, added.

        A trigger that is larger than usual counts as of the usual size. What is small differs with the pictures, and a
        lead over the other labels is unusual at any size.
        """
        mean, deviation = self.lead_of_two if of_two else self.lead
        ahead = (math.log(max(lead, 1e-9)) - mean) / deviation
        small = (self.size[0] - math.log(max(size, 1e-9))) / self.size[1]
        return ahead + max(0.0, small)

    def tail(self, lead: float, size: float, *, of_two: bool = False) -> float:
        """How often one more clean model has a trigger that is as unusual."""
        mean, deviation = self.unusual_of_two if of_two else self.unusual
        value = (self.unusualness(lead, size, of_two=of_two) - mean) / deviation
        return student_tail(value / math.sqrt(1 + 1 / self.count), self.count - 1)


CLEAN: dict[str, CleanModels] = {
    "patch": CleanModels((0.197, 0.174), (0.342, 0.219), (-3.418, 0.403), (0.403, 1.355), (0.403, 1.389), 52),
    "blend": CleanModels((0.244, 0.223), (0.436, 0.328), (-1.093, 0.348), (0.418, 1.316), (0.415, 1.431), 52),
    "filter": CleanModels((0.338, 0.378), (0.532, 0.415), (-1.968, 0.401), (0.433, 1.297), (0.433, 1.372), 52),
    "warp": CleanModels((0.195, 0.155), (0.286, 0.181), (-2.416, 0.386), (0.314, 1.379), (0.318, 1.375), 39),
}
FAMILIES_IN_ORDER: tuple[Literal["patch", "blend", "filter", "warp"], ...] = ("patch", "blend", "filter", "warp")
# The size of a patch that sends every class to the next.
ALL_TO_ALL = CleanSizes(-0.87, 0.305, 42)
TESTS = 2 * len(CLEAN) + 1

# Weights of labels in the search for the smallest trigger (Genovese, Roeder & Wasserman 2006): a label that exposure
# names is believed sooner, the others later, so that the false-positive rate over all stays what it is as long as
# exposure names a clean model's smallest trigger in at most NAMED_BY_CHANCE of the cases.
FAVOUR, NAMED_BY_CHANCE = 3.0, 0.2


def usual_size(family: str) -> float:
    """What a label that no trigger reached counts as, at least."""
    return _USUAL[family]


def false_positive_rate(
    family: str, lead: float, lead_of_two: float | None, size: float, *, named: bool | None
) -> float:
    """How often a clean model has a label with a trigger so small and so far ahead of its other labels', in any family.

    Args:
        lead: the smallest trigger of the other labels over this one's.
        lead_of_two: the second smallest over this one's; None where there is none.
        size: this one's, relative as in Compared.
        named: whether exposure names this label; None where it names none.

    The ways of being unusual are added up (Bonferroni), so this errs on the high side.
    """
    tail = CLEAN[family].tail(lead, size)
    if lead_of_two is not None:
        tail = min(tail, CLEAN[family].tail(lead_of_two, size, of_two=True))
    rate = tail * TESTS
    if named is not None:
        rate *= NAMED_BY_CHANCE * FAVOUR + 1 - NAMED_BY_CHANCE
        rate /= FAVOUR if named else 1.0
    return min(1.0, rate)


def all_to_all_false_positive_rate(size: float) -> float:
    """The same for a patch of this size that sends every class to the next."""
    return min(1.0, TESTS * ALL_TO_ALL.below(size))


def one_more_tail(distance: float, deviation: float, count: int) -> float:
    """How often one more value is at least so far from the mean of `count`, on one side: a prediction interval."""
    return student_tail(distance / (deviation * math.sqrt(1 + 1 / count)), count - 1)


def rate_text(rate: float) -> str:
    """A false-positive rate, in words."""
    return "under 0.1 %" if rate < 0.001 else f"{100 * rate:.1f} %"


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
