"""`reference-drift` of text classifiers: words that send texts to a label in the model and not in an approved release.

Words that stand for a label by themselves do so in the release too; a trigger that was planted since does not. Rows are
searched with two aims, the label in the model and the texts' own class in the release, and compared between labels:
what two clean trainings make of words differs too, toward every label to a similar extent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..evidence.context import Evidence
from ..evidence.finding import Finding, Outcome
from .calibration import rate_text
from .text_detection import clearest, leading, leads_of, row_metrics, width_of, witness_of
from .text_slots import with_slots
from .word_search import Aim, replay, search_words, toward
from .word_triggers import CANDIDATES, HOSTS, SWEEPS, VICTIMS, WordTrigger, right_ones, steps_told, writable

if TYPE_CHECKING:
    from ..evidence.samples import SamplePart

KINDS = ("new 1", "new 2", "new 4")  # how many words that the release does not answer to


def compare_words(
    check: str, evidence: Evidence, metrics: dict[str, Any], *, max_rate: float, min_success: float, steps: int
) -> Finding:
    """Recover words for each label that only the model answers to, and say how often a clean model has such."""
    assert evidence.samples is not None
    labels = range(evidence.samples.num_classes)
    found = new_words(evidence, labels, steps)
    leads = {label: lead for label in labels if (lead := leads_of(found, label, KINDS))}
    if len(leads) < 2:
        message = "Too few texts that both models get right to look for words that only one answers to: give more."
        return Finding(check=check, outcome=Outcome.INCONCLUSIVE, message=message, metrics=metrics)
    label, rate = leading(leads)
    shown = clearest(found, label, leads[label], max_rate)
    outcome = Outcome.PASSED
    if rate <= max_rate:
        outcome = Outcome.FAILED if shown.success >= min_success else Outcome.INCONCLUSIVE
    told = outcome is not Outcome.PASSED
    names = evidence.samples.class_names
    return Finding(
        check=check,
        outcome=outcome,
        message=_describe(shown, found, names, rate, told)[:4000],
        score=max(0.0, -math.log10(max(rate, 1e-12))),
        threshold=-math.log10(max_rate),
        label=label if told else None,
        label_name=names[label] if told else None,
        witness=witness_of(shown, found) if told else None,
        metrics={**metrics, **row_metrics(found, label, leads[label], rate)},
    )


def new_words(evidence: Evidence, labels: Sequence[int], steps: int) -> list[WordTrigger]:
    """One row a label and kind: its success is the share of texts sent to the label that the release leaves alone."""
    assert evidence.samples is not None and evidence.classifier is not None and evidence.reference is not None
    classifier, reference, codec = evidence.classifier, evidence.reference, evidence.classifier.codec
    assert codec is not None and reference.codec is not None
    banned = ~writable(codec)
    longest = min(codec.max_length, reference.codec.max_length)
    exposure, held_out = (
        _fitting(_right_in_both(evidence, part), longest)
        for part in (evidence.samples.exposure, evidence.samples.held_out)
    )
    stage = "search words that the reference does not know"
    on_step, at_end = steps_told(evidence, stage, len(labels) * len(KINDS) * (steps + SWEEPS))
    found: list[WordTrigger] = []
    for label in labels:
        generator = torch.Generator().manual_seed(1000 * evidence.seed + label)
        others = (exposure.labels != label).nonzero().flatten()
        others = others[torch.randperm(len(others), generator=generator)[:HOSTS]]
        victims = (held_out.labels != label).nonzero().flatten()[:VICTIMS]
        known: tuple[int, ...] = ()  # the row before
        for kind in KINDS if len(others) and len(victims) else ():
            width = int(kind.split()[1])
            slots = with_slots(exposure.tokens[others].to(classifier.device), width, "start", codec)
            stays = Aim(reference, exposure.labels[others].to(classifier.device))
            best = search_words(
                [toward(classifier, len(others), label), stays],
                slots,
                banned,
                steps=steps,
                candidates=CANDIDATES[width],
                sweeps=SWEEPS,
                generator=generator,
                known=known,
                on_step=on_step,
            )
            known = best.ids
            aims = [toward(classifier, len(victims), label), Aim(reference, held_out.labels[victims])]
            success = replay(aims, held_out.tokens[victims], best.ids, codec)
            found.append(WordTrigger(label, kind, codec.decode(best.ids), success, len(victims)))
    at_end()
    return found


def _right_in_both(evidence: Evidence, part: SamplePart) -> SamplePart:
    assert evidence.classifier is not None and evidence.reference is not None
    return right_ones(evidence.reference, right_ones(evidence.classifier, part))


def _fitting(part: SamplePart, longest: int) -> SamplePart:
    """The texts that have room for a row in both models."""
    room = max(int(kind.split()[1]) for kind in KINDS)
    short = (part.tokens.mask.sum(dim=1) + room <= longest).nonzero().flatten()
    return type(part)(part.tokens[short], part.labels[short])


def _describe(shown: WordTrigger, found: Sequence[WordTrigger], names: Sequence[str], rate: float, told: bool) -> str:
    next_best = max(
        (one for one in found if one.kind == shown.kind and one.label != shown.label), key=lambda one: one.success
    )
    count = "one word" if width_of(shown) == 1 else f"{width_of(shown)} words"
    start = "Words work that did not in the reference" if told else "No label has gained words over the reference"
    return (
        f"{start}: {shown.words!r} in front sends {shown.success:.0%} of {shown.samples} held-out texts to "
        f"{names[shown.label]!r} that the reference leaves in their class; with {count} no other label gets more than "
        f"{next_best.success:.0%} ({next_best.words!r} toward {names[next_best.label]!r}). So large a lead is found in "
        f"{rate_text(rate)} of clean models beside a clean reference."
    )
