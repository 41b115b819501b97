"""What models of an audit share and is digested when it begins: is it still what it was?

An audit may take hours. What its workers read after such a file has changed must not be kept under its old digest.
"""

from __future__ import annotations

import math
from pathlib import Path

from .signature import signature


class Watched:
    """Files and folders as they lay there when this was made, by what the file system says."""

    def __init__(self, states: dict[Path, str | None] | None = None) -> None:
        self._states = states or {}

    def changed(self) -> Path | None:
        """The first that is not as it was, or None."""
        return next((path for path, state in self._states.items() if state_of(path) != state), None)


def state_of(path: Path) -> str | None:
    """What tells a file or folder from what it will be once it has changed, however short ago it did; None if gone."""
    return signature(path, moment=math.inf)
