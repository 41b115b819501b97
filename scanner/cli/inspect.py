"""`ebyd-scan inspect`: what files are and what static checks find in them, at once and without torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from ...evidence.errors import ScanError, UsageError
from ..inspection import InspectedFile, Inspection, distinct, inspect_file, inspection_of
from ..reports.inspection import to_file_text, to_inspection_json, to_summary
from ..reports.write import check_writable, write_atomically
from .progress import show_progress
from .run import Failure, as_failure, color, echo, is_stdout, terminal_width

_LARGE = 500_000_000  # bytes; a file beyond this takes seconds to read

EXAMPLES = """\b
Examples:
  ebyd-scan inspect model.safetensors checkpoint.pt graph.onnx hugging-face-folder/
  ebyd-scan inspect -q --json - *.onnx | jq '.files[].onnx.opsets'
  ebyd-scan inspect -q --sarif inspect.sarif --junit inspect.xml models/*

\b
Exit codes: 0 all passed, 1 at least one failed, 2 usage wrong,
            3 none failed but at least one could not be inspected, 4 a check could not tell.
"""


@click.command("inspect", epilog=EXAMPLES)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what was found as JSON; `-` is standard output.",
)
@click.option(
    "--junit",
    "junit_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write it as JUnit XML, a test suite a file; `-` likewise.",
)
@click.option(
    "--sarif",
    "sarif_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write it as SARIF 2.1.0, for code scanning; `-` likewise.",
)
@click.option(
    "--allow-pickle",
    is_flag=True,
    help="Let whole-module pickles pass that hold classes of torch.nn and torchvision only.",
)
@click.option("-q", "--quiet", is_flag=True, help="Nothing about files that passed, and no progress.")
def inspect(
    files: tuple[Path, ...],
    json_path: Path | None,
    junit_path: Path | None,
    sarif_path: Path | None,
    allow_pickle: bool,
    quiet: bool,
) -> None:
    """Say of each FILE what it is and whether anything but weights is in it. Nothing is loaded or executed.

    FILE is a model file, or a Hugging Face folder. Prints format, size, number of parameters and SHA-256, for ONNX
    files opset, producer, inputs and outputs, and what the checks file-safety and graph-logic find. This does not look
    for a backdoor in the weights: `ebyd-scan scan` does.
    """
    paths = list(distinct(files))
    several = len(paths) > 1
    given = {"json": json_path, "junit": junit_path, "sarif": sarif_path}
    reports = {name: path for name, path in given.items() if path is not None}
    try:
        to_stderr = _check(reports, paths)
    except ScanError as problem:
        raise as_failure(problem) from problem
    started = datetime.now(UTC).isoformat(timespec="seconds")
    width = max(60, min(120, terminal_width()))
    found: list[InspectedFile] = []
    for path in paths:
        found.append(file := _inspect(path, allow_pickle, quiet))
        if not quiet or file.verdict.exit_code:
            echo(to_file_text(file, color=color(to_stderr), width=width) + "\n" * several, err=to_stderr)
    inspection = inspection_of(found)
    if several and (not quiet or inspection.exit_code):
        echo(to_summary(inspection), err=to_stderr)
    problems = []
    for name, path in reports.items():
        try:
            text = _rendered(name, inspection, started)
            if is_stdout(path):
                echo(text)
            else:
                write_atomically(path, text)
        except ScanError as problem:
            problems.append(str(problem))
    if problems:
        raise Failure("; ".join(problems), 3)
    raise SystemExit(inspection.exit_code)


def _rendered(name: str, inspection: Inspection, started: str) -> str:
    """A report; what it is made with is imported only now, since a hook waits for every module."""
    if name == "junit":
        from ..reports.inspection_junit import to_inspection_junit

        return to_inspection_junit(inspection, started)
    if name == "sarif":
        from ..reports.inspection_sarif import to_inspection_sarif

        return to_inspection_sarif(inspection, Path.cwd(), started)
    return to_inspection_json(inspection)


def _check(reports: Mapping[str, Path], inputs: list[Path]) -> bool:
    """Whether one of the reports goes to standard output. Raises UsageError where one cannot be written."""
    shared = [f"--{name}" for name, path in reports.items() if is_stdout(path)]
    if len(shared) > 1:
        raise UsageError(f"{' and '.join(shared)} would both be written to standard output")
    check_writable({f"--{name}": path for name, path in reports.items() if not is_stdout(path)}, inputs=inputs)
    return bool(shared)


def _inspect(path: Path, allow_pickle: bool, quiet: bool) -> InspectedFile:
    """With a bar on a terminal, where the file is so large that a person would wonder."""
    try:
        large = path.stat().st_size > _LARGE or path.is_dir()
    except OSError:
        large = False
    if quiet or not large or sys.stderr is None or not sys.stderr.isatty():
        return inspect_file(path, allow_pickle=allow_pickle)
    with show_progress(quiet) as progress:
        return inspect_file(path, allow_pickle=allow_pickle, progress=progress)
