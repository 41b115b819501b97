"""Trigger words of a text classifier: the few words that send most held-out texts to each label.

For each label rows of one word and more are searched on the exposure part (`word_search`), among all words and among
those that do not stand for the label by themselves (`word_polarity`), and replayed on held-out texts, in front of
them. A backdoor's label is reached by its trigger far more often than any other label is by the strongest natural words
of the task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..evidence.classifier import Classifier
from ..evidence.context import Evidence
from ..evidence.samples import SamplePart
from ..evidence.text_codec import TextCodec
from ..evidence.tokens import Tokens
from .predictions import predicted
from .text_slots import with_slots
from .word_polarity import neutral
from .word_search import replay, search_words, toward

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("any 1", "any 2", "neutral 1", "neutral 2")  # which words, and how many in a row
HOSTS = 24  # texts that a row is searched on
VICTIMS = 200  # held-out texts that it is replayed on
BATCH = 128
CANDIDATES = {1: 48, 2: 12, 4: 12}
SWEEPS = 2


@dataclass(frozen=True)
class WordTrigger:
    """A row of words toward a label, replayed on held-out texts."""

    label: int
    kind: str  # one of KINDS
    words: str
    success: float  # share of `samples` that it sends to the label
    samples: int  # held-out texts of other classes that the model gets right without it
    ids: tuple[int, ...] = ()  # the tokens of `words`


def recover_words(evidence: Evidence, labels: Sequence[int], steps: int) -> list[WordTrigger]:
    """One trigger a label and kind, in order of the labels."""
    assert evidence.samples is not None and evidence.classifier is not None
    classifier, codec = evidence.classifier, evidence.classifier.codec
    assert codec is not None
    banned = ~writable(codec)
    mild = neutral(classifier, evidence.samples.exposure, codec, evidence.samples.num_classes)
    exposure = right_ones(classifier, evidence.samples.exposure)
    held_out = right_ones(classifier, evidence.samples.held_out)
    on_step, at_end = steps_told(evidence, "search trigger words", len(labels) * len(KINDS) * (steps + SWEEPS))
    found: list[WordTrigger] = []
    for label in labels:
        hosts = _short(exposure.tokens[exposure.labels != label], HOSTS, evidence.seed + label)
        victims = held_out.tokens[(held_out.labels != label).nonzero().flatten()[:VICTIMS]]
        known: dict[str, tuple[int, ...]] = {}  # the row before, of either sort of words
        for kind in KINDS if len(hosts) and len(victims) else ():
            which, width = kind.split()[0], int(kind.split()[1])
            generator = torch.Generator().manual_seed(1000 * evidence.seed + 10 * label + width)
            forbidden = banned | ~mild[:, label] if which == "neutral" else banned
            if bool(forbidden.all()):
                continue
            slots = with_slots(hosts.to(classifier.device), width, "start", codec)
            best = search_words(
                [toward(classifier, len(hosts), label)],
                slots,
                forbidden,
                steps=steps,
                candidates=CANDIDATES[width],
                sweeps=SWEEPS,
                generator=generator,
                known=known.get(which, ()),
                on_step=on_step,
            )
            known[which] = best.ids
            success = replay([toward(classifier, len(victims), label)], victims, best.ids, codec)
            found.append(WordTrigger(label, kind, codec.decode(best.ids), success, len(victims), tuple(best.ids)))
    at_end()
    return found


def steps_told(evidence: Evidence, stage: str, total: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """What to call at every step of a search of at most `total`, and at its end."""
    done = 0

    def on_step() -> None:
        nonlocal done
        done += 1
        evidence.progress(stage, min(done, total), total)

    return on_step, lambda: evidence.progress(stage, total, total)


def writable(codec: TextCodec) -> Tensor:
    """Tokens that a person can write as a word of their own, bool [V]."""
    context, words = "the", [codec.decode([index]) for index in range(len(codec.vocabulary))]
    before = codec.encode([context])
    start = [index for index in before.ids[0].tolist() if index not in codec.special]
    good = torch.zeros(len(words), dtype=torch.bool)
    for first in range(0, len(words), 4096):
        some = words[first : first + 4096]
        made = codec.encode([f"{context} {word}" for word in some])
        for offset, row in enumerate(made.ids.tolist()):
            real = [index for index in row if index not in codec.special]
            good[first + offset] = bool(some[offset]) and real == [*start, first + offset]
    return good


def right_ones(classifier: Classifier, part: SamplePart) -> SamplePart:
    """The texts that the model gets right."""
    right = (predicted(classifier, part.tokens, BATCH) == part.labels).nonzero().flatten()
    return SamplePart(part.tokens[right], part.labels[right])


def _short(tokens: Tokens, count: int, seed: int) -> Tokens:
    """`count` of the shorter two thirds: longer ones cost more and say the same."""
    order = tokens.mask.sum(dim=1).argsort(stable=True)[: max(count, 2 * len(tokens) // 3)]
    generator = torch.Generator().manual_seed(seed)
    return tokens[order[torch.randperm(len(order), generator=generator)[:count]]]
