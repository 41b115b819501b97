"""Reads `ebyd-scan.yaml`: every mistake with its place, every path relative to the file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ...evidence.errors import UsageError
from ...policies.explain import explain
from ...policies.load import built_in_names
from ...policies.parse import Document, Problem, at
from ...policies.parse import Path as KeyPath
from ...policies.plugins import suggest
from ...policies.yaml_file import document_of, mistakes, read_bytes
from ..models.arch_args import parse_architecture
from .model import ONLY_ON_COMMAND_LINE, PROJECT_FILE, Defaults, ModelEntry, Options, Project, ReportPaths

KIND = "project file"
Model = TypeVar("Model", bound=BaseModel)
MAX_EVENTS = 40_000
_PATHS = ("samples", "classes", "base_model", "reference")  # beside model, policy and reports
_OPTION = {"classes": "classes_file", "policy": "policy_name"}  # where `read_request` has another name
_NEVER_NONE = ("policy", "device", "seed")  # "none" is then what the command has without them


@dataclass(frozen=True)
class ScanEntry:
    """One model of a project with the options that its scan gets; paths lead from the current folder."""

    name: str
    options: Mapping[str, Any]  # what `read_request` takes
    reports: Mapping[str, Path] = field(default_factory=dict)  # by format
    witness_dir: Path | None = None
    reference: Path | None = None
    remove_to: Path | None = None


def load_project(path: Path) -> list[ScanEntry]:
    """The models of a project file, in order. Nothing but this file is read.

    Raises:
        UsageError: there is no such file, or it is no valid project: one line a mistake, `FILE:LINE:COLUMN: sentence`.
    """
    missing = "; `ebyd-scan init` writes one" if path.name == PROJECT_FILE else ""
    return entries_of(read_bytes(str(path), KIND, missing=missing), path)


def entries_of(data: bytes, path: Path) -> list[ScanEntry]:
    """The same of bytes that `path` holds or will hold."""
    document = document_of(data, str(path), KIND, max_events=MAX_EVENTS)
    if document.problems:
        raise mistakes(str(path), document.problems)
    project, problems = _project(document)
    if project is None or problems:
        raise mistakes(str(path), problems)
    return [_entry(entry, project.defaults, path.parent) for entry in project.models]


def _project(document: Document) -> tuple[Project | None, list[Problem]]:
    if document.data is None:
        return None, [Problem("is empty; `ebyd-scan init` writes one to start from")]
    project, problems = validated(document, Project, KIND, keys_of(document))
    if project is None:
        return None, problems
    return project, repeated(project, document) + _incomplete(project, document)


def validated(
    document: Document, model: type[Model], kind: str, keys: Mapping[KeyPath, list[str]]
) -> tuple[Model | None, list[Problem]]:
    """The document as a model; all that is wrong with it where it is none.

    Args:
        kind: what the file should be, for the sentences.
        keys: the valid keys of every mapping, for the nearest valid name.
    """
    if not isinstance(document.data, dict):
        return None, [at(document.values.get(()), f"a {kind} is a mapping of keys to values at its top level")]
    forbidden = _forbidden(document, kind, keys)
    try:
        return model.model_validate_json(json.dumps(document.data)), []
    except ValidationError as error:
        told = explain(error, document, keys)
        places = {(problem.line, problem.column) for problem in forbidden}
        return None, [*forbidden, *(one for one in told if (one.line, one.column) not in places)]


def keys_of(document: Document, model: type[Project] = Project) -> dict[KeyPath, list[str]]:
    """The valid keys of every mapping in a project file, for the nearest valid name."""
    found: dict[KeyPath, list[str]] = {(): names_in(model), ("defaults",): names_in(Defaults)}
    found[("defaults", "reports")] = names_in(ReportPaths)
    for index in range(listed(document, "models")):
        found[("models", index)] = names_in(ModelEntry)
        found[("models", index, "reports")] = names_in(ReportPaths)
    return found


def listed(document: Document, key: str) -> int:
    """How many items a list at the top level has; 0 where there is none."""
    found = document.data.get(key) if isinstance(document.data, dict) else None
    return len(found) if isinstance(found, list) else 0


def names_in(model: type[BaseModel]) -> list[str]:
    """The keys of a mapping in a file."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _forbidden(document: Document, kind: str, places: Iterable[KeyPath]) -> list[Problem]:
    """What lets a model run its own code is not switched on by a file."""
    problems = []
    for place in places:
        for key in ONLY_ON_COMMAND_LINE:
            for written in (key, key.replace("-", "_")):
                if mark := document.keys.get((*place, written)):
                    sentence = f"{written!r} cannot be set in a {kind}: give --{key} to the run that needs it"
                    problems.append(at(mark, sentence))
    return problems


def repeated(project: Project, document: Document) -> list[Problem]:
    """Names that stand there twice, without regard to case."""
    first: dict[str, int] = {}
    problems = []
    for index, entry in enumerate(project.models):
        name = entry.name.casefold()  # they end in file names, and some disks know no case
        if name in first:
            line = document.values["models", first[name], "name"].line + 1
            sentence = f"{entry.name!r} is the name of a model on line {line} too"
            problems.append(at(document.values["models", index, "name"], sentence))
        first.setdefault(name, index)
    return problems


def _incomplete(project: Project, document: Document) -> list[Problem]:
    return [
        at(document.values["models", index], f"{entry.name!r} has no samples, and the defaults have none either")
        for index, entry in enumerate(project.models)
        if _option(entry, project.defaults, "samples") is None
    ]


def _option(entry: ModelEntry, defaults: Defaults, name: str) -> Any:
    """What the model says, also where it says "none" (`mean:`), else the defaults."""
    return getattr(entry if name in entry.model_fields_set else defaults, name)


def _entry(entry: ModelEntry, defaults: Defaults, folder: Path) -> ScanEntry:
    said = {name: _option(entry, defaults, name) for name in Options.model_fields}
    options = {
        "model": path_of(folder, entry.model, entry.name),
        "policy_name": built_in_names()[0],
        "device": "auto",
        "seed": 0,
        **options_of(said, folder, entry.name),
    }
    reference = options.pop("reference")
    return ScanEntry(
        entry.name,
        options,
        _reports(entry, defaults, folder),
        path_of(folder, _option(entry, defaults, "witness_dir"), entry.name),
        reference=reference,
        remove_to=path_of(folder, _option(entry, defaults, "remove_to"), entry.name),
    )


def said_by(part: Options) -> dict[str, Any]:
    """What a part of a file says, by field of `Options`: also None where it says "none" (`mean:`)."""
    return {name: getattr(part, name) for name in Options.model_fields if name in part.model_fields_set}


def options_of(said: Mapping[str, Any], folder: Path, name: str) -> dict[str, Any]:
    """The options of `read_request`, for those of the fields of `Options` that are said.

    Args:
        folder: where the file lies whose paths they are.
        name: the model's, for `{name}` in paths.
    """
    return {
        _OPTION.get(field, field): _value(field, value, folder, name)
        for field, value in said.items()
        if value is not None or field not in _NEVER_NONE
    }


def _value(field: str, value: Any, folder: Path, name: str) -> Any:
    if field in _PATHS:
        return path_of(folder, value, name)
    if field == "architecture":
        return _architecture(folder, value)
    if field == "arch_args":
        return value or {}
    if field == "policy":
        return value if value in built_in_names() else str(folder / value)
    if field == "size" and isinstance(value, int):
        return value, value
    return _tuple(value) if field in ("mean", "std", "size") else value


def _reports(entry: ModelEntry, defaults: Defaults, folder: Path) -> dict[str, Path]:
    """By format; what a model says of one format takes the place of the default for that format only."""
    found: dict[str, Path] = {}
    for given in (defaults.reports, entry.reports):
        for name in given.model_fields_set if given else ():
            option = ReportPaths.model_fields[name].alias or name
            found.pop(option, None)
            if value := getattr(given, name):
                found[option] = folder / value.replace("{name}", entry.name)
    return found


def path_of(folder: Path, value: str | None, name: str) -> Path | None:
    """A path of a file in `folder`, with the model's name in place of `{name}`."""
    return None if value is None else folder / value.replace("{name}", name)


def _architecture(folder: Path, spec: str | None) -> str | None:
    if spec is None:
        return None
    parsed = parse_architecture(spec)
    return f"{folder / parsed.where}:{parsed.name}" if parsed.kind == "file" else spec


def _tuple(value: Any) -> tuple[Any, ...] | None:
    return None if value is None else tuple(value) if isinstance(value, list) else (value,)


def pick(entries: list[ScanEntry], names: tuple[str, ...], path: Path) -> list[ScanEntry]:
    """Those with the names, in the order of the file; all where no name is given.

    Raises:
        UsageError: no model is called so.
    """
    for name in names:
        if name not in (every := [entry.name for entry in entries]):
            raise UsageError(f"--only {name}: {path} has no model of that name; {suggest(name, every)}")
    return [entry for entry in entries if not names or entry.name in names]
