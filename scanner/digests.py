"""SHA-256 of files and samples as a scan gives them, without torch: to see whether they are still what was scanned."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from ..evidence.errors import MissingExtra, ScanError


def file_digest(path: Path) -> str:
    """Of a regular file's bytes; a pipe does not block, a device is not read.

    Raises:
        FileNotFoundError: it is not there.
        ScanError: it cannot be read, or is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ScanError(f"{path} is not a regular file")
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(str(path)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ScanError(f"{path} cannot be read ({reason})") from None


def samples_digest(path: Path, classes_file: Path | None = None) -> str:
    """Of clean samples: of the file's bytes, or of names and contents of a folder of class folders.

    Raises:
        FileNotFoundError: they are not there.
        ScanError: they cannot be read.
        MissingExtra: a folder is looked at with Pillow, which knows images by their content.
    """
    try:
        folder = path.is_dir()
    except (OSError, ValueError) as error:  # too long a name, or no right to look
        raise ScanError(
            f"{str(path)[:200]} cannot be read ({error.strerror if isinstance(error, OSError) else error})"
        ) from None
    if not folder:
        return file_digest(path)
    try:
        from .samples.folder import folder_digest
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "pillow", "torch") from None
    return folder_digest(path, classes_file)


def tree_digest(path: Path) -> str:
    """Of a file's bytes, or of the names and bytes of all files in a folder; raises as `file_digest` does."""
    if not path.is_dir():
        return file_digest(path)
    lines = [
        f"{file_digest(place)}  {place.relative_to(path)}\n" for place in sorted(path.rglob("*")) if place.is_file()
    ]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
