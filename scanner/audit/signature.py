"""Whether a file or folder is still what it was, by what the file system says and without reading it.

Size, time of change, inode and device: the time of change (ctime) is the kernel's, and no program sets it back without
setting the clock. What changed within the last moments is not trusted, since another change may carry the same time.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

SETTLED_SECONDS = 2.0  # file systems keep times to between a nanosecond and two seconds
MAX_ENTRIES = 20_000  # of a folder; a larger one has no signature and is read each time


def signature(
    path: Path, beside: Iterable[str] = (), *, base: Path | None = None, moment: float | None = None
) -> str | None:
    """Of a file with those `beside` it, or of a folder with all that is in it.

    Args:
        beside: names, relative to the file's folder.
        base: a further folder that belongs to it.
        moment: in seconds since 1970, now if it is not given: what has changed after it has no signature. Taken before
            a file is read, it tells whether what was read is what lies there.

    Returns:
        None where it cannot be told: it is gone, too large, or has changed just now.
    """
    digest, newest = hashlib.sha256(), 0
    try:
        for name, state in _states(path, beside, base):
            newest = max(newest, state.st_mtime_ns, state.st_ctime_ns)
            line = (name, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev)
            digest.update(repr(line).encode("utf-8", "surrogateescape"))
    except (OSError, ValueError, RuntimeError):
        return None
    settled = (time.time() if moment is None else moment) - newest / 1e9 > SETTLED_SECONDS
    return digest.hexdigest() if settled else None


def changed_at(path: Path, base: Path | None = None) -> float:
    """When the newest file of a model was changed, in seconds since 1970; infinity where that cannot be told.

    Of an ONNX file, which may have weights beside it, when any file of its folder was.
    """
    try:
        if path.suffix.lower() == ".onnx" and not path.is_dir():
            return max(max(state.st_mtime, state.st_ctime) for _, state in _states(path.parent, (), None))
        return max(max(state.st_mtime, state.st_ctime) for _, state in _states(path, (), base))
    except (OSError, ValueError, RuntimeError):
        return float("inf")


def _states(path: Path, beside: Iterable[str], base: Path | None) -> Iterator[tuple[str, os.stat_result]]:
    if not path.is_dir():
        yield str(path.resolve()), path.stat()
        for name in beside:
            yield name, (path.parent / name).stat()
        return
    left = MAX_ENTRIES
    for folder in filter(None, (path, base)):
        yield str(folder.resolve()), folder.stat()
        for place, folders, files in os.walk(folder):
            folders.sort()
            left -= len(folders) + len(files)
            if left < 0:
                raise ValueError("too many files")
            for name in sorted(files):
                where = Path(place) / name
                yield str(where.relative_to(folder)), where.stat()
