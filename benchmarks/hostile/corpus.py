"""All hostile model files."""

from __future__ import annotations

from . import archives, containers, gadgets, opcodes
from .case import Case

GROUPS = (gadgets.CASES, opcodes.CASES, archives.CASES, containers.CASES, containers.FOLDERS)


def cases() -> list[Case]:
    """Every case, in order. Each is made anew by its `make`."""
    return [case for group in GROUPS for case in group]
