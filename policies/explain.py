"""Pydantic's errors as sentences for the person who wrote the policy, with the value as it was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from .parse import Document, Path, Problem, at
from .plugins import suggest

_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "none_required": "empty",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "list_type": "a list",
    "tuple_type": "a list",
}
_BOUNDS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
    "multiple_of": ("a multiple of", "multiple_of"),
}


def explain(
    error: ValidationError, document: Document, fields: Mapping[Path, Iterable[str]], prefix: Path = ()
) -> list[Problem]:
    """One problem a place.

    Args:
        error: what a model said about (a part of) the document.
        document: where everything stands.
        fields: the valid keys of each mapping, by its path in the document, for the nearest valid name.
        prefix: the path of the part that was validated.
    """
    problems: dict[Path, Problem] = {}
    for detail in error.errors(include_url=False):
        path = _known((*prefix, *detail["loc"]), document)
        if path in problems:  # the alternatives of a union: the first says enough
            continue
        kind = detail["type"]
        if kind == "extra_forbidden":
            key = str(path[-1])
            inside = f" in {dotted(path[:-1])}" if path[:-1] else ""
            sentence = f"unknown key {key!r}{inside}; {suggest(key, fields.get(path[:-1], ()))}"
            problems[path] = at(document.keys.get(path), sentence)
        elif kind == "missing":
            missing = dotted((*prefix, *detail["loc"]))
            problems[*path, missing] = at(document.values.get(path), f"{missing!r} is missing")
        else:
            problems[path] = at(document.values.get(path), f"{dotted(path)} {_wish(dict(detail), path, document)}")
    return list(problems.values())


def _wish(detail: dict[str, Any], path: Path, document: Document) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    got = _got(detail["input"], path, document)
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}, not {got}"
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"must be {words} {context[bound]:.10g}, not {got}"
    if kind == "literal_error":
        valid = str(context["expected"])
        near = suggest(str(detail["input"]), valid.replace(" or ", ", ").replace("'", "").split(", "))
        return f"must be {valid}, not {got}" + (f"; {near}" if near.startswith("did") else "")
    if kind in ("too_short", "string_too_short"):
        return (
            "must not be empty" if context["min_length"] == 1 else f"must have at least {context['min_length']} items"
        )
    if kind in ("too_long", "string_too_long"):
        return f"must not be longer than {context['max_length']}"
    if kind == "value_error":
        return f"{context['error']}, not {got}"
    return f"is wrong: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _got(value: object, path: Path, document: Document) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    written = document.written.get(path, str(value))
    if value is None:
        return "empty"
    if len(written) > 60:
        written = written[:57] + "..."
    return f"the text {written!r}" if isinstance(value, str) else written


def _known(path: Path, document: Document) -> Path:
    """The longest part that stands in the file: pydantic adds the names of a union's alternatives at the end."""
    while path and path not in document.values:
        path = path[:-1]
    return path


def dotted(path: Path) -> str:
    """`exposure.seeds`; "a policy" for the whole."""
    return ".".join(map(str, path)) or "a policy"
