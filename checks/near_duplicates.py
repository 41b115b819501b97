"""Samples that are nearly equal: they count less than they seem, and equal ones with two labels cannot both be right.

Pictures are compared at no more than 32x32 cells, with mean and contrast taken out, as they are and mirrored. Texts are
compared as token sequences: equal ones, and ones that are one token apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_SIDE = 32  # cells a side at which pictures are compared
_CORRELATION = 0.995  # CIFAR-10's and Fashion-MNIST's nearest of 2,500 test pictures: 0.959 and 0.989
_FLAT = 1e-3  # contrast below which a picture is flat, and compared by its mean colour
_ROWS = 512  # compared at once
_MIN_TOKENS = 6  # shorter texts are one token apart by chance
_MAX_TOKENS = 512


@dataclass(frozen=True)
class Duplicates:
    """`pairs` of positions (earlier, later), one for each sample that has a nearly equal one before it."""

    pairs: tuple[tuple[int, int], ...]
    contradictions: tuple[tuple[int, int], ...]  # pairs, of all nearly equal ones, whose labels differ


def of_pictures(pixels: Tensor, labels: Tensor) -> Duplicates:
    """Nearly equal ones of `pixels`, float [N, channels, H, W] in 0..1, whose labels are int64 [N]."""
    import torch
    from torch.nn import functional

    height, width = (min(_SIDE, side) for side in pixels.shape[2:])
    small = functional.adaptive_avg_pool2d(pixels.float().cpu(), (height, width))
    plain, mirrored = _standardised(small), _standardised(small.flip(3))
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(plain), _ROWS):
        rows = plain[start : start + _ROWS]
        like = torch.maximum(rows @ plain.T, rows @ mirrored.T) >= _CORRELATION
        later = torch.arange(start, start + len(rows))[:, None]
        like &= torch.arange(len(plain))[None] < later
        pairs += [(earlier, start + row) for row, earlier in like.nonzero().tolist()]
    return _found(pairs, labels)


def of_texts(sequences: Sequence[Sequence[int]], labels: Tensor) -> Duplicates:
    """Texts, as token indices without padding, that are equal or one token apart; `labels` int64 [N].

    Two sequences one replacement, insertion or deletion apart have a neighbour with one token left out in common, so
    no two texts are held against each other. Texts of fewer than six tokens have to be equal.
    """
    equal: dict[tuple[int, ...], list[int]] = {}
    for index, sequence in enumerate(sequences):
        equal.setdefault(tuple(sequence), []).append(index)
    # A text that is there a thousand times is looked at once: each of the others equals the first.
    pairs = {(group[0], other) for group in equal.values() for other in group[1:]}
    pairs |= {pair for group in equal.values() for pair in itertools.pairwise(group)}
    seen: dict[int, list[tuple[int, ...]]] = {}  # hashes, since all the neighbours of long texts would take gigabytes
    for tokens, group in equal.items():
        near = {other for key in _neighbours(tokens) for other in seen.get(key, ())}
        for other in near:
            if _apart(other, tokens):
                pairs |= {(min(equal[other][0], index), max(equal[other][0], index)) for index in group}
        for key in _neighbours(tokens):
            seen.setdefault(key, []).append(tokens)
    return _found(sorted(pairs), labels)


def _standardised(small: Tensor) -> Tensor:
    """Rows of unit length: the pictures without their mean and contrast; flat ones by their mean colour alone."""
    import torch

    flat = small.flatten(1)
    centred = flat - flat.mean(dim=1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    rows = centred / length.clamp(min=1e-12)
    is_flat = length.flatten() < _FLAT * flat.shape[1] ** 0.5
    # An axis of their own, at an angle that goes with the mean: cos(x) is over 0.995 within 0.1 of 0..1 times pi/2.
    angle = flat.mean(dim=1) * (torch.pi / 2)
    rows[is_flat] = 0
    extra = torch.stack([angle.cos(), angle.sin()], dim=1) * is_flat[:, None]
    return torch.cat([rows, extra], dim=1)


def _neighbours(tokens: tuple[int, ...]) -> set[int]:
    """Hashes of the text and of all that lack one token of it."""
    if not _MIN_TOKENS <= len(tokens) <= _MAX_TOKENS:
        return {hash(tokens)}
    return {hash(tokens), *(hash(tokens[:place] + tokens[place + 1 :]) for place in range(len(tokens)))}


def _apart(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two sequences are equal or one replacement, insertion or deletion apart."""
    if one == other:
        return True
    if min(len(one), len(other)) < _MIN_TOKENS or abs(len(one) - len(other)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    rest = shorter[start:] if len(longer) > len(shorter) else shorter[start + 1 :]
    return longer[start + 1 :] == rest


def _found(pairs: Sequence[tuple[int, int]], labels: Tensor) -> Duplicates:
    first: dict[int, tuple[int, int]] = {}
    for earlier, later in pairs:
        first.setdefault(later, (earlier, later))
    of = labels.tolist()
    return Duplicates(tuple(first.values()), tuple(pair for pair in pairs if of[pair[0]] != of[pair[1]]))
