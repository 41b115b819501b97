"""What kind of model file is this? Looks at bytes, executes nothing, needs no torch."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
from pathlib import Path
from typing import Final

from ...checks.folder_files import (
    ADAPTER_CONFIG,
    CONFIG,
    folder_files,
    is_adapter_folder,
    is_model_folder,
    read_json,
    weight_files,
)
from ...checks.pickle_walk import walk_pickle
from ...checks.tar_layout import is_tar
from ...checks.text import shown
from ...checks.zip_layout import Limits, directory_problem
from ...evidence.artifact import BASE, Artifact, Format
from ...evidence.errors import ScanError, UsageError

_CHUNK: Final = 1 << 20
_LEGACY_MAGIC: Final = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.serialization.MAGIC_NUMBER, pickled
OTHERS: Final = {  # suffix -> what to do
    ".h5": "is a Keras file, not a PyTorch model",
    ".keras": "is a Keras file, not a PyTorch model",
    ".gguf": "is a GGUF file, not a PyTorch classifier",
    ".tflite": "is a TensorFlow Lite file, not a PyTorch model",
    ".pb": "is a TensorFlow file, not a PyTorch model",
    ".npz": "is a NumPy archive, not a PyTorch model",
}
_LOOK: Final = 100_000  # opcodes that tell a pickle from a text
_NAME: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_EXPORT: Final = re.compile(r"(?:[^/]+/)?(?:archive_format|models/[^/]+\.json|serialized_exported_program\.json)")


def open_regular(path: Path) -> int:
    """A file descriptor of a regular file; a fifo does not block, a device is not read. Raises ScanError."""
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
    return ScanError(f"{path} is a folder without a config.json: pass the model file inside it")


def zip_format(path: Path) -> Format:
    """Which model a zip archive is, by the names in it; `unknown` where it is none. Raises ScanError if broken."""
    with path.open("rb") as file:
        problem = directory_problem(file, Limits())
    if problem:
        raise ScanError(f"{path}: {problem}, which no model has")
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
    if not size:
        raise ScanError(f"{path} is empty: check the step that wrote it")
    length = int.from_bytes(head[:8], "little")
    if path.suffix == ".safetensors" or (head[8:9] == b"{" and length < size):
        return "safetensors"
    if head.startswith(b"version https://git-lfs"):
        raise ScanError(f"{path} is a Git LFS pointer, not the model itself: run `git lfs pull`")
    if path.suffix == ".onnx":  # no magic number: whether it is one is the reader's to say
        return "onnx"
    if path.suffix in OTHERS:
        raise ScanError(f"{path} {OTHERS[path.suffix]}")
    if head.startswith(b"PK\x03\x04"):
        return zip_format(path)
    if is_tar(head):
        return "unknown"
    if head[:1] == b"\x80" and _LEGACY_MAGIC in head[:32]:
        return "pytorch-legacy"
    with path.open("rb") as file:
        report = walk_pickle(file, size, _LOOK)
    # Any other pickle, whole or broken after it would have imported something, is the file check's to judge. Opcodes
    # are letters, so that a text may look like a few of them: what it would import has no name then.
    imports = report.globals and all(_NAME.fullmatch(part) for use in report.globals for part in use)
    if report.complete or report.exhausted or imports or re.match(rb"\x80[\x00-\x05]", head):
        return "unknown"
    raise ScanError(
        f"{path} is not a model file that this version knows (safetensors, torch.save, TorchScript, torch.export, "
        "ONNX): check that it is the right file and complete"
    )


def _digest(path: Path) -> tuple[str, int, bytes]:
    """SHA-256, size and first bytes of a regular file. Raises ScanError."""
    return _hashed(open_regular(path), path)


def _hashed(descriptor: int, path: Path) -> tuple[str, int, bytes]:
    digest, size, head = hashlib.sha256(), 0, b""
    try:
        with os.fdopen(descriptor, "rb") as file:
            while chunk := file.read(_CHUNK):
                head = head or chunk[:512]
                size += len(chunk)
                digest.update(chunk)
    except OSError as error:
        raise ScanError(f"{path} cannot be read ({error.strerror}): check the disk it is on") from None
    return digest.hexdigest(), size, head


def _folder(path: Path, base: Path | None = None) -> Artifact:
    read_json(path / (ADAPTER_CONFIG if is_adapter_folder(path) else CONFIG))
    files, size = dict[str, str](), 0
    folders = [(path, ""), *([(base, BASE)] if base else [])]
    for folder, prefix in folders:
        for name in folder_files(folder):
            if base and not prefix and name.startswith(BASE):
                raise ScanError(
                    f"{folder} has a folder called {BASE}, which is what reports call the base model: rename it"
                )
            files[prefix + name], length, _ = _digest(folder / name)
            size += length
    listing = "".join(f"{digest}  {name}\n" for name, digest in files.items())
    return Artifact(
        path=path,
        format="huggingface",
        sha256=hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest(),
        size=size,
        files=files,
        base=base,
    )


def _check_base(path: Path, base: Path) -> None:
    if not (path.is_dir() and is_adapter_folder(path)):
        raise UsageError(
            f"--base-model {base} is for adapters, and {path} is no folder with an {ADAPTER_CONFIG} and without a "
            "model of its own: leave it out"
        )
    if not (base / CONFIG).is_file() or is_adapter_folder(base):
        raise UsageError(
            f"--base-model {base} is no folder with a {CONFIG} and weights: give the local folder of the model that "
            f"{path} was trained on (nothing is downloaded)"
        )
    read_json(base / CONFIG)


def _beside(path: Path) -> tuple[dict[str, str], int]:
    """Digests of the files in which an ONNX file keeps weights, and their size."""
    from ...checks.onnx_head import onnx_head
    from ...checks.onnx_read import external_files, open_beside, parse

    files, size = dict[str, str](), 0
    data = path.read_bytes()
    onnx_head(path, data)  # its limits, before the whole message is unfolded
    for name in external_files(parse(path, data)):
        files[name], length, _ = _hashed(open_beside(path, name), path.parent / name)
        size += length
    return files, size


def identify(path: Path, base: Path | None = None) -> Artifact:
    """Path, format, SHA-256 and size of a model, following links; nothing of it is executed.

    A folder with a config.json is a Hugging Face model: its digest is that of the list of its files, each line a
    digest, two spaces and a name, as `sha256sum` writes it. A folder with an adapter_config.json and without weights
    of a model is an adapter; `base` is the folder of its model, whose files are in the list too, as base/NAME.
    An ONNX file may keep weights in files beside it.
    A pickle or an archive that is no known model format is `unknown`: the file check looks at it, no loader takes it.
    Raises ScanError, one sentence, if something is missing, unreadable, empty, not a regular file, damaged, or no
    model at all; UsageError if `base` is none, or `path` no adapter.
    """
    try:
        if base:
            _check_base(path, base)
        if path.is_dir() and is_model_folder(path):
            return _folder(path, base)
    except OSError as error:
        raise _unreadable(path, error) from None
    sha256, size, head = _digest(path)
    format_ = _format(path, head, size)
    files, more = _beside(path) if format_ == "onnx" else ({}, 0)
    return Artifact(path=path, format=format_, sha256=sha256, size=size + more, files=files)


def format_of(path: Path, base: Path | None = None) -> Format:
    """The format that `identify` would tell, without a digest: little more than the first bytes are read.

    Raises ScanError and UsageError as `identify` does, as far as this can be seen so.
    """
    try:
        if base:
            _check_base(path, base)
        if path.is_dir() and is_model_folder(path):
            weight_files(path)
            return "huggingface"
        with os.fdopen(open_regular(path), "rb") as file:
            size, head = os.fstat(file.fileno()).st_size, file.read(512)
    except OSError as error:
        raise _unreadable(path, error) from None
    return _format(path, head, size)


def _unreadable(path: Path, error: OSError) -> ScanError:
    """No permission to look, a name too long."""
    return ScanError(f"{path} cannot be read ({error.strerror}): check its permissions")


def check_adapter(artifact: Artifact) -> None:
    """Raises UsageError for an adapter without its base model. The one that it names is no more than told."""
    if artifact.base is None and artifact.format == "huggingface":
        check_no_adapter(artifact.path)


def check_no_adapter(folder: Path) -> None:
    """Raises UsageError for the folder of an adapter, which says that its base model has to be given."""
    if not is_adapter_folder(folder):
        return
    named = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    told = f" ({shown(named)}, as it says)" if isinstance(named, str) and named else ""
    raise UsageError(
        f"{folder} is an adapter, which changes the weights of another model{told}: give the folder of that "
        "model with --base-model"
    )
