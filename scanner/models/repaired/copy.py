"""A model that needs no repair, copied byte by byte. No torch."""

from __future__ import annotations

import shutil
from pathlib import Path

from ....checks.folder_files import weight_files
from ....evidence.artifact import Artifact
from ....evidence.errors import ScanError
from ..identify import identify
from .folder_copy import copy_others, inside, leads_out
from .safetensors_bytes import copy_file


def copy_model(artifact: Artifact, staging: Path, out: Path) -> tuple[Artifact, list[str]]:
    """Copy the model to `staging`, which becomes `out`; what was copied, and notes.

    Raises:
        ScanError: it cannot be copied, or is not what it was when it was identified.
    """
    notes: list[str] = []
    try:
        if artifact.format == "huggingface":
            notes = _folder(artifact, staging)
        else:
            copy_file(artifact.path, staging, artifact.sha256)
            for name, digest in artifact.files.items():  # beside an ONNX file, which names them
                _beside(artifact, name, digest, staging, out)
    except (OSError, shutil.Error) as problem:
        raise ScanError(f"{artifact.path} cannot be copied: {getattr(problem, 'strerror', None) or problem}") from None
    copied = identify(staging)
    # Of a folder less may be copied than was identified: second weights and loose pickles stay behind.
    same = copied.sha256 == artifact.sha256 and copied.files == artifact.files
    if artifact.format == "huggingface":
        same = bool(copied.files) and copied.files.items() <= artifact.files.items()
    if not same:
        raise ScanError(f"{artifact.path} was changed since it was scanned: start again")
    return copied, notes


def _folder(artifact: Artifact, staging: Path) -> list[str]:
    folder, weights = artifact.path, weight_files(artifact.path)
    staging.mkdir()
    for name in weights:
        if not inside(folder, folder / name):
            raise leads_out(folder / name)
        copy_file(folder / name, staging / name, artifact.files.get(name))
    return copy_others(artifact, weights, staging)


def _beside(artifact: Artifact, name: str, digest: str, staging: Path, out: Path) -> None:
    if (out.parent / name).exists():
        raise ScanError(
            f"{artifact.path} has nothing to remove, and a copy would keep its weights in {out.parent / name}, which "
            "is there already: name another folder"
        )
    goal = staging.parent / name
    goal.parent.mkdir(parents=True, exist_ok=True)
    copy_file(artifact.path.parent / name, goal, digest)
