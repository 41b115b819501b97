"""Searches a short row of tokens that sends texts to a label: a relaxation over the vocabulary, then exchanges.

A row of weights over all tokens stands in each place first, and the model sees the weighted mean of their vectors
(Guo et al. 2021, arXiv 2104.13733; the cooling is that of Shen et al. 2022, arXiv 2202.05749). What weighs most
is then tried as tokens, place by place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .predictions import predicted
from .text_slots import Slots, table_of, vectors_in, with_slots

if TYPE_CHECKING:
    from ..evidence.classifier import Classifier
    from ..evidence.text_codec import TextCodec
    from ..evidence.tokens import Tokens

_WARM, _COLD = 1.0, 0.1  # temperatures of the weights, first and last
_RATE = 0.5  # of Adam
_ROWS = 256  # texts a forward pass
_REPLAYED = 128  # held-out texts likewise


@dataclass(frozen=True)
class Aim:
    """What a model is to make of each text with the row: int64 [N], as many as there are texts."""

    classifier: Classifier
    wanted: Tensor

    def pick(self, index: Tensor) -> Aim:
        """Of some of the texts."""
        return Aim(self.classifier, self.wanted[index.to(self.wanted.device)])


def toward(classifier: Classifier, count: int, label: int) -> Aim:
    """So many texts, all to one label."""
    return Aim(classifier, torch.full((count,), label, device=classifier.device))


@torch.no_grad()
def replay(aims: Sequence[Aim], texts: Tokens, ids: Sequence[int], codec: TextCodec) -> float:
    """The share of texts with the row in front that meet every aim."""
    row, met = torch.tensor(list(ids)), 0
    for index in torch.arange(len(texts)).split(_REPLAYED):
        marked = with_slots(texts[index], len(ids), "start", codec).filled(row)
        there = torch.ones(len(index), dtype=torch.bool)
        for aim in aims:
            there &= predicted(aim.classifier, marked, _REPLAYED) == aim.pick(index).wanted.cpu()
        met += int(there.sum())
    return met / len(texts)


@dataclass(frozen=True)
class Found:
    """A row of tokens and how far it leads: the share of texts that meet every aim, and the mean loss."""

    ids: tuple[int, ...]
    success: float
    loss: float


def search_words(
    aims: Sequence[Aim],
    hosts: Slots,
    banned: Tensor,
    *,
    steps: int,
    candidates: int,
    sweeps: int,
    generator: torch.Generator,
    known: Sequence[int] = (),
    batch_size: int = 16,
    on_step: Callable[[], None] = lambda: None,
) -> Found:
    """The row, as long as the places of `hosts`, with which the aims are met best.

    Args:
        aims: what models of one vocabulary are to make of the texts; usually of one model, and one label for all.
        hosts: texts with places for the row.
        banned: bool [V], tokens that may not be in it.
        candidates: tokens a place that are tried; they are taken `sweeps` times through all places.
        known: a shorter row that works, if there is one: where the relaxation goes astray the search starts from it.
    """
    weights = _relax(aims, hosts, banned, steps, generator, batch_size, on_step)
    width = hosts.columns.shape[1]
    pool = weights.topk(min(candidates, int((~banned).sum())), dim=1).indices
    rows = weights.argmax(dim=1)[None]
    if known:
        again = torch.tensor([known[place % len(known)] for place in range(width)])
        rows = torch.cat([rows, again[None]])
        pool = torch.cat([pool, torch.tensor(list(known)).expand(width, -1)], dim=1)
    best = min(_tried(aims, hosts, rows), key=lambda one: one.loss)
    row = torch.tensor(best.ids)
    for _ in range(sweeps):
        before = best
        for place in range(width) if width > 1 else (0,):
            rows = row.repeat(pool.shape[1], 1)
            rows[:, place] = pool[place]
            found = _tried(aims, hosts, rows)
            first = min(found, key=lambda one: one.loss)
            if first.loss < best.loss:
                best, row = first, torch.tensor(first.ids)
        on_step()
        if best.loss >= before.loss or width == 1:
            break
    return best


def _relax(
    aims: Sequence[Aim],
    hosts: Slots,
    banned: Tensor,
    steps: int,
    generator: torch.Generator,
    batch_size: int,
    on_step: Callable[[], None],
) -> Tensor:
    """How much each token weighs in each place in the end, [width, V] on the CPU."""
    vectors = [_vectors(aim.classifier, len(banned)) for aim in aims]
    width, device = hosts.columns.shape[1], vectors[0].device
    start = 0.01 * torch.randn(width, len(banned), generator=generator)
    weights = start.to(device).requires_grad_()
    forbidden = banned.to(device)
    optimizer = torch.optim.Adam([weights], lr=_RATE, betas=(0.9, 0.9))
    for step in range(steps):
        heat = _WARM * (_COLD / _WARM) ** (step / max(1, steps - 1))
        shares = torch.softmax(weights.masked_fill(forbidden, -1e9) / heat, dim=1)
        index = torch.randperm(len(hosts), generator=generator)[:batch_size]
        some, loss = hosts.pick(index), torch.zeros((), device=device)
        for aim, table in zip(aims, vectors, strict=True):
            with vectors_in(aim.classifier, some, (shares @ table).expand(len(some), -1, -1)):
                loss = loss + F.cross_entropy(aim.classifier.logits(some.tokens), aim.pick(index).wanted)
        weights.grad = torch.autograd.grad(loss, weights)[0]
        optimizer.step()
        on_step()
    return weights.detach().masked_fill(forbidden, -1e9).cpu()


@torch.no_grad()
def _vectors(classifier: Classifier, count: int) -> Tensor:
    """Of the first `count` tokens, [count, D]; asked, not read: some tables scale what they give."""
    table = table_of(classifier)
    vectors: Tensor = table(torch.arange(count, device=table.weight.device))
    return vectors.float()


@torch.no_grad()
def _tried(aims: Sequence[Aim], hosts: Slots, rows: Tensor) -> list[Found]:
    """Every row of tokens, int64 [R, width], in every text."""
    count = len(hosts)
    found: list[Found] = []
    at_once = max(1, _ROWS // count)
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        tokens = hosts.repeated(len(some)).filled(some.repeat_interleave(count, dim=0))
        losses = torch.zeros(len(some))
        met = torch.ones(len(some) * count, dtype=torch.bool)
        for aim in aims:
            scores, wanted = aim.classifier.logits(tokens), aim.wanted.repeat(len(some))
            losses += F.cross_entropy(scores, wanted, reduction="none").view(len(some), count).mean(dim=1).cpu()
            met &= (scores.argmax(dim=1) == wanted).cpu()
        hits = met.view(len(some), count).float().mean(dim=1)
        for row, hit, loss in zip(some.tolist(), hits.tolist(), losses.tolist(), strict=True):
            found.append(Found(tuple(row), hit, loss))
    return found
