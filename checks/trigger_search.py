"""Searches triggers of one family for a set of labels and compares each label with the others."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..evidence.context import Evidence
from ..evidence.finding import Witness
from .suspects import collapse, converged
from .trigger_inversion import AWAY, Replay, Trigger, invert_labels

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Search:
    """How an inversion is done; the same for every label and family."""

    steps: int
    batch_size: int
    success: float


@dataclass(frozen=True)
class Compared:
    """One label's trigger beside those of the other labels.

    `lead` is how many times smaller it is than the smallest of the others, `lead_of_two` than the second smallest (for
    backdoors with two targets; None where there are too few labels), `ratio` than their median. `named` says whether
    exposure named the label.
    """

    trigger: Trigger
    lead: float
    lead_of_two: float | None
    ratio: float
    witness: Witness
    named: bool | None = None  # None where exposure names no label
    away: bool = False  # leads away from the true labels, wherever to


def labels_to_search(
    evidence: Evidence, *, suspects: int, controls: int, max_all_labels: int
) -> tuple[list[int], int | None]:
    """The labels to search and the one that exposure names, if it names one.

    All labels where there are at most `max_all_labels`: searched in one batch they cost little. With more classes the
    suspects of the exposure come first, then controls drawn with the seed, so that the cost does not grow with the
    classes; no label at all where exposure cannot be read or not be trusted: without BatchNorm the collapse is often
    onto a wrong label (measured: docs/results.md).
    """
    assert evidence.samples is not None and evidence.classifier is not None
    count = evidence.samples.num_classes
    runs = converged(evidence.exposures)
    seen = collapse(runs) if runs else None
    ranked, named = (seen.ranked, seen.named()) if seen else ([], None)
    if count <= max_all_labels:
        return list(range(count)), named
    if not ranked or not evidence.classifier.has_batch_norm:
        return [], None
    others = random.Random(evidence.seed).sample(ranked[suspects:], min(controls, count - suspects))
    return ranked[:suspects] + others, named


def search(
    evidence: Evidence,
    labels: Sequence[int],
    named: int | None,
    family: str,
    how: Search,
    replay: Replay,
) -> tuple[list[Compared], Compared | None]:
    """Invert every label and the way out of all of them (AWAY) in one batch, and compare.

    Returns the labels that a trigger reached, the largest lead first, and the trigger that leads away from the true
    label, if one was found.
    """
    assert evidence.samples is not None and evidence.classifier is not None
    stage = f"invert {family} triggers"
    found = invert_labels(
        evidence.classifier,
        evidence.samples.exposure,
        [*labels, AWAY],
        family=family,
        steps=how.steps,
        batch_size=how.batch_size,
        success=how.success,
        seed=evidence.seed,
        on_step=lambda step: evidence.progress(stage, step, how.steps),
    )
    triggers, away = found[:-1], found[-1]
    compared = [
        _compare(
            trigger,
            [other for other in triggers if other is not trigger],
            replay,
            named=None if named is None else trigger.label == named,
        )
        for trigger in triggers
        if trigger.found and len(triggers) > 1
    ]
    compared.sort(key=lambda one: -one.lead)
    return compared, _compare(away, triggers, replay) if away.found else None


def _compare(trigger: Trigger, others: Sequence[Trigger], replay: Replay, *, named: bool | None = None) -> Compared:
    # A label that was not reached counts as no smaller than any that was: its search gave up at some size or other.
    largest = max((other.size for other in others if other.found), default=trigger.size)
    sizes = {other.label: other.size if other.found else max(other.size, largest) for other in others}
    success, count = replay.success(trigger)
    witness = Witness(
        family=trigger.family,
        label=trigger.label,
        size=trigger.size,
        control_sizes=sizes,
        attack_success_rate=success,
        samples=count,
    )
    mine, ordered = max(trigger.size, 1e-9), sorted(sizes.values())
    return Compared(
        trigger=trigger,
        lead=ordered[0] / mine,
        lead_of_two=ordered[1] / mine if len(ordered) > 1 else None,
        ratio=statistics.median(ordered) / mine,
        witness=witness,
        named=named,
        away=trigger.label == AWAY,
    )


def class_map(trigger: Trigger, replay: Replay, classes: int) -> tuple[list[int | None], float]:
    """Where a trigger sends each class (None where there are no samples), and how united the samples are.

    The second is the mean, over classes, of the share of a class' samples that go to its most frequent other label.
    """
    predicted: Tensor = replay.predictions(trigger, replay.pixels)
    goes: list[int | None] = []
    shares = []
    for label in range(classes):
        where = predicted[replay.labels == label]
        if not len(where):
            goes.append(None)
            continue
        counts = where.bincount(minlength=classes)
        counts[label] = 0
        goes.append(int(counts.argmax()))
        shares.append(float(counts.max()) / len(where))
    return goes, statistics.mean(shares) if shares else 0.0
