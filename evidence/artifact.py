"""The file or folder on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Format = Literal[
    "safetensors",
    "pytorch-zip",
    "pytorch-legacy",
    "torchscript",
    "torch-export",
    "onnx",
    "huggingface",  # a folder: config.json and weights
    "unknown",
]


class Artifact(BaseModel):
    """What is on disk: where, in which format, with which digest; nothing of it has been executed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    format: Format
    sha256: str  # hex digest of the file's bytes; of a folder that of its list of files and their digests
    size: int  # bytes, of all files together
    files: dict[str, str] = Field(default_factory=dict)  # name in the folder -> SHA-256; beside `path`, or in it
