"""Which files of a Hugging Face folder a loader reads. Names only: nothing is opened but small JSON files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ..evidence.artifact import Format
from ..evidence.errors import ScanError

CONFIG: Final = "config.json"
PREPROCESSORS: Final = ("preprocessor_config.json", "processor_config.json")
SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"
ADAPTER_CONFIG: Final = "adapter_config.json"
_ADAPTER: Final = ("adapter_model.safetensors", "adapter_model.bin")  # the first that is there is loaded
_INDEX: Final = ".index.json"
# Beside weights: what else changes what the model does.
_SMALL: Final = (
    CONFIG,
    *PREPROCESSORS,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
# A distributed checkpoint's list of contents is a pickle; `model.bin.metadata` is a note of the Hub's downloader.
_DISTRIBUTED: Final = ".metadata"
_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_WEIGHTS: Final = ("pytorch_model", "adapter_model")  # what these begin with, loaders unpickle
_ELSEWHERE: Final = {"tf_model.h5": "TensorFlow's", "flax_model.msgpack": "Flax's", "model.onnx": "ONNX's"}
WHOLE: Final = (SAFETENSORS, PICKLED, SAFETENSORS + _INDEX, PICKLED + _INDEX)
"""Any of these says that the folder holds a model's weights, not an adapter's."""
_MAX_JSON: Final = 64 << 20  # bytes
_MAX_SHARDS: Final = 2000
# What some tool or other unpickles, also out of folders within the folder: `1_Dense/pytorch_model.bin`, `optimizer.pt`.
_UNPICKLED: Final = (*_PICKLES, ".pickle", ".joblib", ".dill", ".distcp")
_MAX_ENTRIES: Final = 10_000
_MAX_LEVELS: Final = 16


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises ScanError, one sentence, where there is none."""
    try:
        if path.stat().st_size > _MAX_JSON:
            raise ScanError(f"{path} is larger than {_MAX_JSON >> 20} MiB: that is no configuration")
        found = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ScanError(f"{path} cannot be read ({error.strerror}): check that it is there") from None
    except (ValueError, RecursionError):
        raise ScanError(f"{path} is not valid JSON: fetch or save the model again") from None
    if not isinstance(found, dict):
        raise ScanError(f"{path} is not a JSON object: fetch or save the model again")
    return found


def _shards(folder: Path, index: str) -> list[str]:
    """Names of the weight files that an index names, sorted."""
    table = read_json(folder / index).get("weight_map")
    names = sorted(set(table.values())) if isinstance(table, dict) and all(_named(v) for v in table.values()) else []
    if not names or len(names) > _MAX_SHARDS:
        raise ScanError(f"{folder / index} names no weight files: fetch or save the model again")
    for name in names:
        if "/" in name or "\\" in name or name.startswith("."):
            raise ScanError(f"{folder / index} wants weights from {name!r}, outside its own folder: that is refused")
        if not name.endswith((".safetensors", *_PICKLES)):  # file-safety looks at what is called like weights
            raise ScanError(f"{folder / index} wants weights from {name!r}, which is no name of weights: save it again")
        if not (folder / name).is_file():
            raise ScanError(f"{folder / index} wants weights from {name!r}, which is not there: fetch it too")
    return names


def _named(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def weight_files(folder: Path) -> list[str]:
    """Names of the files with the weights that are loaded: safetensors where there are any, else torch's.

    Raises ScanError, one sentence, where there are none or some of them are missing.
    """
    if is_adapter_folder(folder):
        found = next((name for name in _ADAPTER if (folder / name).is_file()), None)
        if found is None:
            raise ScanError(f"{folder} has no weights, neither {' nor '.join(_ADAPTER)}: fetch the whole adapter")
        return [found]
    for name in (SAFETENSORS, PICKLED):
        if (folder / name).is_file():
            return [name]
        if (folder / (name + _INDEX)).is_file():
            return _shards(folder, name + _INDEX)
    other = next((f"{whose} ({name})" for name, whose in _ELSEWHERE.items() if (folder / name).exists()), None)
    if other:
        raise ScanError(f"{folder} has no weights for PyTorch, only {other}: pass that file, or save safetensors")
    raise ScanError(f"{folder} has no weights, neither {SAFETENSORS} nor {PICKLED}: fetch the whole folder")


def folder_files(folder: Path) -> list[str]:
    """Names of all files that a loader could read, sorted: weights, pickles that stand in for them, code, settings."""
    names = set(weight_files(folder))
    for name in (SAFETENSORS, PICKLED):
        if (folder / (name + _INDEX)).is_file():
            names |= {name + _INDEX, *_shards(folder, name + _INDEX)}
    names |= {name for name in (*_SMALL, SAFETENSORS, PICKLED, _DISTRIBUTED) if (folder / name).is_file()}
    if is_adapter_folder(folder):
        names |= {name for name in (ADAPTER_CONFIG, *_ADAPTER) if (folder / name).is_file()}
    names |= {path.name for path in folder.glob("*.py") if path.is_file()}
    return sorted(names | set(_unpickled(folder)))


def _unpickled(folder: Path) -> Iterator[str]:
    """Names, with their folders, of all files that are called like a pickle or begin like one.

    Links to folders are not followed. Raises ScanError where there are more files than can be looked at.
    """
    seen, waiting = 0, [(folder, "", 0)]
    while waiting:
        place, prefix, level = waiting.pop()
        for entry in sorted(os.scandir(place), key=lambda one: one.name):
            seen += 1
            if seen > _MAX_ENTRIES:
                raise ScanError(f"{folder} holds more than {_MAX_ENTRIES:,} files: pass the model's own folder")
            if entry.is_dir(follow_symlinks=False):
                if level == _MAX_LEVELS:
                    raise ScanError(f"{folder / prefix} lies more than {_MAX_LEVELS} folders deep: remove it")
                if entry.name != ".git":
                    waiting.append((Path(entry.path), f"{prefix}{entry.name}/", level + 1))
            elif entry.is_file() and (_called_pickle(entry.name) or begins_as_pickle(Path(entry.path))):
                yield prefix + entry.name


def _called_pickle(name: str) -> bool:
    return name.endswith(_UNPICKLED) or name == _DISTRIBUTED


def surely_pickle(name: str) -> bool:
    """Whether a file of a folder is unpickled by some loader because of its name.

    Others that are called `.bin` or begin like a pickle may be anything: OpenVINO's weights, GGML's, fastText's. They
    are looked at all the same.
    """
    base = name.rsplit("/", 1)[-1]
    return base == _DISTRIBUTED or (
        base.endswith(_PICKLES) and (not base.endswith(".bin") or base.startswith(_WEIGHTS))
    )


def begins_as_pickle(path: Path) -> bool:
    """Whether the first bytes are those of a pickle of protocol 2 or later."""
    try:
        with path.open("rb") as file:
            head = file.read(2)
    except OSError:  # told where it is read
        return True
    return head[:1] == b"\x80" and head[1:] in (b"\x02", b"\x03", b"\x04", b"\x05")


def is_model_folder(folder: Path) -> bool:
    """Whether the folder says which model it holds."""
    return (folder / CONFIG).is_file() or is_adapter_folder(folder)


def is_adapter_folder(folder: Path) -> bool:
    """Whether the folder holds changes to a base model's weights, as peft saves them, and no model of its own.

    A config.json may lie beside them: its class names are read.
    """
    return (folder / ADAPTER_CONFIG).is_file() and not any((folder / name).is_file() for name in WHOLE)


def weights_format(path: Path) -> Format | None:
    """The format of a file of the folder that holds weights or could be unpickled; None for the others."""
    if path.suffix == ".safetensors":
        return "safetensors"
    if not _called_pickle(path.name) and not begins_as_pickle(path):
        return None
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"PK\x03\x04"):
        return "pytorch-zip"
    return "pytorch-legacy" if head.startswith(b"\x80") and b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." in head else "unknown"
