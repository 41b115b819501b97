"""The verdict as JSON, as `verdict.schema.json` describes it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ...evidence.result import ScanResult

if TYPE_CHECKING:
    from .formats import Given

# A list of numbers over several lines; text cannot match, since newlines in text are written as \n.
_NUMBERS = re.compile(r"\[\n\s+((?:-?[0-9.eE+-]+,\n\s+)*-?[0-9.eE+-]+)\n\s+\]")
_HALVES = re.compile("[\ud800-\udfff]")


def render(given: Given) -> str:
    """See `to_json`."""
    return to_json(given.result)


def to_json(result: ScanResult) -> str:
    """The whole result, field by field in the order of the types, ASCII only, histograms on one line each.

    Raises:
        ValueError: a figure is not finite; the types do not let that happen.
    """
    return as_json(result.model_dump())


def as_json(document: dict[str, Any]) -> str:
    """Indented, ASCII only, lists of numbers on one line each, and what is not valid Unicode replaced."""
    whole = json.dumps(document, ensure_ascii=False, allow_nan=False)
    # A path that is not UTF-8 brings halves of surrogate pairs in, and many parsers refuse the whole file for one.
    text = json.dumps(json.loads(_HALVES.sub("\N{REPLACEMENT CHARACTER}", whole)), indent=2)
    return _NUMBERS.sub(lambda found: "[" + " ".join(found.group(1).split()) + "]", text) + "\n"
