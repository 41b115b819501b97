"""One scan from the command line: supervise it, write the reports, leave with the verdict's exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from ...evidence.errors import ScanError, UsageError
from ...evidence.result import ScanResult
from ...policies.load import LoadedPolicy
from ..models.arch_args import parse_architecture
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
    """Scan, print the verdict, write the reports.

    Raises:
        Failure: the reports cannot be written (found before the scan starts) or the command line is wrong.
    """
    try:
        _check_names(request)
        check_writable(reports.paths(), inputs=_inputs(request, policy))
        with show_progress(quiet) as progress:
            result = supervise(request, policy, progress=progress, verbose=verbose)
    except ScanError as problem:
        raise as_failure(problem) from problem
    console_width = max(60, min(120, _terminal_width()))
    _print(to_text(result, color=_color(), width=console_width))
    problems = []
    for path, text in _texts(result, policy, reports):
        try:
            write_atomically(path, text)
        except ScanError as problem:
            problems.append(str(problem))
    if problems:
        raise Failure("; ".join(problems), 3)
    return result


def _check_names(request: ScanRequest) -> None:
    """A file's name may be any bytes; reports are Unicode and have to name it."""
    for name in (request.model, request.samples, request.classes_file, request.architecture):
        try:
            str(name).encode()
        except UnicodeEncodeError:
            told = str(name).encode(errors="surrogateescape").decode(errors="backslashreplace")
            raise ScanError(f"{told}: the name is not valid UTF-8, so no report could hold it: rename it") from None


def _inputs(request: ScanRequest, policy: LoadedPolicy) -> list[Path]:
    """Every file of the user's that a report could overwrite."""
    inputs = [request.model, request.samples]
    if request.classes_file:
        inputs.append(request.classes_file)
    if policy.source != "built-in":
        inputs.append(Path(policy.source))
    if request.architecture:
        architecture = parse_architecture(request.architecture)
        if architecture.kind == "file":
            inputs.append(Path(architecture.where))
    return inputs


def _texts(result: ScanResult, policy: LoadedPolicy, reports: Reports) -> list[tuple[Path, str]]:
    texts = []
    if reports.json:
        texts.append((reports.json, to_json(result)))
    if reports.junit:
        as_what: InconclusiveAs = "skipped" if policy.policy.on_inconclusive == "pass" else "failure"
        texts.append((reports.junit, to_junit([result], inconclusive_as=as_what)))
    return texts


def _print(text: str) -> None:
    """To standard output; the verdict's exit code stands even where nobody reads to the end (`| head -1`)."""
    try:
        click.echo(text, nl=False)
    except OSError as problem:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # else the interpreter stumbles over the rest when it leaves
        os.close(nowhere)
        if not isinstance(problem, BrokenPipeError):
            with contextlib.suppress(OSError):
                click.echo(f"ebyd-scan: the verdict cannot be printed: {problem.strerror}", err=True)


def _terminal_width() -> int:
    import shutil

    return shutil.get_terminal_size((100, 24)).columns


def _color() -> bool:
    return sys.stdout is not None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
