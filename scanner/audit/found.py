"""Whether a file of unknown origin may be a model: by its name, its neighbours' names and its first bytes."""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePath
from typing import Final

from ...checks.folder_files import ADAPTER_CONFIG, CONFIG, WHOLE, weight_files
from ...checks.pickle_walk import walk_pickle
from ...checks.tar_layout import is_tar
from ...evidence.errors import ScanError
from ..models.identify import OTHERS, open_regular, zip_format

NO_MODEL: Final = "no model file by its name and first bytes"
NO_WEIGHTS: Final = "a configuration without the weights of its model beside it"
_SUFFIXES: Final = frozenset(
    (".safetensors", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".pt2", ".ptl", ".onnx", ".torchscript")
)
_RAW: Final = ".bin"  # weights of torch, of an ONNX or OpenVINO file beside it, or of something else
_LOOK: Final = 4096  # bytes
_STEPS: Final = 2000  # opcodes of a pickle in them
_WEIGHTS: Final = re.compile(r"(pytorch_model|model|adapter_model)(-\d{5}-of-\d{5})?\.(safetensors|bin)")
_TRAINING: Final = re.compile(r"(optimizer|scheduler|scaler|training_args|rng_state(_\d+)?)\.(pt|pth|bin)")
_SHARD: Final = re.compile(r"(.+)-\d{5}-of-(\d{5})\.(safetensors|bin|pt|pth|ckpt)")
_OLD_TORCH: Final = (b"sys_info", b"pickle", b"storages", b"tensors")  # members of torch's tar files, before 0.1.10
_ARCHIVES: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd", b"Rar!")
_PACKED: Final = "an archive that is no model itself: unpack it to have what is in it looked at"
_MAY_IMPORT: Final = re.compile(rb"[ci][A-Za-z_][\w.]*\r?\n[A-Za-z_][\w.]*\r?\n|\x93")  # GLOBAL, INST, STACK_GLOBAL
_NAME: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def holds_model(names: Collection[str]) -> bool:
    """Whether a folder with such files is a Hugging Face model or an adapter. Without weights it is neither."""
    if any(name in names for name in WHOLE):
        return CONFIG in names
    return ADAPTER_CONFIG in names and any(name.startswith("adapter_model.") for name in names)


def is_weights(name: str) -> bool:
    """Whether a file of a model's folder is called as its weights are."""
    return bool(_WEIGHTS.fullmatch(name))


def own_weights(folder: Path, names: Collection[str]) -> set[str]:
    """Names of the files that the model of a folder is loaded from; where some are missing, all that may be."""
    try:
        return set(weight_files(folder))
    except (ScanError, OSError):  # told by the scan
        return {name for name in names if is_weights(name)}


def companion(name: str) -> str | None:
    """Why a file of a model's folder is no model of its own, where it is not what that model is loaded from."""
    if _TRAINING.fullmatch(name):
        return "what training left in a model's folder: not scanned, the file check of the folder looks at it"
    if is_weights(name):
        return "second weights in a model's folder: not scanned, the file check of the folder looks at them"
    return None


def loose_shards(names: Collection[str]) -> set[str]:
    """Files of weights that are one part of several, where the others are there too."""
    parts = {name: match for name in names if (match := _SHARD.fullmatch(name))}
    sets = Counter(match.group(1, 2, 3) for match in parts.values())
    return {name for name, match in parts.items() if sets[match.group(1, 2, 3)] > 1}


def called_model(name: str, names: Collection[str]) -> bool:
    """Whether a file is called like a model, whatever is in it. `names` are those of its folder."""
    path = PurePath(name)
    suffix = path.suffix.lower()
    if suffix == _RAW:
        return f"{path.stem}.xml" not in names and not any(one.endswith(".onnx") for one in names)
    return suffix in _SUFFIXES


def why_no_model(path: Path, names: Collection[str]) -> str | None:
    """What a file is that is not called like a model; None where its first bytes are those of one.

    Pipes and devices are not read. Raises ScanError where it cannot be read.
    """
    descriptor = open_regular(path)
    try:
        size, head = os.fstat(descriptor).st_size, os.read(descriptor, _LOOK)
    finally:
        os.close(descriptor)
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    if is_tar(head[:512]):
        return None if head[:100].rstrip(b"\0") in _OLD_TORCH else _PACKED
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return None
    if re.match(rb"\x80[\x00-\x05]", head) or _imports(head):
        return None
    return _told(path, head, names)


def _told(path: Path, head: bytes, names: Collection[str]) -> str:
    if not head:
        return "an empty file"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself: run `git lfs pull`"
    if head.startswith(_ARCHIVES):
        return _PACKED
    if path.suffix in OTHERS:
        return OTHERS[path.suffix].removeprefix("is ")
    if path.name == CONFIG:
        return NO_WEIGHTS
    if re.match(rb"\x08[\x01-\x20]\x12[\x01-\x40][\x20-\x7e]", head):  # version of the format, name of the producer
        return "perhaps an ONNX file: call it .onnx to have it scanned"
    if path.suffix.lower() not in (".txt", ".md", ".json", ".py") and any(one.endswith(".onnx") for one in names):
        return f"{NO_MODEL}; if an .onnx beside it keeps weights in it, they are read with it"
    return NO_MODEL


def _zip(path: Path) -> str | None:
    try:
        format_ = zip_format(path)
    except ScanError:  # broken, or made to be hard to read: the scan says what of it
        return None
    if format_ != "unknown":
        return None
    return OTHERS[path.suffix].removeprefix("is ") if path.suffix in OTHERS else _PACKED


def _imports(head: bytes) -> bool:
    """Whether the bytes begin a pickle of the oldest kinds, which have no mark, that imports something."""
    if not _MAY_IMPORT.search(head):  # texts, in a hundredth of the time
        return False
    report = walk_pickle(io.BytesIO(head), len(head), _STEPS)
    return bool(report.globals) and all(_NAME.fullmatch(part) for use in report.globals for part in use)
