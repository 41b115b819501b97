"""The clean samples that a scan is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SamplePart:
    """`pixels`: float32 [N, channels, H, W] in 0..1; `labels`: int64 [N]."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


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
