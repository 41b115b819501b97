"""One scan from the command line: supervise it, write the reports, leave with the verdict's exit code."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import click

from ...evidence.errors import ScanError, UsageError
from ...evidence.result import ScanResult
from ...policies.load import LoadedPolicy
from ..reports.json_report import to_json
from ..reports.junit import InconclusiveAs, to_junit
from ..reports.terminal import to_text
from ..reports.write import check_writable, write_atomically
from ..request import ScanRequest
from ..supervisor import supervise
from .progress import show_progress


class Failure(click.ClickException):
    """An error with an exit code of ours: one sentence on standard error, no traceback."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it for the class


@dataclass(frozen=True)
class Reports:
    """Where the reports go; None is nowhere."""

    json: Path | None = None
    junit: Path | None = None

    def paths(self) -> dict[str, Path]:
        """Option to file, of those that will be written."""
        wanted = {"--json": self.json, "--junit": self.junit}
        return {option: path for option, path in wanted.items() if path}


def as_failure(problem: ScanError) -> Failure:
    """The command line's form of an error."""
    return Failure(str(problem), 2 if isinstance(problem, UsageError) else 3)


def run_scan(
    request: ScanRequest, policy: LoadedPolicy, reports: Reports, *, quiet: bool = False, verbose: bool = False
) -> ScanResult:
    """Scan, write the reports, print the verdict.

    Raises:
        Failure: the reports cannot be written (found before the scan starts) or the command line is wrong.
    """
    try:
        check_writable(reports.paths(), inputs=[request.model, request.samples])
        with show_progress(quiet) as progress:
            result = supervise(request, policy, progress=progress, verbose=verbose)
        if reports.json:
            write_atomically(reports.json, to_json(result))
        if reports.junit:
            as_what: InconclusiveAs = "skipped" if policy.policy.on_inconclusive == "pass" else "failure"
            write_atomically(reports.junit, to_junit([result], inconclusive_as=as_what))
    except ScanError as problem:
        raise as_failure(problem) from problem
    console_width = max(60, min(120, _terminal_width()))
    click.echo(to_text(result, color=_color(), width=console_width), nl=False)
    return result


def _terminal_width() -> int:
    import shutil

    return shutil.get_terminal_size((100, 24)).columns


def _color() -> bool:
    import os

    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
