"""A YAML file that people write, policy or project: read under limits, and every mistake told with its place."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..evidence.errors import UsageError
from .parse import MAX_EVENTS, Document, Problem, parse

MAX_BYTES = 1 << 20
MAX_TOLD = 50


def read_bytes(name: str, kind: str = "policy", *, missing: str = "", limit: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file of at most `limit`, 1 MiB.

    Args:
        kind: what it should be, for the sentences.
        missing: said after "there is no such file".

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    path = Path(name)
    try:
        if path.is_dir():
            raise UsageError(f"{name}: is a folder, not a {kind} file")
        if not path.exists():
            raise UsageError(f"{name}: there is no such file{missing}")
        if not path.is_file():
            raise UsageError(f"{name}: is not a regular file")
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{name}: cannot be read: {reason}") from error
    if len(data) > limit:
        raise UsageError(f"{name}: is larger than {limit >> 20} MiB, which no {kind} is")
    return data


def document_of(
    data: bytes, name: str, kind: str = "policy", *, max_events: int = MAX_EVENTS, fast: bool = False
) -> Document:
    """The YAML document in `data`; what is wrong with it is in its `problems`. `fast` as in `parse`.

    Raises:
        UsageError: it is no text.
    """
    return parse(text_of(data, name, "YAML"), kind, max_events=max_events, fast=fast)


def text_of(data: bytes, name: str, language: str) -> str:
    """The bytes of a file as text, without a byte order mark.

    Raises:
        UsageError: they are none.
    """
    if b"\0" in data:
        raise UsageError(f"{name}: is a binary file, not {language} text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{name}:{line}: is not UTF-8 text") from error


def mistakes(name: str, problems: Iterable[Problem]) -> UsageError:
    """All that is wrong, one line a mistake: `FILE:LINE:COLUMN: sentence`."""
    lines = sorted(problems, key=lambda p: (p.line or 0, p.column or 0))
    told = [_line(name, problem) for problem in lines[:MAX_TOLD]]
    if len(lines) > MAX_TOLD:
        told.append(f"{name}: and {len(lines) - MAX_TOLD} more")
    return UsageError("\n".join(told))


def _line(name: str, problem: Problem) -> str:
    place = ":".join(str(part) for part in (name, problem.line, problem.column) if part)
    return f"{place}: {problem.sentence}"
