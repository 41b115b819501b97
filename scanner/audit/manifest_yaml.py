"""Manifests and rules as YAML. A manifest is a project file that may have folders and rules as well."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from ...evidence.errors import UsageError
from ...policies.parse import Document, Problem
from ...policies.parse import Path as KeyPath
from ...policies.yaml_file import document_of, mistakes, read_bytes
from ..project.load import keys_of, listed, names_in, options_of, path_of, repeated, said_by, validated
from ..project.model import ModelEntry, Options, Project, TakenPath
from .names import named
from .plan import MAX_MODELS, Plan
from .rules import MAX_RULES, Rule, RuleFile, Rules
from .wanted import Asked, Wanted, plan_of

MAX_BYTES: Final = 16 << 20
MAX_EVENTS: Final = 1_000_000  # five seconds
_NOT_FOR_AUDITS: Final = ("reports", "witness-dir", "remove-to")


class Manifest(Project):
    """Models to audit, and folders of models with rules for what lies in them. Paths are relative to the file."""

    models: list[ModelEntry] = Field(default_factory=list, max_length=MAX_MODELS, description="models to scan")
    folders: list[TakenPath] = Field(default_factory=list, max_length=1000, description="folders whose models to scan")
    rules: list[Rule] = Field(
        default_factory=list, max_length=MAX_RULES, description="for what is in the folders; later go before earlier"
    )


def read_manifest(path: Path, defaults: Mapping[str, Any]) -> Plan:
    """The plan of a .yaml file.

    Raises:
        UsageError: it cannot be read or is wrong, a line a mistake: `FILE:LINE:COLUMN: sentence`; a folder that it
            names cannot be read.
    """
    return plan_of(manifest_of(read_bytes(str(path), "manifest", limit=MAX_BYTES), path, defaults), defaults)


def manifest_of(data: bytes, path: Path, defaults: Mapping[str, Any]) -> Asked:
    """What the bytes ask for that `path` holds. `defaults` say where samples are that lie in its folders."""
    document = _document(data, path, "manifest")
    _name_the_rest(document)
    keys = {**keys_of(document, Manifest), **_keys_of_rules(document)}
    manifest, problems = validated(document, Manifest, "manifest", keys)
    if manifest is None:
        raise mistakes(str(path), problems)
    problems = repeated(manifest, document)
    if not manifest.models and not manifest.folders:
        problems.append(Problem("lists no models and no folders"))
    if problems:
        raise mistakes(str(path), problems)
    asked = Asked(path, [_wanted(manifest, index, document, path) for index in range(len(manifest.models))])
    asked.notes += _unheeded(document, path)
    if manifest.folders:
        from .from_folder import add_folders

        rules = Rules(manifest.rules, manifest.defaults, path, _lines(document))
        add_folders(asked, [path.parent / folder for folder in manifest.folders], manifest.folders, rules, defaults)
    elif manifest.rules:
        asked.notes.append(f"{path}: has rules, which are for the models in `folders`, and no folders")
    return asked


def read_rules(path: Path) -> Rules:
    """The rules of a file.

    Raises:
        UsageError: it cannot be read or is wrong: one line a mistake, `FILE:LINE:COLUMN: sentence`.
    """
    document = _document(read_bytes(str(path), "rules"), path, "rules file")
    keys: dict[KeyPath, list[str]] = {(): names_in(RuleFile), ("defaults",): names_in(Options)}
    found, problems = validated(document, RuleFile, "rules file", {**keys, **_keys_of_rules(document)})
    if found is None:
        raise mistakes(str(path), problems)
    return Rules(found.rules, found.defaults, path, _lines(document))


def _document(data: bytes, path: Path, kind: str) -> Document:
    document = document_of(data, str(path), kind, max_events=MAX_EVENTS, fast=True)
    if document.problems:
        raise mistakes(str(path), document.problems)
    if document.data is None:
        raise UsageError(f"{path}: is empty, and a {kind} begins with `version: 1`")
    return document


def _keys_of_rules(document: Document) -> dict[KeyPath, list[str]]:
    return {("rules", index): names_in(Rule) for index in range(listed(document, "rules"))}


def _lines(document: Document) -> list[int]:
    return [document.values["rules", index].line + 1 for index in range(listed(document, "rules"))]


def _name_the_rest(document: Document) -> None:
    """Give the models that have no name one of their path."""
    models = document.data.get("models") if isinstance(document.data, dict) else None
    entries = [one for one in models if isinstance(one, dict)] if isinstance(models, list) else []
    taken = [one["name"] for one in entries if isinstance(one.get("name"), str)]
    unnamed = [one for one in entries if "name" not in one and isinstance(one.get("model"), str)]
    for entry, name in zip(unnamed, named([one["model"] for one in unnamed], taken), strict=True):
        entry["name"] = name


def _wanted(manifest: Manifest, index: int, document: Document, path: Path) -> Wanted:
    entry, folder = manifest.models[index], path.parent
    said = options_of({**said_by(manifest.defaults), **said_by(entry)}, folder, entry.name)
    model = path_of(folder, entry.model, entry.name)
    assert model is not None
    return Wanted(entry.name, model, said, f"{path.name}:{document.values['models', index].line + 1}")


def _unheeded(document: Document, path: Path) -> list[str]:
    """What a project file says that is for `scan`: audits write their own reports, and repair nothing."""
    places: list[KeyPath] = [("defaults",), *(("models", index) for index in range(listed(document, "models")))]
    found = [key for key in _NOT_FOR_AUDITS if any((*place, key) in document.keys for place in places)]
    told = ", ".join(f"`{key}`" for key in found)
    return [f"{path}: {told}: for `ebyd-scan scan`, an audit takes no notice of it"] if found else []
