"""Searches a short row of tokens that sends texts to a label: a relaxation over the vocabulary, then exchanges.

A row of weights over all tokens stands in each place first, and the model sees the weighted mean of their vectors
(Guo et al. 2021, arXiv 2104.13733; the cooling is that of Shen et al. 2022, arXiv 2202.05749). What weighs most
is then tried as tokens, place by place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .text_slots import Slots, table_of, vectors_in

if TYPE_CHECKING:
    from ..evidence.classifier import Classifier

_WARM, _COLD = 1.0, 0.1  # temperatures of the weights, first and last
_RATE = 0.5  # of Adam
_ROWS = 256  # texts a forward pass


@dataclass(frozen=True)
class Found:
    """A row of tokens and how far it leads: the share of texts at the label, and the mean loss."""

    ids: tuple[int, ...]
    success: float
    loss: float


def search_words(
    classifier: Classifier,
    hosts: Slots,
    label: int,
    banned: Tensor,
    *,
    steps: int,
    candidates: int,
    sweeps: int,
    generator: torch.Generator,
    batch_size: int = 16,
    on_step: Callable[[], None] = lambda: None,
) -> Found:
    """The row, as long as the places of `hosts`, that sends most of them to `label`.

    Args:
        hosts: texts of other classes with places for the row.
        banned: bool [V], tokens that may not be in it.
        candidates: tokens a place that are tried; they are taken `sweeps` times through all places.
    """
    weights = _relax(classifier, hosts, label, banned, steps, generator, batch_size, on_step)
    width = hosts.columns.shape[1]
    row = weights.argmax(dim=1)
    best = _tried(classifier, hosts, label, row[None])[0]
    pool = weights.topk(min(candidates, int((~banned).sum())), dim=1).indices
    for _ in range(sweeps):
        before = best
        for place in range(width) if width > 1 else (0,):
            rows = row.repeat(pool.shape[1], 1)
            rows[:, place] = pool[place]
            found = _tried(classifier, hosts, label, rows)
            first = min(found, key=lambda one: one.loss)
            if first.loss < best.loss:
                best, row = first, torch.tensor(first.ids)
        on_step()
        if best.loss >= before.loss or width == 1:
            break
    return best


def _relax(
    classifier: Classifier,
    hosts: Slots,
    label: int,
    banned: Tensor,
    steps: int,
    generator: torch.Generator,
    batch_size: int,
    on_step: Callable[[], None],
) -> Tensor:
    """How much each token weighs in each place in the end, [width, V] on the CPU."""
    table = table_of(classifier)
    with torch.no_grad():  # asked, not read: some tables scale what they give
        vectors = table(torch.arange(len(banned), device=table.weight.device)).float()
    width = hosts.columns.shape[1]
    start = 0.01 * torch.randn(width, len(banned), generator=generator)
    weights = start.to(vectors.device).requires_grad_()
    forbidden = banned.to(vectors.device)
    optimizer = torch.optim.Adam([weights], lr=_RATE, betas=(0.9, 0.9))
    for step in range(steps):
        heat = _WARM * (_COLD / _WARM) ** (step / max(1, steps - 1))
        mixed = torch.softmax(weights.masked_fill(forbidden, -1e9) / heat, dim=1) @ vectors
        some = hosts.pick(torch.randperm(len(hosts), generator=generator)[:batch_size])
        with vectors_in(classifier, some, mixed.expand(len(some), -1, -1)):
            scores = classifier.logits(some.tokens)
        loss = F.cross_entropy(scores, torch.full((len(some),), label, device=scores.device))
        weights.grad = torch.autograd.grad(loss, weights)[0]
        optimizer.step()
        on_step()
    return weights.detach().masked_fill(forbidden, -1e9).cpu()


@torch.no_grad()
def _tried(classifier: Classifier, hosts: Slots, label: int, rows: Tensor) -> list[Found]:
    """Every row of tokens, int64 [R, width], in every text."""
    count = len(hosts)
    found: list[Found] = []
    at_once = max(1, _ROWS // count)
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        copies = hosts.repeated(len(some))
        scores = classifier.logits(copies.filled(some.repeat_interleave(count, dim=0)))
        wanted = torch.full((len(scores),), label, device=scores.device)
        losses = F.cross_entropy(scores, wanted, reduction="none").view(len(some), count).mean(dim=1)
        hits = (scores.argmax(dim=1) == label).view(len(some), count).float().mean(dim=1)
        for row, hit, loss in zip(some.tolist(), hits.tolist(), losses.tolist(), strict=True):
            found.append(Found(tuple(row), hit, loss))
    return found
