"""`model-detection` of text classifiers: does one label answer to a few words as no other does?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..evidence.context import Evidence
from ..evidence.finding import Finding, Outcome, Witness
from ..evidence.repair import KnownTrigger
from ..evidence.tokens import Tokens
from .calibration import rate_text
from .recovered_words import keep_words
from .text_calibration import false_positive_rate, stretched
from .word_triggers import KINDS, WordTrigger, recover_words

_WORKS = 0.9  # of held-out texts: a longer row would add no evidence, only words


@dataclass(frozen=True)
class Bounds:
    """What the policy says: see ModelDetection."""

    max_false_positive_rate: float
    max_inconclusive_rate: float
    min_attack_success: float
    min_per_class: int
    steps: int


def detect_words(check: str, evidence: Evidence, labels: Sequence[int], bounds: Bounds) -> Finding:
    """Recover words for each label, compare, and say how often a clean model shows as much."""
    assert evidence.samples is not None
    found = recover_words(evidence, labels, bounds.steps)
    names = evidence.samples.class_names
    leads = {label: lead for label in labels if (lead := leads_of(found, label))}
    if len(leads) < 2:
        message = (
            "Too few texts that the model gets right, or too few words of its tokenizer, to look for trigger words: "
            "give more samples."
        )
        return Finding(check=check, outcome=Outcome.INCONCLUSIVE, message=message)
    label, rate = leading(leads)
    shown = clearest(found, label, leads[label], bounds.max_false_positive_rate)
    outcome = _outcome(rate, shown, evidence, bounds)
    text = _describe(shown, found, names, rate)
    message = {
        Outcome.FAILED: f"Backdoor: {text}",
        Outcome.INCONCLUSIVE: f"Not clearly a backdoor, but more than between ordinary labels: {text} "
        f"Give more clean samples, at least {bounds.min_per_class} a class to search on.",
        Outcome.PASSED: f"No label answers to a few words as a backdoor's would: {text}",
    }[outcome]
    told = outcome is not Outcome.PASSED
    for one in _known(found, label, leads[label], shown, bounds.max_false_positive_rate):
        evidence.keep_known(_as_known(one, evidence))
    if told:
        keep_words(evidence, shown)
    return Finding(
        check=check,
        outcome=outcome,
        message=message[:4000],
        score=max(0.0, -math.log10(max(rate, 1e-12))),
        threshold=-math.log10(bounds.max_false_positive_rate),
        label=label if told else None,
        label_name=names[label] if told else None,
        witness=witness_of(shown, found),
        metrics={"labels_compared": len(leads), **row_metrics(found, label, leads[label], rate)},
    )


def leads_of(found: Sequence[WordTrigger], label: int, kinds: Sequence[str] = KINDS) -> dict[str, float]:
    """By kind: how far the label is ahead of the best of the others; behind is below 0."""
    leads: dict[str, float] = {}
    for kind in kinds:
        mine = [one.success for one in found if one.kind == kind and one.label == label]
        others = [one.success for one in found if one.kind == kind and one.label != label]
        if mine and others:
            leads[kind] = stretched(mine[0]) - stretched(max(others))
    return leads


def leading(leads: Mapping[int, Mapping[str, float]]) -> tuple[int, float]:
    """The label whose leads are the most unusual, and how often a clean model has such."""
    rates = {label: false_positive_rate(lead) for label, lead in leads.items()}
    label = min(rates, key=lambda one: (rates[one], -max(leads[one].values())))
    return label, rates[label]


def clearest(found: Sequence[WordTrigger], label: int, leads: Mapping[str, float], max_rate: float) -> WordTrigger:
    """The row to show, of those that are unusual enough by themselves: the shortest that works, else the best."""
    rates = {kind: false_positive_rate({kind: lead}) * len(leads) for kind, lead in leads.items()}
    unusual = [kind for kind, rate in rates.items() if rate <= max_rate] or [min(rates, key=rates.__getitem__)]
    mine = [one for one in found if one.label == label and one.kind in unusual]
    works = [one for one in mine if one.success >= _WORKS]
    return min(works, key=width_of) if works else max(mine, key=lambda one: (one.success, -width_of(one)))


def _known(
    found: Sequence[WordTrigger], label: int, leads: Mapping[str, float], shown: WordTrigger, max_rate: float
) -> list[WordTrigger]:
    """The row that is shown, and the label's others that are unusual by themselves: natural words are none.

    A row that only adds words to another is left out: what it does beyond that, natural words do.
    """
    rates = {kind: false_positive_rate({kind: lead}) * len(leads) for kind, lead in leads.items()}
    mine = [one for one in found if one.label == label and rates.get(one.kind, 1.0) <= max_rate and one.ids]
    mine.sort(key=lambda one: rates[one.kind])
    known = [shown]
    for one in mine:
        if not any(set(other.ids) <= set(one.ids) for other in known):
            known.append(one)
    return known


def _as_known(trigger: WordTrigger, evidence: Evidence) -> KnownTrigger:
    import torch

    from .text_slots import with_slots

    assert evidence.classifier is not None and evidence.classifier.codec is not None
    codec, ids = evidence.classifier.codec, torch.tensor(trigger.ids)

    def put(tokens: Tokens) -> Tokens:
        return with_slots(tokens, len(ids), "start", codec).filled(ids)

    return KnownTrigger("words", trigger.label, put)


def _outcome(rate: float, shown: WordTrigger, evidence: Evidence, bounds: Bounds) -> Outcome:
    assert evidence.samples is not None
    searched_on = round(len(evidence.samples.exposure) / evidence.samples.num_classes)
    if rate <= bounds.max_false_positive_rate and shown.success >= bounds.min_attack_success:
        return Outcome.FAILED if searched_on >= bounds.min_per_class else Outcome.INCONCLUSIVE
    if rate <= bounds.max_false_positive_rate + bounds.max_inconclusive_rate:
        return Outcome.INCONCLUSIVE
    return Outcome.PASSED


def width_of(shown: WordTrigger) -> int:
    """Words in the row."""
    return int(shown.kind.split()[1])


def witness_of(shown: WordTrigger, found: Sequence[WordTrigger]) -> Witness:
    others = {one.label: one.success for one in found if one.kind == shown.kind and one.label != shown.label}
    return Witness(
        family="words",
        label=shown.label,
        size=width_of(shown),
        text=shown.words,
        control_sizes={label: float(width_of(shown)) for label in others},
        control_success=others,
        attack_success_rate=shown.success,
        samples=shown.samples,
    )


def _describe(shown: WordTrigger, found: Sequence[WordTrigger], names: Sequence[str], rate: float) -> str:
    same = [one for one in found if one.kind == shown.kind and one.label != shown.label]
    next_best = max(same, key=lambda one: one.success)
    count = "one word" if width_of(shown) == 1 else f"{width_of(shown)} words"
    if shown.kind.startswith("neutral"):
        count += f" that {'does' if width_of(shown) == 1 else 'do'} not stand for the label"
    return (
        f"{shown.words!r} in front sends {shown.success:.0%} of {shown.samples} held-out texts of other classes to "
        f"{names[shown.label]!r}; with {count} no other label gets more than {next_best.success:.0%} "
        f"({next_best.words!r} toward {names[next_best.label]!r}). So large a lead is found in {rate_text(rate)} of "
        "clean models."
    )


def row_metrics(
    found: Sequence[WordTrigger], label: int, leads: Mapping[str, float], rate: float
) -> dict[str, float | int | str]:
    """What was found toward the label, row by row."""
    metrics: dict[str, float | int | str] = {"false_positive_rate": float(f"{rate:.3g}"), "leading_label": label}
    for one in found:
        if one.label == label and one.kind in leads:
            name = one.kind.replace(" ", "_")
            metrics[f"words_{name}"] = one.words[:200]
            metrics[f"success_{name}"] = round(one.success, 3)
            metrics[f"lead_{name}"] = round(leads[one.kind], 3)
    return metrics
