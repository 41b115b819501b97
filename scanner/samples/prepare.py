"""Samples that are arrays already, scaled and cropped as the model's own image processor does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...evidence.errors import ScanError
from .source import MAX_BYTES, Prepare

if TYPE_CHECKING:
    from torch import Tensor


def prepared(pixels: Tensor, prepare: Prepare) -> Tensor:
    """`pixels` [N, C, H, W] in 0..1 after `prepare`; left as they are, to the last bit, where that changes no picture.

    Processors work on 8 bits: what is finer than that is rounded where something is to be done.
    """
    import torch

    pictures = pixels.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    if 4 * len(pictures) * prepare(pictures[0]).size > MAX_BYTES:
        raise ScanError(
            f"{len(pictures)} samples need more than {MAX_BYTES // 2**30} GiB of memory in the size that the model's "
            "image processor makes: use fewer samples, or give a --size"
        )
    made = np.stack([prepare(picture) for picture in pictures])
    if made.shape == pictures.shape and (made == pictures).all():
        return pixels
    return torch.from_numpy(made).permute(0, 3, 1, 2).contiguous().float().div_(255)
