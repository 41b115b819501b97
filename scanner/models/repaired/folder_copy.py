"""What of a Hugging Face folder goes into the repaired one beside the weights: what loading needs, and no weights."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ....checks.folder_files import PICKLED, SAFETENSORS, begins_as_pickle
from ....checks.text import shown
from ....evidence.artifact import Artifact
from ....evidence.errors import ScanError
from .out import IN_FOLDER
from .safetensors_bytes import copy_file

_TEXTS: Final = (".json", ".txt", ".py", ".md", ".jinja")
_OF_TOKENIZERS: Final = (".model",)  # SentencePiece: copied where the loader reads it
_NAMES: Final = ("LICENSE", "NOTICE", ".gitattributes")
_LARGEST: Final = 64 << 20  # bytes
_BLOB: Final = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_TOLD: Final = 12


def copy_others(artifact: Artifact, weights: Iterable[str], place: Path) -> list[str]:
    """Copy configuration, tokenizer, preprocessor, code and notes of a folder; returns notes on what was left behind.

    Raises:
        ScanError: a file that a loader reads leads out of the folder, or was changed since.
    """
    folder = artifact.path
    loaded = set(weights)
    index = _index(folder, loaded)
    left: list[str] = []
    for entry in sorted(os.scandir(folder), key=lambda one: one.name):
        path = Path(entry.path)
        if entry.name in loaded or entry.name == ".git":
            continue
        if not entry.is_file() or not (entry.name == index or _wanted(artifact, path)):
            left.append(entry.name + "/" * entry.is_dir(follow_symlinks=False))
        elif inside(folder, path):
            copy_file(path, place / entry.name, artifact.files.get(entry.name))
        elif entry.name in artifact.files:
            raise leads_out(path)
        else:
            left.append(entry.name)
    if not left:
        return []
    more = f" and {len(left) - _TOLD} more" if len(left) > _TOLD else ""
    told = ", ".join(shown(name) for name in left[:_TOLD])
    return [f"Not copied, since it may hold the weights before the repair, or loading does not need it: {told}{more}."]


def inside(folder: Path, path: Path) -> bool:
    """Whether a file of the folder is in it, or a link into the store of the hub's cache as the downloader makes it."""
    home, place = folder.resolve(), path.resolve()
    of_hub = place.parent == home.parent.parent / "blobs" and bool(_BLOB.fullmatch(place.name))
    return place.is_relative_to(home) or of_hub


def leads_out(path: Path) -> ScanError:
    """The sentence for a link that is not followed."""
    return ScanError(
        f"{path} is a link that leads out of the folder, and what it leads to is not copied into the repaired model: "
        "copy the folder with its links followed (cp -rL), and repair the copy"
    )


def _index(folder: Path, loaded: set[str]) -> str | None:
    """The list of shards that were loaded."""
    for name in (SAFETENSORS, PICKLED):
        if name in loaded:
            return None
        if (folder / f"{name}.index.json").is_file():
            return f"{name}.index.json"
    return None


def _wanted(artifact: Artifact, path: Path) -> bool:
    name = path.name
    if name == IN_FOLDER or name.endswith(".index.json"):
        return False
    read = name in artifact.files and path.suffix in _OF_TOKENIZERS
    if not (read or path.suffix in _TEXTS or name in _NAMES):
        return False
    return path.stat().st_size <= _LARGEST and not begins_as_pickle(path)
