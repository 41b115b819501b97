"""One scan from the command line: supervise it, write the reports, leave with the verdict's exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any

import click

from ...evidence.context import Progress
from ...evidence.errors import ScanError, UsageError
from ...evidence.finding import Outcome
from ...evidence.result import ScanResult
from ...policies.load import LoadedPolicy
from ..handover import Handed, WordsForm
from ..models.arch_args import parse_architecture
from ..read_request import check_names
from ..removal import OnRepair, Removal, check_removal, remove
from ..reports.formats import FORMATS, Given
from ..reports.terminal import to_text
from ..reports.witness_files import write_witness, write_words
from ..reports.write import check_folder, check_writable, write_atomically
from ..request import ScanRequest
from ..supervisor import Stop, supervise
from .progress import show_progress


class Failure(click.ClickException):
    """An error with an exit code of ours: one sentence on standard error, no traceback."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it for the class


class UnwrittenReport(Failure):
    """The model was scanned, and a report of it could not be written."""

    def __init__(self, message: str, result: ScanResult) -> None:
        super().__init__(message, 3)
        self.result = result


@dataclass(frozen=True)
class Reports:
    """Where the reports go; None is nowhere."""

    files: Mapping[str, Path | None] = field(default_factory=dict)  # by the name in FORMATS; `-` is standard output
    witness_dir: Path | None = None  # a folder

    def wanted(self) -> dict[str, Path]:
        """Name of the format to file, of those that will be written."""
        return {name: path for name in FORMATS if (path := self.files.get(name))}

    def paths(self) -> dict[str, Path]:
        """Option to file, of those that will be written."""
        return {f"--{name}": path for name, path in self.wanted().items()}

    def places(self) -> list[Path]:
        """Where something will be written, but for standard output."""
        places = [path for path in self.paths().values() if not is_stdout(path)]
        return [*places, self.witness_dir] if self.witness_dir else places

    @property
    def show_triggers(self) -> bool:
        """Whether anything that is written shows a recovered trigger."""
        return self.witness_dir is not None or any(FORMATS[name].pictures for name in self.wanted())


def as_failure(problem: ScanError) -> Failure:
    """The command line's form of an error."""
    return Failure(str(problem), 2 if isinstance(problem, UsageError) else 3)


def run_scan(
    request: ScanRequest,
    policy: LoadedPolicy,
    reports: Reports,
    *,
    quiet: bool = False,
    verbose: bool = False,
    stop: Stop | None = None,
    removal: Removal | None = None,
) -> ScanResult:
    """Scan, remove what was found where that is ordered, print the verdict, write the reports.

    The verdict goes to standard error where a report goes to standard output. SIGTERM ends the scan, and the reports
    say so; whoever gives a `stop` listens for it.

    Raises:
        Failure: the reports cannot be written (found before the scan starts) or the command line is wrong.
        UnwrittenReport: the scan has ended, and a report could not be written.
    """
    handed: list[Handed] = []
    words: list[WordsForm] = []
    request = request.model_copy(update={"keep_witness": reports.show_triggers})
    try:
        check_names(request, removal.out if removal else None)
        check_reports(request, policy, reports)
        if removal:
            check_removal(request, removal, [*inputs_of_scan(request, policy), *reports.places()])
        with show_progress(quiet) as progress, nullcontext(stop) if stop else stopped_by_sigterm() as stopped:
            result = _scan(
                request, policy, removal, progress, verbose=verbose, stop=stopped,
                keep=handed.append, keep_words=words.append,
            )  # fmt: skip
    except ScanError as problem:
        raise as_failure(problem) from problem
    result, problems = _write_witnesses(result, handed, reports.witness_dir, quiet)
    to_stdout = any(map(is_stdout, reports.paths().values()))
    console_width = max(60, min(120, terminal_width()))
    echo(to_text(result, color=color(to_stdout), width=console_width), err=to_stdout)
    given = Given(result, policy, handed, words)
    for name, path in reports.wanted().items():
        try:
            text = FORMATS[name].render(given)
            if is_stdout(path):
                echo(text)
            else:
                write_atomically(path, text)
        except ScanError as problem:
            problems.append(str(problem))
    if problems:
        raise UnwrittenReport("; ".join(problems), result)
    return result


def _scan(
    request: ScanRequest,
    policy: LoadedPolicy,
    removal: Removal | None,
    progress: Progress,
    *,
    verbose: bool,
    stop: Stop,
    **keep: Any,
) -> ScanResult:
    """One scan; with a removal one more, of what was written, whose triggers nobody keeps."""
    if removal is None:
        return supervise(request, policy, progress=progress, verbose=verbose, stop=stop, **keep)

    def show_again(stage: str, done: int, total: int) -> None:
        progress(f"scan what was written: {stage}", done, total)

    def scan(request: ScanRequest, on_repair: OnRepair | None) -> ScanResult:
        if on_repair is None:
            return supervise(request, policy, progress=show_again, verbose=verbose, stop=stop)
        return supervise(request, policy, progress=progress, verbose=verbose, stop=stop, on_repair=on_repair, **keep)

    return remove(request, policy, removal, scan)


@contextmanager
def stopped_by_sigterm() -> Iterator[Stop]:
    """CI systems end a job that is cancelled or too slow with SIGTERM: its reports must not be those of the last."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # no signals arrive there
        yield stop
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.reason = "the scan was terminated (SIGTERM)"

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)


def check_reports(request: ScanRequest, policy: LoadedPolicy, reports: Reports) -> None:
    """Raises UsageError if a report cannot be written, before any work is done."""
    paths, inputs = reports.paths(), inputs_of_scan(request, policy)
    check_writable({option: path for option, path in paths.items() if not is_stdout(path)}, inputs=inputs)
    if len(shared := [option for option, path in paths.items() if is_stdout(path)]) > 1:
        raise UsageError(f"{' and '.join(shared)} would both be written to standard output")
    if reports.witness_dir:
        check_folder("--witness-dir", reports.witness_dir, inputs)


def report_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a scan's reports."""
    return format_options(command, {name: form.help for name, form in FORMATS.items()})


def format_options(
    command: Callable[..., Any], formats: Mapping[str, str], folders: Container[str] = ()
) -> Callable[..., Any]:
    """An option a format, with its help; the command gets them as `reports`, a mapping from format to path."""

    @wraps(command)
    def with_reports(**options: Any) -> Any:
        return command(reports={name: options.pop(_parameter(name)) for name in formats}, **options)

    wrapped: Callable[..., Any] = with_reports
    for name in reversed(list(formats)):
        where, path = "DIR" if name in folders else "FILE", click.Path(path_type=Path)
        wrapped = click.option(f"--{name}", _parameter(name), type=path, metavar=where, help=formats[name])(wrapped)
    return wrapped


def _parameter(name: str) -> str:
    return f"report_{name.replace('-', '_')}"


def is_stdout(path: Path) -> bool:
    """Written through the open stream: opening `/dev/stdout` again would cut off the file it leads to."""
    return str(path) in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def _write_witnesses(
    result: ScanResult, handed: list[Handed], folder: Path | None, quiet: bool
) -> tuple[ScanResult, list[str]]:
    """The result with the names of the files in its findings, and what went wrong."""
    written: dict[tuple[int, str], list[str]] = {}
    problems, lines = [], []
    for one in handed:
        key = one.form.label, one.form.family
        if folder is None or key in written:
            continue
        try:
            written[key] = [str(path) for path in write_witness(one, result, folder)]
            lines.append(f"witness written to {' and '.join(written[key])}")
        except ScanError as problem:
            problems.append(str(problem))
    for finding in result.findings:
        key = (finding.witness.label, finding.witness.family) if finding.witness else (0, "")
        if folder is None or key[1] != "words" or finding.outcome is Outcome.PASSED or key in written:
            continue
        try:
            written[key] = [str(path) for path in write_words(finding, result, folder)]
            lines.append(f"witness written to {written[key][0]}")
        except ScanError as problem:
            problems.append(str(problem))
    if folder is not None and not written and not problems:
        reported = any(finding.witness and finding.outcome is Outcome.FAILED for finding in result.findings)
        why = "the trigger was not handed over" if reported else "no trigger was recovered"
        lines.append(f"{why}, so there is no witness in {folder}")
    if not quiet:
        with contextlib.suppress(OSError):  # nobody may be listening
            for line in lines:
                click.echo(f"ebyd-scan: {line}", err=True)
    findings = []
    for finding in result.findings:
        if finding.witness:  # whatever the worker said about files: they are named by who wrote them
            files = written.get((finding.witness.label, finding.witness.family), [])
            finding = finding.model_copy(update={"witness": finding.witness.model_copy(update={"files": files})})
        findings.append(finding)
    return result.model_copy(update={"findings": findings}), problems


def inputs_of_scan(request: ScanRequest, policy: LoadedPolicy) -> list[Path]:
    """Every file of the user's that a report could overwrite."""
    inputs = [request.model, request.samples]
    inputs += [path for path in (request.classes_file, request.reference, request.base_model) if path]
    if policy.source != "built-in":
        inputs.append(Path(policy.source))
    if request.architecture:
        architecture = parse_architecture(request.architecture)
        if architecture.kind == "file":
            inputs.append(Path(architecture.where))
    return inputs


def echo(text: str, *, err: bool = False) -> None:
    """To standard output, or error; the exit code stands even where nobody reads to the end (`| head -1`)."""
    try:
        click.echo(text, nl=False, err=err, color=True)  # whether there are any was decided before
    except OSError as problem:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        # else the interpreter stumbles over the rest when it leaves
        os.dup2(nowhere, (sys.stderr if err else sys.stdout).fileno())
        os.close(nowhere)
        if not isinstance(problem, BrokenPipeError):
            with contextlib.suppress(OSError):
                click.echo(f"ebyd-scan: the verdict cannot be printed: {problem.strerror}", err=True)


def terminal_width(without: int = 100) -> int:
    """In columns; `without` where there is no terminal."""
    import shutil

    return shutil.get_terminal_size((without, 24)).columns


def color(err: bool) -> bool:
    """Whether standard output, or error, shows colours: a terminal does.

    `NO_COLOR` (no-color.org) takes them away and `FORCE_COLOR` (force-color.org) brings them into pipes, for the logs
    of CI systems that show them; both count when they are not empty, and the first one wins.
    """
    stream = sys.stderr if err else sys.stdout
    if stream is None or os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")
