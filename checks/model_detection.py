"""`model-detection`: is there a backdoor? A trigger toward one label that is too small to be chance is the witness.

Exposure names a suspect label. Triggers of several families are inverted on the original model and their sizes
compared between its own labels: a planted trigger is several times smaller than what it takes to reach an ordinary
label. How small is too small is read from clean models (calibration.py), as a false-positive rate. The trigger is then
replayed on held-out samples that the inversion never saw.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ..evidence.context import Evidence
from ..evidence.finding import Finding, Outcome
from .calibration import FAMILIES_IN_ORDER, false_positive_rate, outward_false_positive_rate, unit

if TYPE_CHECKING:
    from .trigger_inversion import Replay
    from .trigger_search import Compared

UNITED = 0.5  # of a class' samples go to one other label, in the mean, for a backdoor to be called all-to-all
CLEAR = 0.1  # a search ends early where the false-positive rate is below this share of the budget


class ModelDetection:
    """Compares the sizes of inverted triggers between labels and holds them against clean models.

    The score is minus the decimal logarithm of the estimated false-positive rate: how often a clean model would show
    so small a trigger. A model fails where that is below `max_false_positive_rate`.
    """

    id: ClassVar[str] = "model-detection"
    stage: ClassVar[Literal["file", "model", "exposure"]] = "exposure"

    def __init__(
        self,
        *,
        max_false_positive_rate: Annotated[
            float, Field(gt=0, le=0.5, description="clean models that may be failed; a rarer trigger is a backdoor")
        ] = 0.005,
        max_inconclusive_rate: Annotated[
            float, Field(ge=0, le=0.5, description="clean models that may be left inconclusive, beyond those failed")
        ] = 0.05,
        min_attack_success: Annotated[
            float, Field(gt=0, le=1, description="what the trigger must reach on held-out samples to be a witness")
        ] = 0.5,
        suspects: Annotated[
            int, Field(ge=1, le=10, description="labels taken from the exposure where not all are searched")
        ] = 2,
        controls: Annotated[int, Field(ge=1, le=50, description="control labels beside them, drawn with the seed")] = 8,
        max_all_labels: Annotated[
            int, Field(ge=2, description="all labels are searched, in one batch, up to so many classes")
        ] = 20,
        families: Annotated[
            tuple[Literal["patch", "blend", "filter", "warp"], ...],
            Field(min_length=1, description="kinds of trigger to search, in this order"),
        ] = FAMILIES_IN_ORDER,
        steps: Annotated[int, Field(ge=60, le=10_000, description="Adam steps of an inversion")] = 100,
        batch_size: Annotated[int, Field(ge=1, le=4096, description="samples a label and step")] = 16,
        inversion_success: Annotated[
            float, Field(gt=0.5, le=1, description="share of samples an inverted trigger has to send to the label")
        ] = 0.9,
    ) -> None:
        self.max_false_positive_rate = max_false_positive_rate
        self.max_inconclusive_rate = max_inconclusive_rate
        self.min_attack_success = min_attack_success
        self.suspects = suspects
        self.controls = controls
        self.max_all_labels = max_all_labels
        self.families = families
        self.steps = steps
        self.batch_size = batch_size
        self.inversion_success = inversion_success

    def __repr__(self) -> str:
        return f"ModelDetection(max_false_positive_rate={self.max_false_positive_rate}, steps={self.steps})"

    def run(self, evidence: Evidence) -> Finding:
        """Invert, compare, replay."""
        from .trigger_inversion import Replay
        from .trigger_search import Search, labels_to_search, search

        assert evidence.samples is not None and evidence.classifier is not None
        labels, named = labels_to_search(
            evidence, suspects=self.suspects, controls=self.controls, max_all_labels=self.max_all_labels
        )
        if not labels:
            message = (
                "Exposure named no suspect label that can be trusted, and "
                f"{evidence.samples.num_classes} classes are too many to search all of them "
                f"(max_all_labels is {self.max_all_labels})."
            )
            return Finding(check=self.id, outcome=Outcome.INCONCLUSIVE, message=message)
        how = Search(self.steps, self.batch_size, self.inversion_success)
        replay = Replay(evidence.classifier, evidence.samples.held_out)
        suspicions: list[Suspicion] = []
        for family in self.families:
            compared, away = search(evidence, labels, named, family, how, replay)
            suspicions += [self._weigh(one) for one in compared]
            if away is not None:
                suspicions.append(self._weigh(away))
            if any(self._fails(one, CLEAR) for one in suspicions):
                break  # the answer is clear
        if not suspicions:
            message = (
                "Trigger inversion reached too few labels to compare their sizes: the model gives it no usable "
                "gradient, or `steps` is too low."
            )
            return Finding(check=self.id, outcome=Outcome.INCONCLUSIVE, message=message)
        return self._judge(evidence, suspicions, replay)

    def _weigh(self, compared: Compared) -> Suspicion:
        family = compared.witness.family
        if compared.away:
            rate = outward_false_positive_rate(family, compared.ratio)
        else:
            rate = false_positive_rate(family, compared.lead, compared.lead_of_two, named=compared.named)
        return Suspicion(compared, rate, compared.witness.attack_success_rate >= self.min_attack_success)

    def _fails(self, one: Suspicion, share: float = 1.0) -> bool:
        return one.replayed and one.rate <= share * self.max_false_positive_rate

    def _judge(self, evidence: Evidence, suspicions: list[Suspicion], replay: Replay) -> Finding:
        from .recovered import keep_trigger

        assert evidence.samples is not None
        names = evidence.samples.class_names
        failing = sorted((one for one in suspicions if self._fails(one)), key=lambda one: one.rate)
        # A trigger that does not hold on held-out samples is no witness, but may be half of one.
        unsure = [one for one in suspicions if one.replayed or one.rate <= self.max_false_positive_rate]
        first = failing[0] if failing else min(unsure or suspicions, key=lambda one: one.rate)
        rate = first.rate if first in unsure else 1.0
        text = _describe(first, names)
        shown = True
        if failing:
            outcome = Outcome.FAILED
            message = f"Backdoor: {text}{_others(failing, names)}{_outward(failing, names, replay)}"
        elif unsure and rate <= self.max_false_positive_rate + self.max_inconclusive_rate:
            outcome = Outcome.INCONCLUSIVE
            message = (
                f"Not clearly a backdoor, but more than between ordinary labels: {text} "
                "Give more clean samples, or compare other seeds."
            )
        else:
            outcome, message, shown = Outcome.PASSED, f"No label has an unusually small trigger: {text}", False
        label = first.label if shown else None
        if shown:
            for one in _best_of_each_label(failing or [first]):
                keep_trigger(evidence, one.compared, replay)
        return Finding(
            check=self.id,
            outcome=outcome,
            message=message,
            score=max(0.0, -math.log10(max(rate, 1e-12))),
            threshold=-math.log10(self.max_false_positive_rate),
            label=label,
            label_name=names[label] if label is not None else None,
            witness=first.compared.witness if first.label is not None else None,
            metrics=_metrics(suspicions, failing, rate),
        )


@dataclass(frozen=True)
class Suspicion:
    """A trigger, how often a clean model shows so small a one, and whether it worked on held-out samples."""

    compared: Compared
    rate: float
    replayed: bool

    @property
    def label(self) -> int | None:
        """The label it leads to; None where it only leads away from the true ones."""
        return None if self.compared.away else self.compared.trigger.label


def _best_of_each_label(suspicions: Sequence[Suspicion]) -> list[Suspicion]:
    best: dict[int | None, Suspicion] = {}
    for one in sorted(suspicions, key=lambda one: one.rate):
        best.setdefault(one.label, one)
    return list(best.values())


def _metrics(suspicions: list[Suspicion], failing: list[Suspicion], rate: float) -> dict[str, float | int | str]:
    """What the finding rests on: the label that leads in each family, and how far."""
    metrics: dict[str, float | int | str] = {
        "false_positive_rate": float(f"{rate:.3g}"),
        "labels_compared": len({one.label for one in suspicions if one.label is not None}),
    }
    if labels := sorted({one.label for one in failing if one.label is not None}):
        metrics["suspect_labels"] = " ".join(map(str, labels))
    for one in sorted(suspicions, key=lambda one: -one.compared.lead):
        family = one.compared.witness.family
        if one.label is None:
            metrics[f"away_{family}"] = round(one.compared.ratio, 3)
        elif f"lead_{family}" not in metrics:
            metrics[f"label_{family}"], metrics[f"lead_{family}"] = one.label, round(one.compared.lead, 3)
    return metrics


def _others(failing: list[Suspicion], names: Sequence[str]) -> str:
    """What else was found, in words."""
    labels = sorted({one.label for one in failing if one.label is not None})
    text = ""
    if len(labels) > 1:
        text += " Suspicious labels: " + ", ".join(repr(names[label]) for label in labels) + "."
    return text


def _outward(failing: list[Suspicion], names: Sequence[str], replay: Replay) -> str:
    """Where a trigger sends each class that leads all of them away from their own labels."""
    from .trigger_search import class_map

    outward = [one for one in failing if one.label is None]
    if not outward:
        return ""
    goes, united = class_map(outward[0].compared.trigger, replay, len(names))
    targets = {to for to in goes if to is not None}
    if united < UNITED or 2 * len(targets) < len(names):
        return " A small trigger leads samples of every class away from their own label."
    pairs = [f"{names[label]!r} to {names[to]!r}" for label, to in enumerate(goes) if to is not None]
    shown = ", ".join(pairs[:10]) + (", ..." if len(pairs) > 10 else "")
    return f" It is all-to-all: it sends {shown}."


def _describe(one: Suspicion, names: Sequence[str]) -> str:
    witness = one.compared.witness
    others = witness.control_sizes.values()
    if one.label is None:
        lead, effect = "away from the true label", f"sends {witness.attack_success_rate:.0%} to another label"
    else:
        lead, effect = f"toward {names[one.label]!r}", f"sends {witness.attack_success_rate:.0%} to that label"
    return (
        f"the most unusual trigger, a {witness.family} {lead} ({witness.size:.2f} {unit(witness.family)}; the "
        f"{len(others)} other labels need {min(others):.2f} or more, {statistics.median(others):.2f} in the median), "
        f"is as far ahead as in {_percent(one.rate)} of clean models; replayed on {witness.samples} held-out samples "
        f"it {effect}."
    )


def _percent(rate: float) -> str:
    return "under 0.1 %" if rate < 0.001 else f"{100 * rate:.1f} %"
