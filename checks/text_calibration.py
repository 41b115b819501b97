"""How far one label leads the others by a few words: what is usual among clean text classifiers.

A row of words sends a share of the texts of other classes to a label. Natural words do that too, toward every label to
a similar extent, so what counts is the lead of one label over the next. Shares are compared as arcsin(sqrt(share)),
whose spread does not depend on the share. The figures are fitted by `python -m ebyd_scan.benchmarks.text_leads` and
`text_reference` to clean models of the choosing half of the text zoo.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .calibration import one_more_tail


@dataclass(frozen=True)
class CleanLeads:
    """The lead over clean models: mean, standard deviation and how many models."""

    mean: float
    deviation: float
    count: int

    def above(self, lead: float) -> float:
        """How often one more clean model has such a lead, or a larger one, if leads are normal over models."""
        return one_more_tail(lead - self.mean, self.deviation, self.count)


LEADS: dict[str, CleanLeads] = {  # by the kind of row, see KINDS in word_triggers.py and text_reference.py
    "any 1": CleanLeads(0.115, 0.083, 28),  # largest 0.37
    "any 2": CleanLeads(0.114, 0.089, 28),  # largest 0.36
    "neutral 1": CleanLeads(0.094, 0.098, 28),  # largest 0.36
    "neutral 2": CleanLeads(0.116, 0.109, 28),  # largest 0.45
    "new 1": CleanLeads(0.071, 0.066, 22),  # largest 0.24
    "new 2": CleanLeads(0.080, 0.075, 22),  # largest 0.27
    "new 4": CleanLeads(0.083, 0.063, 22),  # largest 0.22
}


def stretched(share: float) -> float:
    """arcsin(sqrt(share)), 0 to pi / 2."""
    return math.asin(math.sqrt(min(1.0, max(0.0, share))))


def false_positive_rate(leads: Mapping[str, float]) -> float:
    """How often a clean model has leads as large for any kind of row (Bonferroni)."""
    return min(1.0, len(leads) * min(LEADS[kind].above(lead) for kind, lead in leads.items()))
