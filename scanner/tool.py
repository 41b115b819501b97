"""Which version of the tool this is."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version


@cache
def tool_version() -> str:
    """Of the installed package; looked up once, since that reads its metadata."""
    return version("ebyd-scan")
