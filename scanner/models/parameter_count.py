"""How many numbers the weights of a file are, by their type: read from headers and pickles, nothing is loaded.

For files that the file check has passed: what it says about archives and headers is relied on.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from ...checks.folder_files import weight_files, weights_format
from ...checks.pickle_walk import PickleReport, walk_pickle
from ...checks.zip_layout import Limits
from ...evidence.artifact import Artifact, Format

# Class of a storage -> how safetensors calls its type, and bytes a number.
_STORAGES: Final[dict[str, tuple[str, int]]] = {
    "DoubleStorage": ("F64", 8),
    "FloatStorage": ("F32", 4),
    "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2),
    "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
    "ComplexFloatStorage": ("C64", 8),
    "ComplexDoubleStorage": ("C128", 16),
    "QInt8Storage": ("I8", 1),
    "QUInt8Storage": ("U8", 1),
    "QInt32Storage": ("I32", 4),
}
_SCALAR_TYPES: Final = {  # the numbers of torch.export's schema
    **{1: "U8", 2: "I8", 3: "I16", 4: "I32", 5: "I64", 6: "F16", 7: "F32", 8: "F64", 10: "C64", 11: "C128", 12: "BOOL"},
    **{13: "BF16", 28: "U16", 29: "F8_E4M3", 30: "F8_E5M2", 31: "F8_E4M3", 32: "F8_E5M2", 33: "F8_E8M0"},
    **{34: "U32", 35: "U64"},
}
_LEGACY_OBJECT: Final = 4  # which pickle of a legacy file; magic number, protocol and machine stand before it
_LIMIT: Final = Limits().max_pickle_bytes
_MAX_DIMENSIONS: Final = 64  # as torch has it

Numbers = dict[str, int]  # type, as safetensors calls it -> how many


def count_numbers(artifact: Artifact) -> Numbers | None:
    """How many numbers the weights are, by type; None where that cannot be told without loading the file.

    Counts every storage that a tensor lies in once: parameters, BatchNorm's statistics and counters, and in a
    checkpoint of a training run what the optimiser keeps. ONNX files tell it themselves: see `onnx_head`.
    Raises OSError where the file cannot be read, ScanError where a folder has no weights.
    """
    if artifact.format != "huggingface":
        return _count(artifact.path, artifact.format)
    total = Counter[str]()
    for name in weight_files(artifact.path):
        path = artifact.path / name
        numbers = _count(path, weights_format(path) or "unknown")
        if numbers is None:
            return None
        total.update(numbers)
    return dict(total)


def _count(path: Path, format_: Format) -> Numbers | None:
    if format_ == "safetensors":
        return _safetensors(path)
    if format_ in ("pytorch-zip", "torchscript"):
        with zipfile.ZipFile(path) as archive:
            return _checkpoint(archive)
    if format_ == "pytorch-legacy":
        return _legacy(path)
    if format_ == "torch-export":
        with zipfile.ZipFile(path) as archive:
            return _exported(archive)
    return None


def _safetensors(path: Path) -> Numbers:
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    return _sum((entry["dtype"], math.prod(entry["shape"])) for entry in header.values())


def _checkpoint(archive: zipfile.ZipFile) -> Numbers | None:
    """Weights lie in `data/`, what TorchScript has frozen into its code in `constants/`."""
    sizes = {info.filename: info.file_size for info in archive.infolist()}
    found = list[tuple[str, int]]()
    for name in sizes:
        folder, _, leaf = name.rpartition("/")
        if leaf not in ("data.pkl", "constants.pkl") or "/" in folder:
            continue
        with archive.open(name) as member:
            report = walk_pickle(cast(BinaryIO, member), _LIMIT)
        prefix = f"{folder}/{leaf.removesuffix('.pkl')}/" if folder else f"{leaf.removesuffix('.pkl')}/"
        numbers = _numbers(report, {key: sizes.get(prefix + key) for key in report.storages})
        if numbers is None:
            return None
        found += numbers
    return _sum(found)


def _legacy(path: Path) -> Numbers | None:
    with path.open("rb") as file:
        report = [walk_pickle(file, _LIMIT) for _ in range(_LEGACY_OBJECT)][-1]
    whole = sum(_STORAGES.get(storage.kind, ("", 0))[1] * storage.numbers for storage in report.storages.values())
    numbers = _numbers(report, None)
    return _sum(numbers) if numbers is not None and whole <= path.stat().st_size else None


def _numbers(report: PickleReport, sizes: dict[str, int | None] | None) -> list[tuple[str, int]] | None:
    """Type and numbers a storage; None where one is of a kind that is not known, or not as large as it is said."""
    found = list[tuple[str, int]]()
    if not report.complete or report.odd_references:
        return None
    for key, storage in report.storages.items():
        name, width = _STORAGES.get(storage.kind, ("", 0))
        if not width or (sizes is not None and sizes[key] != width * storage.numbers):
            return None
        found.append((name, storage.numbers))
    return found


def _exported(archive: zipfile.ZipFile) -> Numbers | None:
    """A table of weights and their shapes in torch 2.9 and later, checkpoints within the archive before."""
    total, seen = Counter[str](), False
    for info in archive.infolist():
        leaf = info.filename.rsplit("/", 1)[-1]
        if leaf.endswith("_weights_config.json") and info.file_size <= _LIMIT:
            numbers = _table(json.loads(archive.read(info)))
        elif leaf in ("serialized_state_dict.pt", "model.pt") and "sample_inputs" not in info.filename:
            with archive.open(info) as member, zipfile.ZipFile(member) as inner:
                numbers = _checkpoint(inner)
        else:
            continue
        if numbers is None:
            return None
        total.update(numbers)
        seen = True
    return dict(total) if seen else None


def _table(document: Any) -> Numbers | None:
    """Weights that share a file are counted once."""
    found = dict[str, tuple[str, int]]()
    try:
        for entry in document["config"].values():
            meta = entry["tensor_meta"]
            sizes = [int(size["as_int"]) for size in meta["sizes"]]
            if len(sizes) > _MAX_DIMENSIONS:
                return None
            found[str(entry["path_name"])] = _SCALAR_TYPES.get(meta["dtype"], "?"), math.prod(sizes)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return _sum(found.values())


def _sum(parts: Iterable[tuple[str, int]]) -> Numbers:
    total = Counter[str]()
    for name, numbers in parts:
        total[name] += numbers
    return dict(total)
