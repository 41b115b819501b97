"""The file or folder on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Format = Literal[
    "safetensors",
    "pytorch-zip",
    "pytorch-legacy",
    "torchscript",
    "torch-export",
    "onnx",
    "huggingface",  # a folder: config.json and weights, or an adapter
    "unknown",
]

BASE: Final = "base/"  # before the name of a file that is the base model's


class Artifact(BaseModel):
    """What is on disk: where, in which format, with which digest; nothing of it has been executed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    format: Format
    sha256: str  # hex digest of the file's bytes; of a folder that of its list of files and their digests
    size: int  # bytes, of all files together
    files: dict[str, str] = Field(default_factory=dict)  # name in the folder -> SHA-256; beside `path`, or in it
    base: Path | None = None  # of an adapter: its base model's folder, whose `files` are called base/NAME

    @property
    def model_folder(self) -> Path:
        """Where config.json lies: the base model's folder where `path` is an adapter."""
        return self.base or self.path

    def place(self, name: str) -> Path:
        """Path of one of `files`."""
        return self.base / name.removeprefix(BASE) if self.base and name.startswith(BASE) else self.path / name

    def folder_with(self, *names: str) -> Path:
        """The adapter's folder where it has one of these files, otherwise the model's."""
        return self.path if any((self.path / name).is_file() for name in names) else self.model_folder
