"""safetensors: tensors and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...evidence.artifact import Artifact
from ...evidence.errors import MissingExtra, ScanError
from .checkpoint import damaged

if TYPE_CHECKING:
    from torch import Tensor


def load_tensors(artifact: Artifact) -> dict[str, Tensor]:
    """All tensors of the file, on the CPU, memory-mapped. Raises ScanError if it is damaged or empty."""
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise MissingExtra("safetensors", "torch") from None
    try:
        tensors: dict[str, Tensor] = load_file(artifact.path, device="cpu")
    except Exception as error:  # the reader is Rust, its errors are not Python's
        raise damaged(artifact, error) from None
    if not tensors:
        raise ScanError(f"{artifact.path} holds no tensors: check the step that wrote it")
    return tensors
