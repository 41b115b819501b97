"""What kind of model file is this? Looks at bytes, executes nothing, needs no torch."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
from pathlib import Path
from typing import Final

from ...checks.pickle_walk import walk_pickle
from ...evidence.artifact import Artifact, Format
from ...evidence.errors import ScanError

_CHUNK: Final = 1 << 20
_LEGACY_MAGIC: Final = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.serialization.MAGIC_NUMBER, pickled
_HUGGING_FACE: Final = ("config.json", "model.safetensors", "pytorch_model.bin")
_OTHERS: Final = {  # suffix -> what to do
    ".h5": "is a Keras file, not a PyTorch model",
    ".keras": "is a Keras file, not a PyTorch model",
    ".gguf": "is a GGUF file, not a PyTorch classifier",
    ".tflite": "is a TensorFlow Lite file, not a PyTorch model",
    ".pb": "is a TensorFlow file, not a PyTorch model",
    ".npz": "is a NumPy archive, not a PyTorch model",
}
_EXPORT: Final = re.compile(r"(?:[^/]+/)?(?:archive_format|models/[^/]+\.json|serialized_exported_program\.json)")


def _open(path: Path) -> int:
    """A file descriptor of a regular file; a fifo does not block, a device is not read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        raise ScanError(f"{path} does not exist: check the path of the model file") from None
    except IsADirectoryError:
        raise _directory(path) from None
    except OSError as error:
        raise ScanError(f"{path} cannot be read ({error.strerror}): check its permissions") from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise _directory(path)
    raise ScanError(f"{path} is a pipe or a device, not a regular file: copy the model into a file first")


def _directory(path: Path) -> ScanError:
    if any((path / name).exists() for name in _HUGGING_FACE):
        return ScanError(
            f"{path} is a Hugging Face folder, which this version does not scan: "
            "pass the weights file inside it together with --architecture"
        )
    return ScanError(f"{path} is a folder: pass the model file inside it")


def _zip_format(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # whatever zipfile makes of a broken directory
        raise ScanError(f"{path} is a damaged archive, perhaps a download cut short: fetch it again") from None
    leaves = {name.split("/", 1)[-1] for name in names}
    if any(_EXPORT.fullmatch(name) for name in names):
        return "torch-export"
    if "constants.pkl" in leaves and any(leaf.startswith("code/") for leaf in leaves):
        return "torchscript"
    return "pytorch-zip" if "data.pkl" in leaves else "unknown"


def _format(path: Path, head: bytes, size: int) -> Format:
    length = int.from_bytes(head[:8], "little")
    if path.suffix == ".safetensors" or (head[8:9] == b"{" and length < size):
        return "safetensors"
    if head.startswith(b"version https://git-lfs"):
        raise ScanError(f"{path} is a Git LFS pointer, not the model itself: run `git lfs pull`")
    if path.suffix == ".onnx":  # no magic number: whether it is one is the reader's to say
        return "onnx"
    if path.suffix in _OTHERS:
        raise ScanError(f"{path} {_OTHERS[path.suffix]}")
    if head.startswith(b"PK\x03\x04"):
        return _zip_format(path)
    if head[257:262] == b"ustar":
        return "unknown"
    if head[:1] == b"\x80" and _LEGACY_MAGIC in head[:32]:
        return "pytorch-legacy"
    with path.open("rb") as file:
        report = walk_pickle(file, size)
    # Any other pickle, whole or broken after it would have imported something, is the file check's to judge.
    if report.complete or report.globals or re.match(rb"\x80[\x00-\x05]", head):
        return "unknown"
    raise ScanError(
        f"{path} is not a model file that this version knows (safetensors, torch.save, TorchScript, torch.export): "
        "check that it is the right file and complete"
    )


def identify(path: Path) -> Artifact:
    """Path, format, SHA-256 and size of a model file, following links; nothing of it is executed.

    A pickle or an archive that is no known model format is `unknown`: the file check looks at it, no loader takes it.
    Raises ScanError, one sentence, if the file is missing, unreadable, empty, not a regular file, a folder, damaged,
    or no model file at all.
    """
    descriptor = _open(path)
    digest, size, head = hashlib.sha256(), 0, b""
    try:
        with os.fdopen(descriptor, "rb") as file:
            while chunk := file.read(_CHUNK):
                head = head or chunk[:512]
                size += len(chunk)
                digest.update(chunk)
    except OSError as error:
        raise ScanError(f"{path} cannot be read ({error.strerror}): check the disk it is on") from None
    if not size:
        raise ScanError(f"{path} is empty: check the step that wrote it")
    return Artifact(path=path, format=_format(path, head, size), sha256=digest.hexdigest(), size=size)
