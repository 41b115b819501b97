"""From the inputs of `action.yml`, which are environment variables here, to a command line of `ebyd-scan scan`.

Every value stays one argument: `--name=value`, and the model after `--`. Nothing is ever given to a shell.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...evidence.errors import UsageError
from ..reports.formats import FORMATS

PREFIX = "EBYD_"
DEFAULT_FOLDER = "ebyd-scan-reports"
_SINGLE = ("architecture", "base-model", "device", "mean", "policy", "reference", "samples", "size", "std")
_FILES = {  # format -> its file in the folder of the reports
    "json": "ebyd-scan.json",
    "junit": "ebyd-scan.junit.xml",
    "sarif": "ebyd-scan.sarif",
    "markdown": "ebyd-scan.md",
    "html": "ebyd-scan.html",
}
_WITNESSES = "witnesses"
# Inputs have these, and a step that shows a help text must not look like a scan.
_TAKEN = frozenset({*_SINGLE, *_FILES, *FORMATS, "arch-arg", "witness-dir", "help"})


def report_files(inputs: Mapping[str, str]) -> dict[str, Path]:
    """Format to file, of the formats that there are."""
    folder = Path(_single(inputs, "reports") or DEFAULT_FOLDER)
    return {name: folder / file for name, file in _FILES.items() if name in FORMATS}


def command_line(inputs: Mapping[str, str]) -> list[str]:
    """The arguments after `ebyd-scan`.

    Raises:
        UsageError: no model or no samples, or a line of `options` that is no option or one that has an input.
    """
    for needed in ("model", "samples"):
        if not _single(inputs, needed):
            raise UsageError(f"the input {needed} is missing: add it under `with:`")
    arguments = ["scan"]
    arguments += [f"--{name}={value}" for name in _SINGLE if (value := _single(inputs, name))]
    arguments += [f"--arch-arg={line}" for line in _lines(inputs, "arch-args")]
    arguments += [_option(line) for line in _lines(inputs, "options")]
    files = report_files(inputs)
    arguments += [f"--{name}={file}" for name, file in files.items()]
    arguments.append(f"--witness-dir={files['json'].parent / _WITNESSES}")
    return [*arguments, "--", _single(inputs, "model")]


def _option(line: str) -> str:
    """`--name value` or `--name=value` or `--name` as one argument."""
    name, equals, _ = line.partition("=")
    if not equals or " " in name:
        name, _, value = line.partition(" ")
        line = f"{name}={value.strip()}" if value.strip() else name
    if not name.startswith("--") or not name[2:]:
        raise UsageError(f"options: {line!r} is no option: write one a line, as --seed 7")
    if name[2:] in _TAKEN:
        raise UsageError(f"options: {name} cannot be given here: the action has an input for it or sets it itself")
    return line


def _single(inputs: Mapping[str, str], name: str) -> str:
    return inputs.get(PREFIX + name.upper().replace("-", "_"), "").strip("\r\n")


def _lines(inputs: Mapping[str, str], name: str) -> list[str]:
    return [line.strip() for line in _single(inputs, name).splitlines() if line.strip()]
