"""Hands trigger words over with a few held-out texts that show what they do."""

from __future__ import annotations

import torch

from ..evidence.context import Evidence, forget
from ..evidence.recovered import MAX_TEXT, RecoveredWords, TextExample
from .recovered import one_a_class
from .text_slots import with_slots
from .word_triggers import BATCH, VICTIMS, WordTrigger, right_ones

SHOWN = 3


def keep_words(evidence: Evidence, trigger: WordTrigger) -> None:
    """Give `evidence.keep_words` the words, if it wants them and there are texts to show them on.

    One text a class, of those that the words move first, as with pictures.
    """
    if evidence.keep_words is forget or not trigger.ids:
        return
    assert evidence.samples is not None and evidence.classifier is not None
    classifier, codec = evidence.classifier, evidence.classifier.codec
    assert codec is not None
    right = right_ones(classifier, evidence.samples.held_out)
    others = (right.labels != trigger.label).nonzero().flatten()[:VICTIMS]
    if not len(others):
        return
    victims, labels = right.tokens[others], right.labels[others]
    seen = []
    with torch.no_grad():
        for start in range(0, len(victims), BATCH):
            slots = with_slots(victims[start : start + BATCH].to(classifier.device), len(trigger.ids), "start", codec)
            seen += classifier.logits(slots.filled(torch.tensor(trigger.ids))).argmax(dim=1).tolist()
    moved_first = sorted(range(len(seen)), key=lambda index: seen[index] != trigger.label)
    evidence.keep_words(
        RecoveredWords(
            label=trigger.label,
            words=trigger.words,
            examples=tuple(
                TextExample(
                    text=_text(victims.texts[index], victims.pairs[index] if victims.pairs else None),
                    true_label=int(labels[index]),
                    predicted_before=int(labels[index]),  # only texts that the model gets right
                    predicted_after=seen[index],
                )
                for index in one_a_class(moved_first, labels)[:SHOWN]
            ),
        )
    )


def _text(text: str, pair: str | None) -> str:
    whole = text if pair is None else f"{text} / {pair}"
    return whole if len(whole) <= MAX_TEXT else whole[: MAX_TEXT - 1] + "\N{HORIZONTAL ELLIPSIS}"
