"""The file or folder on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

Format = Literal["safetensors", "pytorch-zip", "pytorch-legacy", "torchscript", "torch-export", "onnx", "unknown"]


class Artifact(BaseModel):
    """What is on disk: where, in which format, with which digest; nothing of it has been executed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    format: Format
    sha256: str  # hex digest of the file's bytes
    size: int  # bytes
