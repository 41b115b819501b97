"""How a step talks to GitHub Actions: annotations, step outputs and the summary of a job.

After the documentation of workflow commands: a percent sign, CR and LF are written %25, %0D and %0A; in properties, `:`
and `,` likewise. A step shows ten annotations of a kind, and a summary of up to 1 MiB.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["error", "warning", "notice"]
MAX_OF_A_KIND = 10
MAX_SUMMARY = 1 << 20  # bytes
MAX_MESSAGE = 4000  # characters; the whole text is in the reports
_CUT = "\n\n*Cut here: the whole report is among the files of this scan.*\n"


@dataclass(frozen=True)
class Annotation:
    """A line that GitHub shows beside the changes of a pull request and on the page of the run."""

    kind: Kind
    title: str
    message: str
    file: str | None = None  # relative to the repository

    def command(self) -> str:
        """The line that makes the runner show it."""
        properties = {"file": self.file, "title": self.title}
        given = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value)
        return f"::{self.kind} {given}::{_data(self.message[:MAX_MESSAGE])}"


def annotate(annotations: list[Annotation]) -> list[str]:
    """Their lines, ten of a kind at most; the tenth says how many were left out."""
    lines: list[str] = []
    for kind in ("error", "warning", "notice"):
        of_kind = [one for one in annotations if one.kind == kind]
        if len(of_kind) > MAX_OF_A_KIND:
            left = len(of_kind) - MAX_OF_A_KIND + 1
            last = Annotation(of_kind[0].kind, "ebyd-scan", f"{left} more are in the reports.")
            of_kind = [*of_kind[: MAX_OF_A_KIND - 1], last]
        lines += [one.command() for one in of_kind]
    return lines


@contextmanager
def without_commands() -> Iterator[None]:
    """What is printed inside is text: names in a model must not order the runner about."""
    token = secrets.token_hex(16)
    print(f"::stop-commands::{token}", flush=True)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        print(f"\n::{token}::", flush=True)  # on a line of its own, whatever was printed last


def output_text(outputs: Mapping[str, str]) -> str:
    """The lines of `$GITHUB_OUTPUT`. No value can end its own or begin another."""
    parts = []
    for name, value in outputs.items():
        mark = f"ebyd_{secrets.token_hex(16)}"
        parts.append(f"{name}<<{mark}\n{value}\n{mark}\n")
    return "".join(parts)


def add_summary(file: Path, text: str) -> None:
    """Append to `$GITHUB_STEP_SUMMARY`; what does not fit is cut off at a line's end and that is said.

    Raises:
        OSError: it cannot be written.
    """
    room = MAX_SUMMARY - (file.stat().st_size if file.exists() else 0)
    data = text.encode(errors="replace")
    if len(data) > room:
        kept = data[: max(0, room - len(_CUT.encode()))]
        data = kept[: kept.rfind(b"\n") + 1] + _CUT.encode()
        if len(data) > room:
            return
    with file.open("ab") as stream:
        stream.write(data)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
