"""A repaired classifier, written as the artifact was that it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ....evidence.artifact import Artifact

if TYPE_CHECKING:
    from torch import Tensor

    from ....evidence.classifier import Classifier
    from ....evidence.tokens import Tokens


@dataclass(frozen=True)
class Written:
    """What became of the model's tensors."""

    changed: int  # tensors that are stored with other numbers than before
    total: int  # tensors of the model that the artifact stores
    notes: tuple[str, ...] = ()  # what was dropped, kept, rounded; a sentence each, for the provenance


def check_writable_format(artifact: Artifact, classifier: Classifier | None = None) -> None:
    """See that a repaired model can be written in the artifact's format, before the work is done.

    Without `classifier` only what needs no torch is looked at.

    Raises:
        ScanError: it cannot; the sentence says what to do instead.
    """
    raise NotImplementedError


def write_repaired(
    artifact: Artifact,
    original: Classifier,
    repaired: Classifier,
    staging: Path,
    samples: Tensor | Tokens | None = None,
) -> Written:
    """Write `repaired` to `staging`, which is not there yet, as the artifact is that `original` was loaded from.

    Every tensor that changed is rounded to the type that the artifact stores it in; all others stay as they are, bit
    by bit. What was written is read again and compared. `samples`, pixels in 0..1, are what an ONNX file is tried on.

    Raises:
        ScanError: it cannot be written as the artifact is, or the artifact has changed since it was identified.
    """
    raise NotImplementedError
