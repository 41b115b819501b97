"""`ebyd-scan inspect`: what files are and what static checks find in them, at once and without torch."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ...evidence.errors import ScanError
from ..inspection import InspectedFile, distinct, inspect_file, inspection_of
from ..reports.inspection import to_file_text, to_inspection_json, to_summary
from ..reports.write import check_writable, write_atomically
from .progress import show_progress
from .run import Failure, as_failure, color, echo, is_stdout, terminal_width

_LARGE = 500_000_000  # bytes; a file beyond this takes seconds to read

EXAMPLES = """\b
Examples:
  ebyd-scan inspect model.safetensors checkpoint.pt graph.onnx hugging-face-folder/
  ebyd-scan inspect -q --json - *.onnx | jq '.files[].onnx.opsets'

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
    "--allow-pickle",
    is_flag=True,
    help="Let whole-module pickles pass that hold classes of torch.nn and torchvision only.",
)
@click.option("-q", "--quiet", is_flag=True, help="Nothing about files that passed, and no progress.")
def inspect(files: tuple[Path, ...], json_path: Path | None, allow_pickle: bool, quiet: bool) -> None:
    """Say of each FILE what it is and whether anything but weights is in it. Nothing is loaded or executed.

    FILE is a model file, or a Hugging Face folder. Prints format, size, number of parameters and SHA-256, for ONNX
    files opset, producer, inputs and outputs, and what the checks file-safety and graph-logic find. This does not look
    for a backdoor in the weights: `ebyd-scan scan` does.
    """
    paths = list(distinct(files))
    several = len(paths) > 1
    to_stderr = json_path is not None and is_stdout(json_path)
    try:
        if json_path is not None and not to_stderr:
            check_writable({"--json": json_path}, inputs=paths)
    except ScanError as problem:
        raise as_failure(problem) from problem
    width = max(60, min(120, terminal_width()))
    found: list[InspectedFile] = []
    for path in paths:
        found.append(file := _inspect(path, allow_pickle, quiet))
        if not quiet or file.verdict.exit_code:
            echo(to_file_text(file, color=color(to_stderr), width=width) + "\n" * several, err=to_stderr)
    inspection = inspection_of(found)
    if several and (not quiet or inspection.exit_code):
        echo(to_summary(inspection), err=to_stderr)
    try:
        if to_stderr:
            echo(to_inspection_json(inspection))
        elif json_path is not None:
            write_atomically(json_path, to_inspection_json(inspection))
    except ScanError as problem:
        raise Failure(str(problem), 3) from problem
    raise SystemExit(inspection.exit_code)


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
