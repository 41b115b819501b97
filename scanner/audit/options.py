"""From what a command line, a manifest and rules say to the options of one scan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ...checks.folder_files import is_adapter_folder
from ...evidence.errors import UsageError
from ...policies.load import built_in_names
from ..models.arch_args import parse_architecture
from ..request import TEXT_TABLES

NOTHING_SAID: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "samples": None,
        "classes_file": None,
        "architecture": None,
        "arch_args": (),
        "mean": None,
        "std": None,
        "size": None,
        "policy_name": built_in_names()[0],
        "device": "auto",
        "seed": 0,
        "timeout": None,
        "memory": None,
        "allow_pickle": False,
        "trust_remote_code": False,
        "base_model": None,
        "reference": None,
        "text_column": None,
        "pair_column": None,
        "label_column": None,
        "max_length": None,
    }
)
"""The options of `read_request`, as they are where nobody says anything."""
_OF_PICTURES: Final = ("classes_file", "architecture", "arch_args", "mean", "std", "size")


def of_texts(samples: object) -> bool:
    """Whether samples are texts, by their suffix."""
    return isinstance(samples, Path) and samples.suffix.lower() in TEXT_TABLES


def options_for(path: Path, said: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """All options of one model's scan: what is said of it, for the rest the defaults of the command line.

    Of those defaults a model gets the ones that fit: an architecture and what is about pictures not where its samples
    are texts, an architecture not where it is a folder, a base model only where it is an adapter.
    """
    fit = dict(defaults)
    if of_texts(said.get("samples", defaults.get("samples"))):
        fit = {name: value for name, value in fit.items() if name not in _OF_PICTURES}
    elif fit.get("architecture") and _is_folder(path):
        fit = {name: value for name, value in fit.items() if name not in ("architecture", "arch_args")}
    if fit.get("base_model") and not _is_adapter(path):
        del fit["base_model"]
    return {**NOTHING_SAID, **fit, **said, "model": path}


def files_of(options: Mapping[str, Any]) -> Iterable[Path]:
    """Every file and folder of the user's that a scan with these options reads."""
    names = ("model", "samples", "classes_file", "base_model", "reference")
    yield from (options[name] for name in names if options[name] is not None)
    if options["policy_name"] not in built_in_names():
        yield Path(options["policy_name"])
    if options["architecture"]:
        try:
            parsed = parse_architecture(options["architecture"])
        except UsageError:  # of the command line: told by whoever looks at the model
            return
        if parsed.kind == "file":
            yield Path(parsed.where)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # told where it is read
        return False


def _is_adapter(path: Path) -> bool:
    try:
        return is_adapter_folder(path)
    except (OSError, ValueError):
        return False
