"""What every sample format offers: labels first, so that only the chosen samples are ever decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Labels = NDArray[np.int64]  # [N]
Indices = NDArray[np.int64]  # positions in Labels
Prepare = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]  # a picture [H, W] or [H, W, C] to [H, W, C]

MAX_CLASSES = 100_000  # a label beyond this is a mistake or an attack on our memory
MAX_BYTES = 4 * 2**30  # of the chosen samples as float32, and of an array that is read


class Source(Protocol):
    """Samples on disk, listed but not decoded."""

    labels: Labels
    names: dict[int, str]  # classes that the source names, which may be fewer or more than it has samples of

    def read(self, chosen: Indices) -> tuple[Tensor, str]:
        """Return the chosen samples, float32 [len(chosen), channels, H, W] in 0..1, and the SHA-256 of the source.

        Raises ScanError if a sample cannot be read.
        """
        ...

    def name(self, position: int) -> str:
        """Where the sample stands in the source, as its user would look it up."""
        ...


def listed(items: Iterable[object], limit: int = 4) -> str:
    """The first few of `items` as text, and how many more there are."""
    every = list(items)
    text = ", ".join(repr(item) for item in every[:limit])
    return text if len(every) <= limit else f"{text} and {len(every) - limit} more"
