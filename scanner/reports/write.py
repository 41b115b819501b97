"""Where reports go: checked before a scan of half an hour, written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from ...evidence.errors import ScanError, UsageError

# Where each path led when it was checked. What is put there while a scan runs is not what the user has agreed to.
_CHECKED: dict[Path, Path] = {}


def check_writable(reports: Mapping[str, Path], inputs: Iterable[Path] = ()) -> None:
    """See that every report can be written, before any work is done. Nothing is created.

    Args:
        reports: by the option that asks for it, e.g. `{"--junit": Path("report.xml")}`.
        inputs: the user's model, samples and other files, which are never overwritten.

    Raises:
        UsageError: a folder is missing or not writable, a path is a folder or an input, or two reports share a path.
    """
    given = list(inputs)
    taken: dict[Path, str] = {}
    for option, path in reports.items():
        try:
            _check(option, path, given)
            place = path.resolve()
        except (OSError, ValueError, RuntimeError) as error:  # NUL in the name, a loop of links, a name too long
            raise UsageError(f"{option} {path}: cannot be written: {error}") from error
        if place in taken and not _stream(path):
            raise UsageError(f"{option} and {taken[place]} would both be written to {path}")
        taken[place] = option
        if not _stream(path):
            _CHECKED[path.absolute()] = place


def _check(option: str, path: Path, inputs: list[Path]) -> None:
    if path.is_dir():
        raise UsageError(f"{option} {path}: is a folder; name a file in it")
    if _stream(path):
        return
    place = path.resolve()
    for given in inputs:
        if place == given.resolve() or (path.exists() and given.exists() and path.samefile(given)):
            raise UsageError(f"{option} {path}: is an input of this scan and will not be overwritten")
        if given.is_dir() and path.exists() and place.is_relative_to(given.resolve()):
            raise UsageError(f"{option} {path}: lies in the input {given}, and nothing there is overwritten")
    if not place.parent.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {place.parent}")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {path}: the folder {place.parent} is not writable")
    if path.exists() and not os.access(path, os.W_OK):
        raise UsageError(f"{option} {path}: is write-protected")


def check_folder(option: str, folder: Path, inputs: Iterable[Path] = ()) -> None:
    """See that files can be written into `folder`, which may be missing yet. Nothing is created.

    Raises:
        UsageError: it is no folder, cannot be made or written to, or lies in an input folder.
    """
    try:
        place = folder.resolve()
        for given in inputs:
            if given.is_dir() and place.is_relative_to(given.resolve()):
                raise UsageError(f"{option} {folder}: lies in the input {given}, and nothing is written there")
        there = next(parent for parent in (place, *place.parents) if os.path.lexists(parent))
        if not there.is_dir():
            raise UsageError(f"{option} {folder}: {there} is not a folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise UsageError(f"{option} {folder}: the folder {there} is not writable")
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{option} {folder}: cannot be used: {error}") from error


def write_atomically(path: Path, text: str | bytes) -> None:
    """Write `text`, as UTF-8 if it is none yet, so that a reader sees the old file or the whole new one.

    A link is followed where it was one when `check_writable` saw it. Streams such as `/dev/stderr` are written to as
    they are.

    Raises:
        ScanError: it cannot be written; the old file, if any, is as it was.
    """
    data = text if isinstance(text, bytes) else text.encode("utf-8", errors="replace")
    try:
        place = _CHECKED.get(path.absolute())
        if place is not None and (path.resolve() != place or _stream(path)):
            raise ScanError(f"{path}: was replaced while the work went on, so that the report is not written")
        if place is None and _stream(path):
            path.write_bytes(data)
        else:
            _replace(place or path.resolve(), data)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ScanError(f"{path}: the report cannot be written: {reason}") from error


def _replace(place: Path, data: bytes) -> None:
    # In the same folder, since a rename is atomic only within a file system; opened by hand rather than through
    # tempfile, so that the report gets the permissions that the user's umask gives.
    part = place.parent / f".ebyd-scan-{secrets.token_hex(8)}.part"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        if place.is_file() and not place.is_symlink():
            part.chmod(place.stat().st_mode & 0o777)
        part.replace(place)  # a link that has just been put there is replaced itself, not what it leads to
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _stream(path: Path) -> bool:
    """Devices and pipes: replacing one would take it away from everybody else."""
    absolute = path.absolute()
    return absolute.is_relative_to("/dev") or absolute.is_relative_to("/proc") or (path.exists() and not path.is_file())
