"""The bytes of a text file: within limits, decoded, cut into lines."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ...evidence.errors import ScanError, UsageError

MAX_FILE = 2**30  # bytes
_BREAK = re.compile(r"\r\n|\r|\n")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def read_bytes(path: Path) -> bytes:
    """The content. Raises UsageError if there is no such file, ScanError if it cannot be read or is too large."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe or a device never ends
            raise UsageError(f"{path}: is not a file; give a .csv, .tsv, .jsonl or .parquet file")
        if found.st_size <= MAX_FILE:
            with path.open("rb") as file:
                data = file.read(MAX_FILE + 1)  # it may have grown meanwhile
            if len(data) <= MAX_FILE:
                return data
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file; give the clean samples with --samples") from None
    except OSError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror}); give a file that you may read") from error
    raise ScanError(f"{path}: is larger than {MAX_FILE // 2**30} GiB; give a part of it, a few thousand rows suffice")


def decoded(path: Path, data: bytes) -> str:
    """UTF-8, with or without a byte order mark, or UTF-16 with one.

    Raises ScanError naming the line for other bytes and for NUL, which no text has and many a library stops at.
    """
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        # Counted in the bytes themselves: utf-8-sig counts from after the mark.
        start = error.start + (3 if encoding == "utf-8-sig" and data.startswith(b"\xef\xbb\xbf") else 0)
        line = 1 + len(_BREAK.findall(data[:start].decode(encoding, "replace")))
        raise ScanError(
            f"{path}, line {line}: byte {start} of the file, 0x{data[min(start, len(data) - 1)]:02x}, is not "
            f"{'UTF-16' if encoding == 'utf-16' else 'UTF-8'}; save the file as UTF-8"
        ) from None
    place = text.find("\0")
    if place >= 0:
        line = 1 + len(_BREAK.findall(text, 0, place))
        raise ScanError(f"{path}, line {line}: holds a NUL character, which no text has; save the file as UTF-8 text")
    return text


def lines(text: str) -> Iterator[str]:
    r"""Lines with their ends, which are \n, \r\n or \r alone.

    Not str.splitlines, which also breaks at U+2028, form feeds and others that stand inside of texts.
    """
    return (match[0] for match in _LINE.finditer(text))
