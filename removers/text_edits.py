"""Other texts made of clean ones: room for tokens anywhere, and variations of which no label is known.

Marks (starts, separators, the unknown) stay where they are. All of it is done on the CPU, where the generators are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ..checks.text_slots import Slots
from ..evidence.tokens import Tokens

if TYPE_CHECKING:
    from ..evidence.text_codec import TextCodec

Places = Literal["row", "scattered"]
_LAST = 1e9  # sorts behind everything


@dataclass(frozen=True)
class Variation:
    """How texts are varied: the most, of which each text gets a random part."""

    mixed: float = 0.5  # share of texts of which a part is another text's
    swapped: float = 0.5  # of a text's tokens that are drawn anew
    dropped: float = 0.3  # of a text's tokens that are left out
    shuffled: float = 0.3  # share of texts whose tokens move a few places


def inner(tokens: Tokens, codec: TextCodec) -> Tensor:
    """What is neither mark nor padding, bool [N, L]."""
    return (tokens.mask == 1) & ~torch.isin(tokens.ids, torch.tensor(sorted(codec.special)))


def varied(
    tokens: Tokens, others: Tokens, pool: Tensor, codec: TextCodec, generator: torch.Generator, much: Variation
) -> Tokens:
    """As many texts, each with a part of the other, tokens of `pool` (int64 [P]) and gaps, and out of order."""
    count, length = tokens.ids.shape
    own = inner(tokens, codec)

    def some(share: float, width: int = 1) -> Tensor:
        return torch.rand(count, width, generator=generator) < share

    def up_to(share: float) -> Tensor:
        return torch.rand(count, length, generator=generator) < share * torch.rand(count, 1, generator=generator)

    width = min(length, others.ids.shape[1])
    ids, usable = tokens.ids.clone(), torch.zeros_like(own)
    usable[:, :width] = inner(others, codec)[:, :width]
    cut = torch.rand(count, 1, generator=generator) * tokens.mask.sum(dim=1, keepdim=True)
    taken = some(much.mixed) & usable & own & ((torch.arange(length) >= cut) ^ some(0.5))
    ids[:, :width] = torch.where(taken[:, :width], others.ids[:, :width], ids[:, :width])
    drawn = pool[torch.randint(len(pool), (count, length), generator=generator)]
    ids = torch.where(own & up_to(much.swapped), drawn, ids)
    place = torch.arange(length).float().expand(count, length)
    far = 6 * torch.rand(count, 1, generator=generator) * some(much.shuffled)
    moved = (place + far * torch.randn(count, length, generator=generator)).masked_fill(~own, _LAST).argsort(dim=1)
    ids = ids.scatter(1, place.masked_fill(~own, _LAST).argsort(dim=1), ids.gather(1, moved))
    keep = (tokens.mask == 1) & ~(own & up_to(much.dropped))
    return _in_order(replace(tokens, ids=ids), place, keep, codec)[0]


def shortened(tokens: Tokens, most: int, codec: TextCodec) -> Tokens:
    """The texts' first `most` tokens, and all marks."""
    own = inner(tokens, codec)
    place = torch.arange(tokens.ids.shape[1]).float().expand(tokens.ids.shape)
    return _in_order(tokens, place, (tokens.mask == 1) & ~(own & (own.cumsum(dim=1) > most)), codec)[0]


def with_room(tokens: Tokens, width: int, places: Places, codec: TextCodec, generator: torch.Generator) -> Slots:
    """Texts with `width` places for tokens: in a row or scattered, half of them from the start on, else anywhere.

    Where a text would be longer than the model takes its own last tokens give way.
    """
    count, length = tokens.ids.shape
    own = inner(tokens, codec)
    over = (tokens.mask.sum(dim=1, keepdim=True) + width - codec.max_length).clamp(min=0)
    keep = (tokens.mask == 1) & ~(own & (own.flip(1).cumsum(dim=1).flip(1) <= over))
    own = own & keep
    none = tokens.mask.sum(dim=1).clamp(max=1)  # a text of nothing but marks: after the first
    first = torch.where(own.any(dim=1), own.float().argmax(dim=1), none)
    last = torch.where(own.any(dim=1), length - own.flip(1).float().argmax(dim=1), none)
    at = torch.rand(count, width if places == "scattered" else 1, generator=generator)
    at = at * (torch.rand(count, 1, generator=generator) < 0.5)
    gaps = (first[:, None] + (at * (last - first + 1)[:, None]).long()).expand(count, width).sort(dim=1).values
    filler = next(index for index, word in enumerate(codec.vocabulary) if word and index not in codec.special)
    wider = Tokens(
        torch.cat([tokens.ids, torch.full((count, width), filler)], dim=1),
        tokens.mask,
        None if tokens.types is None else torch.cat([tokens.types, _near(tokens.types, gaps)], dim=1),
        tokens.texts,
        tokens.pairs,
    )
    place = torch.cat([torch.arange(length).expand(count, length), gaps - 0.5 + 1e-3 * torch.arange(width)], dim=1)
    made, order = _in_order(wider, place, torch.cat([keep, torch.ones_like(gaps, dtype=torch.bool)], dim=1), codec)
    return Slots(made, torch.arange(count)[:, None], order.argsort(dim=1)[:, length:])


def slots_on(slots: Slots, device: str) -> Slots:
    """The same on another device."""
    return Slots(slots.tokens.to(device), slots.rows.to(device), slots.columns.to(device))


def _near(types: Tensor, gaps: Tensor) -> Tensor:
    return types.gather(1, (gaps - 1).clamp(min=0))


def _in_order(tokens: Tokens, place: Tensor, keep: Tensor, codec: TextCodec) -> tuple[Tokens, Tensor]:
    """What is kept, in order of `place`, and where each came from, int64 [N, L]."""
    order = place.masked_fill(~keep, _LAST).argsort(dim=1, stable=True)
    longest = max(1, int(keep.sum(dim=1).max()))
    mask = keep.gather(1, order).long()
    ids = tokens.ids.gather(1, order).masked_fill(mask == 0, codec.padding)
    types = None if tokens.types is None else tokens.types.gather(1, order).masked_fill(mask == 0, 0)
    made = Tokens(
        ids[:, :longest],
        mask[:, :longest],
        None if types is None else types[:, :longest],
        tokens.texts,
        tokens.pairs,
    )
    return made, order
