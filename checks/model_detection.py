"""`model-detection`: is there a backdoor? A trigger toward one label that is too small to be chance is the witness.

Exposure names a suspect label. Triggers of several families are inverted on the original model and their sizes
compared between its own labels: a planted trigger is several times smaller than what it takes to reach an ordinary
label. How small is too small is read from clean models (calibration.py), as a false-positive rate. The trigger is then
replayed on held-out samples that the inversion never saw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ..evidence.context import Evidence
from ..evidence.finding import Finding, Outcome
from ..evidence.repair import KnownTrigger
from ..evidence.sizes import size_text
from .calibration import FAMILIES_IN_ORDER, all_to_all_false_positive_rate, false_positive_rate, rate_text
from .compared import AllToAll, Compared

if TYPE_CHECKING:
    from .trigger_inversion import Replay

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
        ] = 0.002,
        max_inconclusive_rate: Annotated[
            float, Field(ge=0, le=0.5, description="clean models that may be left inconclusive, beyond those failed")
        ] = 0.02,
        min_attack_success: Annotated[
            float, Field(gt=0, le=1, description="what the trigger must reach on held-out samples to be a witness")
        ] = 0.3,
        min_per_class: Annotated[
            int, Field(ge=1, description="samples a class to search on; with fewer what would fail is inconclusive")
        ] = 20,
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
        steps: Annotated[int, Field(ge=60, le=10_000, description="Adam steps of an inversion")] = 150,
        batch_size: Annotated[int, Field(ge=1, le=4096, description="samples a label and step")] = 16,
        max_false_positive_rate_of_words: Annotated[
            float, Field(gt=0, le=0.5, description="the same for text classifiers, of which fewer were measured")
        ] = 0.02,
        min_attack_success_of_words: Annotated[
            float, Field(gt=0, le=1, description="what trigger words must reach on held-out texts to fail a model")
        ] = 0.8,
        word_steps: Annotated[
            int, Field(ge=10, le=10_000, description="Adam steps of a search for trigger words (text classifiers)")
        ] = 40,
    ) -> None:
        self.max_false_positive_rate = max_false_positive_rate
        self.max_inconclusive_rate = max_inconclusive_rate
        self.min_attack_success = min_attack_success
        self.min_per_class = min_per_class
        self.suspects = suspects
        self.controls = controls
        self.max_all_labels = max_all_labels
        self.families = families
        self.steps = steps
        self.batch_size = batch_size
        self.max_false_positive_rate_of_words = max_false_positive_rate_of_words
        self.min_attack_success_of_words = min_attack_success_of_words
        self.word_steps = word_steps

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
        if evidence.classifier.codec is not None:
            return self._of_words(evidence, labels)
        how = Search(self.steps, self.batch_size)
        replay = Replay(evidence.classifier, evidence.samples.held_out)
        suspicions: list[Suspicion] = []
        for family in self.families:
            compared, shift = search(evidence, labels, named, family, how, replay)
            suspicions += [self._weigh(one) for one in compared]
            if shift is not None:
                suspicions.append(self._weigh_all_to_all(shift))
            if any(self._fails(one, CLEAR) for one in suspicions):
                break  # the answer is clear
        if not suspicions:
            message = (
                "Trigger inversion reached too few labels to compare their sizes: the model gives it no usable "
                "gradient, or `steps` is too low."
            )
            return Finding(check=self.id, outcome=Outcome.INCONCLUSIVE, message=message)
        return self._judge(evidence, suspicions, replay)

    def _of_words(self, evidence: Evidence, labels: Sequence[int]) -> Finding:
        from .text_detection import Bounds, detect_words

        bounds = Bounds(
            max_false_positive_rate=self.max_false_positive_rate_of_words,
            max_inconclusive_rate=self.max_inconclusive_rate,
            min_attack_success=self.min_attack_success_of_words,
            min_per_class=self.min_per_class,
            steps=self.word_steps,
        )
        return detect_words(self.id, evidence, labels, bounds)

    def _weigh(self, one: Compared) -> Suspicion:
        witness = one.witness
        rate = false_positive_rate(witness.family, one.lead, one.lead_of_two, one.relative_size, named=one.named)
        return Suspicion(one, rate, witness.attack_success_rate >= self.min_attack_success)

    def _weigh_all_to_all(self, one: AllToAll) -> Suspicion:
        rate = all_to_all_false_positive_rate(one.trigger.size)
        return Suspicion(one, rate, one.attack_success_rate >= self.min_attack_success)

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
        searched_on = round(len(evidence.samples.exposure) / evidence.samples.num_classes)
        if failing and searched_on < self.min_per_class:
            # Triggers that fit few samples are small in clean models too, and no clean model was measured with so few.
            outcome = Outcome.INCONCLUSIVE
            message = (
                f"What was found would fail the model with more samples: {text} With {searched_on} a class to search "
                f"on clean models show as much: give at least {self.min_per_class}, and as many to hold out."
            )
        elif failing:
            outcome = Outcome.FAILED
            message = f"Backdoor: {text}{_others(failing, names)}"
        elif unsure and rate <= self.max_false_positive_rate + self.max_inconclusive_rate:
            outcome = Outcome.INCONCLUSIVE
            message = (
                f"Not clearly a backdoor, but more than between ordinary labels: {text} "
                "Give more clean samples, or compare other seeds."
            )
        else:
            outcome, message, shown = Outcome.PASSED, f"No label has an unusually small trigger: {text}", False
        label = first.label if shown else None
        for one in failing or _best_of_each_family(suspicions):
            trigger = one.found.trigger
            evidence.keep_known(KnownTrigger(trigger.family, trigger.label, trigger.apply))
        if shown:
            for one in _best_of_each_label(failing or [first]):
                if isinstance(one.found, Compared):
                    keep_trigger(evidence, one.found, replay)
        return Finding(
            check=self.id,
            outcome=outcome,
            message=message,
            score=max(0.0, -math.log10(max(rate, 1e-12))),
            threshold=-math.log10(self.max_false_positive_rate),
            label=label,
            label_name=names[label] if label is not None else None,
            witness=first.found.witness if isinstance(first.found, Compared) else None,
            metrics=_metrics(suspicions, failing, rate),
        )


@dataclass(frozen=True)
class Suspicion:
    """A trigger, how often a clean model shows so small a one, and whether it worked on held-out samples."""

    found: Compared | AllToAll
    rate: float
    replayed: bool

    @property
    def label(self) -> int | None:
        """The label it leads to; None where it leads each class to another."""
        label = self.found.trigger.label
        return label if label >= 0 else None


def _best_of_each_label(suspicions: Sequence[Suspicion]) -> list[Suspicion]:
    best: dict[int | None, Suspicion] = {}
    for one in sorted(suspicions, key=lambda one: one.rate):
        best.setdefault(one.label, one)
    return list(best.values())


def _best_of_each_family(suspicions: Sequence[Suspicion]) -> list[Suspicion]:
    best: dict[str, Suspicion] = {}
    for one in sorted(suspicions, key=lambda one: one.rate):
        best.setdefault(one.found.trigger.family, one)
    return list(best.values())


def _metrics(suspicions: list[Suspicion], failing: list[Suspicion], rate: float) -> dict[str, float | int | str]:
    """What the finding rests on: the label that leads in each family, and how far."""
    metrics: dict[str, float | int | str] = {
        "false_positive_rate": float(f"{rate:.3g}"),
        "labels_compared": len({one.label for one in suspicions if one.label is not None}),
    }
    if labels := sorted({one.label for one in failing if one.label is not None}):
        metrics["suspect_labels"] = " ".join(map(str, labels))
    for one in sorted(suspicions, key=lambda one: one.rate):
        trigger = one.found.trigger
        if isinstance(one.found, AllToAll):
            metrics["size_all_to_all"] = float(f"{trigger.size:.3g}")
        elif f"lead_{trigger.family}" not in metrics:
            metrics[f"label_{trigger.family}"] = trigger.label
            metrics[f"lead_{trigger.family}"] = round(one.found.lead, 3)
            metrics[f"size_{trigger.family}"] = float(f"{trigger.size:.3g}")
    return metrics


def _others(failing: list[Suspicion], names: Sequence[str]) -> str:
    """What else was found, in words."""
    labels = sorted({one.label for one in failing if one.label is not None})
    text = ""
    if len(labels) > 1:
        text += " Suspicious labels: " + ", ".join(repr(names[label]) for label in labels) + "."
    return text


def _describe(one: Suspicion, names: Sequence[str]) -> str:
    if isinstance(one.found, AllToAll):
        return _describe_all_to_all(one.found, one.rate, names)
    witness = one.found.witness
    others = witness.control_sizes.values()
    size, next_size = (size_text(witness.family, [value]) for value in (witness.size, min(others)))
    return (
        f"the most unusual trigger, a {witness.family} toward {names[witness.label]!r} ({size}; the {len(others)} "
        f"other labels need {next_size} or more), is as small and far ahead in {rate_text(one.rate)} of clean models; "
        f"replayed on {witness.samples} held-out samples it sends {witness.attack_success_rate:.0%} to that label."
    )


def _describe_all_to_all(shift: AllToAll, rate: float, names: Sequence[str]) -> str:
    return (
        f"an all-to-all {shift.trigger.family} of {size_text(shift.trigger.family, [shift.trigger.size])} sends "
        f"{shift.attack_success_rate:.0%} of {shift.samples} held-out samples to the label after their own "
        f"({names[0]!r} to {names[1]!r}, and so on); so small a one is found in {rate_text(rate)} of clean models."
    )
