"""Where a repaired model may go. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ....evidence.artifact import Artifact
from ....evidence.errors import ScanError, UsageError

OPTION: Final = "--out"
IN_FOLDER: Final = "ebyd-scan-provenance.json"
_BESIDE: Final = ".provenance.json"
_OTHERS: Final = (".h5", ".keras", ".gguf", ".tflite", ".pb", ".npz", ".zip")
STAGES: Final = ".ebyd-scan-*.part"
_SUFFIXES: Final = {  # that loaders expect, by format
    "safetensors": (".safetensors",),
    "onnx": (".onnx",),
    "pytorch-zip": (".pt", ".pth", ".bin", ".ckpt", ".tar"),
    "pytorch-legacy": (".pt", ".pth", ".bin", ".ckpt", ".tar"),
    "torchscript": (".pt", ".pth", ".ts", ".jit", ".torchscript"),
    "torch-export": (".pt2",),
}


def provenance_path(place: Path, *, folder: bool | None = None) -> Path:
    """Of a model at `place`; whether that is, or will be, a folder is looked up where it is not said."""
    inside = place.is_dir() if folder is None else folder
    return place / IN_FOLDER if inside else place.with_name(place.name + _BESIDE)


def check_out(out: Path, inputs: Iterable[Path] = (), artifact: Artifact | None = None) -> None:
    """See that a repaired model can go to `out`, before any work is done. Nothing is created.

    Args:
        out: the file or folder to come.
        inputs: the user's model, samples, policy and the reports that are asked for.
        artifact: the model to repair, by which suffix and companions are judged.

    Raises:
        UsageError: `out` or a companion is there already, is an input, lies in or around one, has no folder to go to
            that can be written, or a suffix by which loaders would take it for another format.
    """
    try:
        place = _place(out)
        companions = _companions(place, artifact)
        for one in (place, *companions):
            for given in inputs:
                _check_apart(out, one, given)
        check_free(place, companions)
        if not os.access(place.parent, os.W_OK | os.X_OK):
            raise UsageError(f"{OPTION} {out}: the folder {place.parent} is not writable")
    except UsageError:
        raise
    except ScanError as error:
        raise UsageError(f"{OPTION} {error}") from None
    except (OSError, ValueError, RuntimeError) as error:  # NUL in the name, a loop of links, a name too long
        raise UsageError(f"{OPTION} {out}: cannot be written: {error}") from None
    if artifact:
        _check_suffix(out, artifact)


def _place(out: Path) -> Path:
    """`out` with the links of its folder followed, not its own."""
    parent = out.parent.resolve()
    if out.name in ("", ".", ".."):
        raise UsageError(f"{OPTION} {out}: is no name for a new file or folder")
    if not parent.is_dir():
        raise UsageError(f"{OPTION} {out}: there is no folder {parent}")
    return parent / out.name


def _companions(place: Path, artifact: Artifact | None) -> list[Path]:
    if artifact and artifact.format == "huggingface":
        return []
    beside = [provenance_path(place, folder=False)]
    if artifact and artifact.format == "onnx":
        beside.append(place.with_name(f"{place.name}.data"))
    return beside


def _check_apart(out: Path, place: Path, given: Path) -> None:
    other = given.resolve()
    if place == other or (place.exists() and given.exists() and place.samefile(given)):
        raise UsageError(f"{OPTION} {out}: would overwrite {given}, which belongs to this run: choose another name")
    around = [parent for parent in place.parents if parent == other or (given.is_dir() and parent.samefile(given))]
    if around:
        raise UsageError(f"{OPTION} {out}: lies in the input {given}, and nothing is written there")
    if other.is_relative_to(place):
        raise UsageError(f"{OPTION} {out}: holds {given}, which belongs to this run: choose another name")


def check_free(place: Path, companions: Iterable[Path]) -> None:
    """Raises ScanError where one of them is there; a killed run's companions without their model are not counted."""
    for one in (place, *companions):
        if there(one) and (one == place or not left_by(one, place)):
            raise ScanError(f"{one} is there already and is not overwritten: choose another name, or move it away")


def there(place: Path) -> bool:
    """As os.path.lexists, which takes a name that is too long for a free one."""
    try:
        os.lstat(place)
    except FileNotFoundError:
        return False
    return True


def _check_suffix(out: Path, artifact: Artifact) -> None:
    own = _SUFFIXES.get(artifact.format)
    suffix, source = out.suffix.lower(), artifact.path.suffix
    if own is None or suffix in own or (suffix and suffix == source.lower()):
        return
    others = {other for suffixes in _SUFFIXES.values() for other in suffixes}
    if suffix in others or suffix in _OTHERS or artifact.format in ("safetensors", "onnx"):
        raise UsageError(
            f"{OPTION} {out}: a repaired model is written as the model is ({artifact.format}), and loaders go by the "
            f"suffix: call it {out.stem}{source or own[0]}"
        )


def left_by(companion: Path, place: Path) -> Path | None:
    """The hidden folder of the killed run that has left `companion` without its model `place`."""
    if there(place):
        return None
    for stage in place.parent.glob(STAGES):
        with suppress(OSError):
            if not stage.is_symlink() and (stage / companion.name).samefile(companion):
                return stage
    return None
