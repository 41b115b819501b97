"""Tokens that send texts to a label by themselves, of those that the clean texts do not have.

A trigger that is one rare word, or the vector of one (Kurita et al. 2020, arXiv 2004.06660; Yang et al. 2021, arXiv
2103.15543), is the strongest of the whole vocabulary or nearly so. The strong words of the task are beside it, but few
texts need those that not one clean text has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..checks.text_slots import table_of
from .text_edits import inner, shortened, slots_on, with_room

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..evidence.classifier import Classifier
    from ..evidence.text_codec import TextCodec
    from ..evidence.tokens import Tokens

_LENGTH = 8  # tokens of the texts that each token is tried in
_TEXTS = 8  # at most so many
_AT_ONCE = 512


def words_of(codec: TextCodec) -> Tensor:
    """Tokens that mean something, int64."""
    return torch.tensor([i for i, word in enumerate(codec.vocabulary) if word and i not in codec.special])


@torch.no_grad()
def strong_tokens(
    classifier: Classifier,
    tokens: Tokens,
    predicted: Tensor,
    count: int,
    generator: torch.Generator,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """The `count` tokens, fewer in a small vocabulary, that raise each label's score most: int64 [C, count].

    Every token is put into a text of each predicted class, [N], and only those that are in none of `tokens` count.
    """
    codec = classifier.codec
    assert codec is not None
    words, classes = words_of(codec), classifier.num_classes
    hosts = [int((predicted == label).nonzero()[0]) for label in range(classes) if bool((predicted == label).any())]
    raised = torch.zeros(len(words), classes)
    parts = words.split(_AT_ONCE)
    for number, host in enumerate(hosts[:_TEXTS]):
        short = shortened(tokens[torch.tensor([host])], _LENGTH, codec)
        slots = with_room(short, 1, "row", codec, generator)
        before = classifier.logits(short.to(classifier.device))
        for step, part in enumerate(parts):
            filled = slots_on(slots, classifier.device).repeated(len(part)).filled(part[:, None])
            change = (classifier.logits(filled) - before).cpu()
            others = (change.sum(dim=1, keepdim=True) - change) / (classes - 1)
            raised[step * _AT_ONCE : step * _AT_ONCE + len(part)] += change - others
            on_step(number * len(parts) + step + 1, len(hosts[:_TEXTS]) * len(parts))
    unseen = ~torch.isin(words, tokens.ids[inner(tokens, codec)].unique())
    candidates, raised = words[unseen], raised[unseen]
    return candidates[raised.topk(min(count, len(candidates) // 4), dim=0).indices.T.contiguous()]


@torch.no_grad()
def reset_vectors(classifier: Classifier, ids: Tensor) -> None:
    """Give tokens the mean vector of all, in place."""
    assert classifier.codec is not None
    weight = table_of(classifier).weight
    weight[ids.to(weight.device)] = weight[words_of(classifier.codec).to(weight.device)].mean(dim=0)
