"""What a search for triggers has to say: a label beside the others, and all of them to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..evidence.finding import Witness

if TYPE_CHECKING:
    from .trigger_inversion import Trigger


@dataclass(frozen=True)
class Compared:
    """One label's trigger beside those of the other labels.

    `relative_size` is its size, of a blended pattern as a multiple of how much the means of two classes differ. `lead`
    is how many times smaller it is than the smallest of the others, `lead_of_two` than the second smallest (for
    backdoors with two targets; None where there are too few labels). `named` says whether exposure named the label.
    """

    trigger: Trigger
    relative_size: float
    lead: float
    lead_of_two: float | None
    witness: Witness
    named: bool | None = None  # None where exposure names no label


@dataclass(frozen=True)
class AllToAll:
    """A trigger that sends every class to the next, and its success on held-out samples."""

    trigger: Trigger
    attack_success_rate: float
    samples: int
