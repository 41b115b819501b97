"""A first `ebyd-scan.yaml`: what lies in a folder, and the text of the file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from ...checks.folder_files import is_adapter_folder, is_model_folder
from ...evidence.errors import UsageError
from ...policies.load import built_in_names
from ..request import TEXT_TABLES

WEIGHTS_ONLY: Final = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")  # may need --architecture
_MODELS: Final = (*WEIGHTS_ONLY, ".pt2", ".onnx")
_NOT_LOOKED_INTO: Final = {"node_modules", "venv", "env", "site-packages", "__pycache__", "build", "dist"}
_DEPTH: Final = 3
_MAX_ENTRIES: Final = 5000
_SAMPLES_FOLDERS: Final = ("clean", "samples", "clean-samples", "clean_samples", "val", "test")
_HEADER: Final = """\
# What `ebyd-scan scan` scans in this project, and how. Paths are relative to this file; {name} is the model's name.
# `ebyd-scan project validate` checks it, `ebyd-scan project schema` prints all keys for editors.
"""


@dataclass
class Draft:
    """What goes into the file; options by their names there, None for those that are left out."""

    models: list[Path]
    samples: Path | None = None
    architecture: str | None = None
    options: dict[str, Any] = field(default_factory=dict)  # for all models
    reports: Sequence[str] = ("json", "junit")
    reports_folder: str = "reports"


def needs_architecture(model: Path) -> bool:
    """Whether a file may hold weights only, by its name: TorchScript is called .pt too."""
    return model.suffix.lower() in WEIGHTS_ONLY and not model.is_dir()


def find_models(folder: Path) -> list[Path]:
    """Model files and Hugging Face folders below `folder`, by name, three levels deep. Nothing is opened."""
    found: list[Path] = []
    folders: list[Path] = []
    for path in _walk(folder):
        if any(path.is_relative_to(inside) for inside in folders):
            continue
        if path.is_dir():
            if is_model_folder(path) or is_adapter_folder(path):
                found.append(path)
                folders.append(path)
        elif path.suffix.lower() in _MODELS and path.is_file():
            found.append(path)
    return found


def find_samples(folder: Path) -> list[Path]:
    """What may be clean samples, the likeliest first: folders that are called so, .npz files, tables of texts."""
    entries = [path for path in _walk(folder) if not _in_model_folder(path)]
    named = [p for p in entries if p.name.lower() in _SAMPLES_FOLDERS and p.is_dir() and any(_folders(p))]
    arrays = [path for path in entries if path.suffix.lower() == ".npz" and path.is_file()]
    tables = [path for path in entries if path.suffix.lower() in TEXT_TABLES and path.is_file()]
    return [*named, *arrays, *tables]


def text_of(draft: Draft, folder: Path) -> str:
    """The file's text, for a file in `folder`.

    Raises:
        UsageError: a path cannot be written as text.
    """
    defaults: dict[str, Any] = {}
    if draft.samples is not None:
        defaults["samples"] = _relative(draft.samples, folder)
    alone = draft.architecture is not None and all(map(needs_architecture, draft.models))
    of_weights = {"architecture": _architecture(draft.architecture, folder)} if draft.architecture else {}
    if of_weights and draft.options.get("arch-args"):
        of_weights["arch-args"] = draft.options["arch-args"]
    defaults |= of_weights if alone else {}
    defaults |= {key: value for key, value in draft.options.items() if value is not None and key != "arch-args"}
    for key in ("classes", "base-model", "policy"):
        if key in defaults and not (key == "policy" and defaults[key] in built_in_names()):
            defaults[key] = _relative(Path(defaults[key]), folder)
    if draft.reports:
        defaults["reports"] = {name: f"{draft.reports_folder}/{{name}}.{_suffix(name)}" for name in draft.reports}
    models = []
    for name, path in _names(draft.models).items():
        entry: dict[str, Any] = {"name": name, "model": _relative(path, folder)}
        models.append(entry | (of_weights if not alone and needs_architecture(path) else {}))
    return _HEADER + _yaml({"version": 1, "defaults": defaults, "models": models})


def _yaml(data: Mapping[str, Any]) -> str:
    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # they are refused in the file
            return True

    return yaml.dump(dict(data), Dumper=Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)


def _suffix(report: str) -> str:
    return {"json": "json", "junit": "junit.xml", "html": "html", "markdown": "md", "sarif": "sarif"}.get(
        report, f"{report}.json"
    )


def _names(models: Sequence[Path]) -> dict[str, Path]:
    """A name for each model that can stand in file names, no two alike."""
    named: dict[str, Path] = {}
    taken: set[str] = set()
    for path in models:
        stem = path.name if path.is_dir() else path.stem
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem or path.resolve().name).strip("-._")[:80] or "model"
        name, number = plain, 2
        while name.casefold() in taken:
            name, number = f"{plain}-{number}", number + 1
        taken.add(name.casefold())
        named[name] = path
    return named


def _relative(path: Path, folder: Path) -> str:
    try:
        text = os.path.relpath(path, folder)
        text.encode()
    except ValueError as error:  # another drive, or a name that is not UTF-8
        raise UsageError(f"{str(path)!r} cannot be written into a project file: {error}") from None
    return text


def _architecture(spec: str, folder: Path) -> str:
    where, _, name = spec.rpartition(":")
    return f"{_relative(Path(where), folder)}:{name}" if where.endswith(".py") else spec


def _walk(folder: Path) -> Iterator[Path]:
    """Entries below a folder in order, breadth first, without hidden ones and links to folders."""
    level, seen = [folder], 0
    for _ in range(_DEPTH):
        deeper: list[Path] = []
        for parent in level:
            try:
                entries = sorted(parent.iterdir())
            except OSError:
                continue
            for path in entries:
                seen += 1
                if seen > _MAX_ENTRIES:
                    return
                if path.name.startswith(".") or path.name in _NOT_LOOKED_INTO:
                    continue
                yield path
                if path.is_dir() and not path.is_symlink():
                    deeper.append(path)
        level = deeper


def _folders(path: Path) -> Iterator[Path]:
    try:
        yield from (entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return


def _in_model_folder(path: Path) -> bool:
    return is_model_folder(path.parent) or is_adapter_folder(path.parent)
