"""What models of an audit share, and is digested when it begins: is it still what it was?

An audit may take hours. What its workers read after such a file has changed must not be kept under its old digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from ...evidence.errors import ScanError
from ..digests import tree_digest


class Watched:
    """Files and folders as they were digested."""

    def __init__(
        self,
        places: Callable[[], list[Path]] = list,
        digests: dict[Path, str] | None = None,
        states: dict[Path, str | None] | None = None,
    ) -> None:
        """Of the `places`, which are looked up now and anew each time; made before they are digested.

        The states are those before the digests; what is only touched later is noted in them.
        """
        self._places, self._before = places, places()
        self._digests = {} if digests is None else digests  # filled by whoever digests
        self._states = {} if states is None else states

    def changed(self) -> Path | None:
        """The first that is not what it was, that is gone or that is new; None if all is as it was."""
        every = dict.fromkeys(self._before + self._places())
        return next((place for place in every if self._differs(place)), None)

    def _differs(self, place: Path) -> bool:
        if place not in self._digests:
            return True
        state = state_of(place)
        if state is not None and state == self._states.get(place):
            return False
        try:
            differs = tree_digest(place) != self._digests[place]
        except (OSError, ScanError):
            return True
        self._states[place] = state
        return differs


def state_of(path: Path) -> str | None:
    """What the file system says of a file, or of a folder with all that is in it; None if it is gone."""
    digest = hashlib.sha256()
    try:
        for place in [path, *(sorted(path.rglob("*")) if path.is_dir() else ())]:
            try:
                told = place.stat()
            except OSError:  # a link that leads nowhere, or not yet
                told = place.lstat()
            line = (str(place), told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino, told.st_dev)
            digest.update(repr(line).encode("utf-8", "surrogateescape"))
    except OSError:
        return None
    return digest.hexdigest()
