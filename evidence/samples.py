"""The clean samples that a scan is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .tokens import Tokens

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SamplePart:
    """`inputs`: pictures, float32 [N, channels, H, W] in 0..1, or N texts; `labels`: int64 [N].

    `names` say where each sample stands in its source, for a person who has to find it there: a file below the folder,
    `x[17]` in an array, `line 12` in a table. None at all where that is not known.
    """

    inputs: Tensor | Tokens
    labels: Tensor
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def pixels(self) -> Tensor:
        """The pictures. Raises TypeError where the samples are texts."""
        if isinstance(self.inputs, Tokens):
            raise TypeError("texts have no pixels")
        return self.inputs

    @property
    def tokens(self) -> Tokens:
        """The texts. Raises TypeError where the samples are pictures."""
        if not isinstance(self.inputs, Tokens):
            raise TypeError("pictures have no tokens")
        return self.inputs


@dataclass(frozen=True)
class CleanSamples:
    """Labelled clean samples, split once, stratified and with a seed."""

    path: Path
    sha256: str
    num_classes: int  # labels are 0..num_classes-1
    class_names: tuple[str, ...]  # of length num_classes; the index as text where nothing better is known
    exposure: SamplePart  # what the exposer and trigger inversion may see
    held_out: SamplePart  # what figures are measured on

    def __len__(self) -> int:
        return len(self.exposure) + len(self.held_out)
