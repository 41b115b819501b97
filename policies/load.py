"""Reads a policy by the name of a built-in one or from a YAML file, and tells every mistake with its place."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ..evidence.errors import UsageError
from .explain import explain
from .model import (
    AUTO,
    ON_INCONCLUSIVE,
    AcceptSettings,
    ExposureSettings,
    Limits,
    Policy,
    RemovalSettings,
    SampleSettings,
)
from .parse import Document, Problem, at
from .parse import Path as KeyPath
from .plugins import CHECKS, EXPOSERS, REMOVERS, options_model, plugin_class, plugin_names, settings_model, suggest
from .yaml_file import document_of, mistakes, read_bytes

Model = TypeVar("Model", bound=BaseModel)
BUILT_IN_ORDER = ("release-gate", "quick", "audit")


@dataclass(frozen=True)
class LoadedPolicy:
    """A valid policy; `sha256` is of the file's bytes, `source` its path or `built-in`."""

    policy: Policy
    sha256: str
    source: str


def built_in_names() -> tuple[str, ...]:
    """Names of the policies that are shipped, the default first."""
    return BUILT_IN_ORDER


def built_in_text(name: str) -> str:
    """The YAML of a built-in policy, comments and all.

    Raises:
        UsageError: there is no such policy.
    """
    if name not in BUILT_IN_ORDER:
        raise UsageError(f"there is no built-in policy {name!r}; {suggest(name, BUILT_IN_ORDER)}")
    return (files(__package__) / f"{name}.yaml").read_text(encoding="utf-8")


def load_policy(name_or_path: str) -> LoadedPolicy:
    """The policy of that name, else the one in that file. A built-in name always means the built-in policy.

    Raises:
        UsageError: there is neither, or the file is no valid policy: one line a mistake, `FILE:LINE:COLUMN: sentence`.
    """
    if name_or_path in BUILT_IN_ORDER:
        data = built_in_text(name_or_path).encode()
        return LoadedPolicy(_validate(data, f"{name_or_path}.yaml"), hashlib.sha256(data).hexdigest(), "built-in")
    data = _read(name_or_path)
    return LoadedPolicy(_validate(data, name_or_path), hashlib.sha256(data).hexdigest(), name_or_path)


def _read(name: str) -> bytes:
    path = Path(name)
    looks_like_a_file = path.suffix or len(path.parts) > 1
    also = "" if looks_like_a_file else f" and no built-in policy; {suggest(name, BUILT_IN_ORDER)}"
    return read_bytes(name, missing=also)


def _validate(data: bytes, name: str) -> Policy:
    document = document_of(data, name)
    policy, problems = None, document.problems
    if not problems:
        policy, problems = _policy(document)
    if policy is None or problems:
        raise mistakes(name, problems)
    return policy


def _policy(document: Document) -> tuple[Policy | None, list[Problem]]:
    if document.data is None:
        return None, [Problem("is empty; `ebyd-scan policy show release-gate` prints a policy to start from")]
    if not isinstance(document.data, dict):
        return None, [at(document.values[()], "a policy is a mapping of keys to values at its top level")]
    fields: dict[KeyPath, list[str]] = {
        (): list(Policy.model_fields),
        ("exposure",): list(ExposureSettings.model_fields),
        ("samples",): list(SampleSettings.model_fields),
        ("limits",): list(Limits.model_fields),
        ("removal",): list(RemovalSettings.model_fields),
        ("removal", "accept"): list(AcceptSettings.model_fields),
    }
    policy, problems = _try(Policy, document.data, document, fields, ())
    # Options are looked at even where the rest is wrong: all mistakes are told at once.
    problems += _exposer_problems(document) + _check_problems(document) + _removal_problems(document)
    return policy, problems


def _exposer_problems(document: Document) -> list[Problem]:
    assert isinstance(document.data, dict)
    exposure = document.data.get("exposure", {})
    if not isinstance(exposure, dict):
        return []
    method = exposure.get("method", ExposureSettings.model_fields["method"].default)
    options = exposure.get("options", {})
    if not isinstance(method, str) or not isinstance(options, dict):
        return []
    path: KeyPath = ("exposure", "options")
    try:
        model = options_model(plugin_class(EXPOSERS, method))
    except UsageError as error:
        return [at(document.values.get(("exposure", "method"), document.values[()]), str(error))]
    return _try(model, options, document, {path: list(model.model_fields)}, path)[1]


def _check_problems(document: Document) -> list[Problem]:
    assert isinstance(document.data, dict)
    checks = document.data.get("checks")
    problems: list[Problem] = []
    for name, settings in checks.items() if isinstance(checks, dict) else ():
        path: KeyPath = ("checks", name)
        try:
            model = settings_model(plugin_class(CHECKS, name))
        except UsageError as error:
            problems.append(at(document.keys[path], str(error)))
            continue
        if isinstance(settings, dict):
            names = [n for n in model.model_fields if n != ON_INCONCLUSIVE] + [ON_INCONCLUSIVE]
            problems += _try(model, settings, document, {path: names}, path)[1]
    return problems


def _removal_problems(document: Document) -> list[Problem]:
    assert isinstance(document.data, dict)
    removal = document.data.get("removal")
    if not isinstance(removal, dict):
        return []
    problems: list[Problem] = []
    installed = plugin_names(REMOVERS)
    method, candidates, options = (removal.get(key) for key in ("method", "candidates", "options"))
    named: list[tuple[KeyPath, object]] = [(("removal", "method"), method)] if method != AUTO else []
    for index, candidate in enumerate(candidates if isinstance(candidates, list) else ()):
        named.append((("removal", "candidates", index), candidate))
    for path, name in named:
        if isinstance(name, str) and name not in installed:
            valid = [AUTO, *installed] if path[1] == "method" else installed
            problems.append(at(document.values.get(path), f"unknown remover {name!r}; {suggest(name, valid)}"))
    for name, settings in options.items() if isinstance(options, dict) else ():
        path = ("removal", "options", name)
        try:
            model = options_model(plugin_class(REMOVERS, name))
        except UsageError as error:
            problems.append(at(document.keys.get(path), str(error)))
            continue
        if isinstance(settings, dict):
            problems += _try(model, settings, document, {path: list(model.model_fields)}, path)[1]
    return problems


def _try(
    model: type[Model], data: object, document: Document, fields: dict[KeyPath, list[str]], prefix: KeyPath
) -> tuple[Model | None, list[Problem]]:
    try:  # through JSON, where a list may stand for a tuple and strict means strict about the rest
        return model.model_validate_json(json.dumps(data)), []
    except ValidationError as error:
        return None, explain(error, document, fields, prefix)
