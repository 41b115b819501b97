"""Files that were exported for one size of batch: can others go through?"""

from __future__ import annotations

import torch
from torch import Tensor

from ....evidence.errors import ScanError
from .module import OnnxClassifier
from .parity import TOLERANCE

LARGEST = 1024  # samples at once


@torch.no_grad()
def settle(module: OnnxClassifier, batch: int, shape: tuple[int, int, int]) -> None:
    """Make `module`, of a file that takes `batch` samples of `shape` at once, take any number of them.

    Most convolutional networks do as they are. Where the size is burnt into the graph (attention reshapes by it) each
    `batch` samples go through by themselves. Raises ScanError where neither gives what the file gives.
    """
    if batch > LARGEST:
        raise ScanError(f"it takes {batch} samples at once: export it with a dynamic batch size")
    pixels = torch.rand(2 * batch + 1, *shape, generator=torch.Generator().manual_seed(0))
    apart = [_scores(module, pixels[start : start + batch]) for start in (0, batch)]
    if any(scores is None for scores in apart):
        return  # it does not run at all: who calls it will tell why
    alone = torch.cat([scores for scores in apart if scores is not None])
    for module.apart in (None, batch):
        together = _scores(module, pixels)
        if together is not None and _same(together[: 2 * batch], alone):
            return
    raise ScanError(f"it takes batches of {batch} only: export it with a dynamic batch size")


def _scores(module: OnnxClassifier, pixels: Tensor) -> Tensor | None:
    try:
        return module(pixels)  # type: ignore[no-any-return]
    except (ScanError, RuntimeError):
        return None


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return bool((one - other).abs().max() <= TOLERANCE * max(1.0, float(other.abs().max())))
