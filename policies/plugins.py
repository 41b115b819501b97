"""Checks, exposers and removers, found through entry points; only the ones that a policy names are imported."""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from ..evidence.context import Check, Exposer
from ..evidence.errors import MissingExtra, UsageError
from ..evidence.repair import Remover
from .model import ON_INCONCLUSIVE, OnInconclusive, Policy

Group = Literal["ebyd_scan.checks", "ebyd_scan.exposers", "ebyd_scan.removers"]
CHECKS: Group = "ebyd_scan.checks"
EXPOSERS: Group = "ebyd_scan.exposers"
REMOVERS: Group = "ebyd_scan.removers"


def plugin_names(group: Group, *, built_in_only: bool = False) -> list[str]:
    """Names of the installed checks, exposers or removers, sorted; nothing is imported."""
    points = entry_points(group=group)
    return sorted({p.name for p in points if not built_in_only or p.value.startswith("ebyd_scan.")})


def plugin_class(group: Group, name: str) -> type[Any]:
    """The class behind a name.

    Raises:
        UsageError: no such name, two packages offer it, or its module cannot be imported.
    """
    kind = group.removeprefix("ebyd_scan.").removesuffix("s")
    points = {point.value: point for point in entry_points(group=group, name=name)}
    if not points:
        installed = plugin_names(group)
        raise UsageError(f"unknown {kind} {name!r}; {suggest(name, installed)}")
    if len(points) > 1:  # never let a stray package stand in for a check that a gate relies on
        raise UsageError(f"{kind} {name!r} is offered more than once: {', '.join(sorted(points))}")
    return _load(next(iter(points.values())), kind)


def _load(point: EntryPoint, kind: str) -> type[Any]:
    try:
        loaded = point.load()
    except MissingExtra:
        raise
    except Exception as error:  # third-party code: anything can come out of an import
        raise UsageError(
            f"{kind} {point.name!r} cannot be imported from {point.value}: {type(error).__name__}: {error}"
        ) from error
    if not inspect.isclass(loaded):
        raise UsageError(f"{kind} {point.name!r} is not a class: {point.value}")
    return loaded


def options_model(cls: type[Any]) -> type[BaseModel]:
    """A pydantic model of a plug-in's hyper-parameters: its keyword-only constructor arguments.

    Raises:
        UsageError: the constructor takes anything else, or an argument without a default or an annotation.
    """
    fields: dict[str, Any] = {}
    if "__init__" in vars(cls) or cls.__init__ is not object.__init__:
        hints = typing.get_type_hints(cls.__init__, include_extras=True)
        for parameter in list(inspect.signature(cls.__init__).parameters.values())[1:]:
            if parameter.kind is not parameter.KEYWORD_ONLY or parameter.default is parameter.empty:
                raise UsageError(f"{cls.__name__}: {parameter.name!r} is not a keyword-only argument with a default")
            if parameter.name not in hints or parameter.name == ON_INCONCLUSIVE:
                raise UsageError(f"{cls.__name__}: argument {parameter.name!r} has no annotation or a reserved name")
            fields[parameter.name] = (hints[parameter.name], parameter.default)
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())
    return create_model(f"{cls.__name__}Options", __config__=config, __doc__=_summary(cls), **fields)


def settings_model(cls: type[Any]) -> type[BaseModel]:
    """What a policy may write under a check: its hyper-parameters and `on_inconclusive`.

    Raises:
        UsageError: see `options_model`.
    """
    described = Field(None, description="what it means when this check is inconclusive; else the policy's own")
    extra: dict[str, Any] = {ON_INCONCLUSIVE: (OnInconclusive | None, described)}
    return create_model(f"{cls.__name__}Settings", __base__=options_model(cls), __doc__=_summary(cls), **extra)


def _summary(cls: type[Any]) -> str:
    """The first paragraph: the rest is for those who read the code."""
    return (inspect.getdoc(cls) or "").split("\n\n")[0]


def build_checks(policy: Policy) -> list[Check]:
    """The policy's checks with their hyper-parameters, in its order.

    Raises:
        UsageError: a check is not installed or does not take these hyper-parameters.
    """
    checks: list[Check] = []
    for name, settings in policy.checks.items():
        options = {key: value for key, value in settings.items() if key != ON_INCONCLUSIVE}
        checks.append(_build(plugin_class(CHECKS, name), f"check {name!r}", options))
    return checks


def build_exposer(policy: Policy) -> Exposer:
    """The policy's exposer with its hyper-parameters.

    Raises:
        UsageError: it is not installed or does not take these hyper-parameters.
    """
    method = policy.exposure.method
    exposer: Exposer = _build(plugin_class(EXPOSERS, method), f"exposer {method!r}", policy.exposure.options)
    return exposer


def build_remover(name: str, options: Mapping[str, Any]) -> Remover:
    """A remover with these hyper-parameters.

    Raises:
        UsageError: it is not installed or does not take these hyper-parameters.
    """
    remover: Remover = _build(plugin_class(REMOVERS, name), f"remover {name!r}", options)
    return remover


def _build(cls: type[Any], what: str, options: Mapping[str, Any]) -> Any:
    import json

    try:  # through JSON, where a list may stand for a tuple and strict means strict about the rest
        validated = options_model(cls).model_validate_json(json.dumps(options))
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise UsageError(f"{what}: {told}") from error
    # Only what was written: a default may be an object that a model would copy.
    return cls(**{name: getattr(validated, name) for name in validated.model_fields_set})


def suggest(word: str, valid: Iterable[str]) -> str:
    """The way out for a name that does not exist: the nearest one, else all of them."""
    names = list(valid)
    near = difflib.get_close_matches(word, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"valid here: {', '.join(names)}" if names else "there are none"
