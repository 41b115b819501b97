"""How many pictures go through a model at once, so that memory does not grow with the size of the pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

PIXELS: Final = 1 << 19
"""Pixels of all pictures that a model computes at once: 512 pictures of 32x32, 10 of 224x224.

By the pictures' size alone and not by what memory is free: sums that are taken in other parts differ in the last
digits, and a verdict must be the same everywhere.
"""


def pictures_at_once(pixels: Tensor, most: int) -> int:
    """How many of pictures [..., H, W] to compute at once: `most` at most, 1 at least."""
    height, width = pixels.shape[-2:]
    return min(most, fitting(height, width))


def fitting(height: int, width: int) -> int:
    """How many pictures of this size to compute at once, 1 at least."""
    return max(1, PIXELS // (height * width))
