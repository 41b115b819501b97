"""Searches triggers of one family for a set of labels and compares each label with the others."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..evidence.context import Evidence
from ..evidence.finding import Witness
from ..evidence.samples import SamplePart
from .calibration import usual_size
from .compared import AllToAll, Compared
from .suspects import collapse, converged
from .trigger_families import amplitudes
from .trigger_inversion import NEXT, Replay, Trigger, invert_labels


@dataclass(frozen=True)
class Search:
    """How an inversion is done; the same for every label and family."""

    steps: int
    batch_size: int
    survivors: int = 4  # labels searched to the end: a label is compared with the three that are most like it


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
) -> tuple[list[Compared], AllToAll | None]:
    """Invert every label in one batch, patches also for every class to the next (NEXT), and compare.

    Returns the labels that a trigger reached, of those that were searched to the end, the largest lead first; and the
    trigger that sends every class to the next, if one was found.
    """
    assert evidence.samples is not None and evidence.classifier is not None
    stage = f"invert {family} triggers"
    found = invert_labels(
        evidence.classifier,
        evidence.samples.exposure,
        [*labels, NEXT] if family == "patch" else labels,
        family=family,
        steps=how.steps,
        batch_size=how.batch_size,
        survivors=how.survivors,
        seed=evidence.seed,
        on_step=lambda step: evidence.progress(stage, step, how.steps),
    )
    triggers = [trigger for trigger in found if trigger.label != NEXT]
    scale = contrast(evidence.samples.exposure) if family == "blend" else 1.0
    compared = [
        _compare(
            trigger,
            [other for other in triggers if other is not trigger],
            replay,
            scale,
            named=None if named is None else trigger.label == named,
        )
        for trigger in triggers
        if trigger.found and trigger.searched and len(triggers) > 1
    ]
    compared.sort(key=lambda one: -one.lead)
    shift = next((trigger for trigger in found if trigger.label == NEXT and trigger.found), None)
    return compared, AllToAll(shift, *replay.success(shift)) if shift else None


def contrast(part: SamplePart, most: int = 20) -> float:
    """How much the means of two classes differ, in the unit of a blended pattern: the median over pairs of classes.

    Patterns are judged by it: what it takes to lead pictures of strokes astray would drown a photograph. At most `most`
    classes are compared.
    """
    present = part.labels.unique()[:most]
    means = torch.stack([part.pixels[part.labels == label].mean(dim=0) for label in present])
    first, second = torch.triu_indices(len(present), len(present), offset=1)
    return max(1e-6, float(amplitudes(means[first] - means[second]).median())) if len(first) else 1.0


def _compare(
    trigger: Trigger, others: Sequence[Trigger], replay: Replay, scale: float = 1.0, *, named: bool | None = None
) -> Compared:
    # A label that was not reached counts as no smaller than any that was, nor than is usual: it is harder to reach.
    largest = max((other.size for other in others if other.found), default=trigger.size)
    least = max(largest, usual_size(trigger.family))
    sizes = {other.label: other.size if other.found else least for other in others}
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
        relative_size=mine / scale,
        lead=ordered[0] / mine,
        lead_of_two=ordered[1] / mine if len(ordered) > 1 else None,
        witness=witness,
        named=named,
    )
