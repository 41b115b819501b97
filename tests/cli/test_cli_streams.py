"""What goes to which stream, with and without a terminal, quiet and not, with colours and without."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ENTRY = "from ebyd_scan.scanner.cli.main import main; main()"
COLOUR = re.compile(r"\x1b\[(?:3[0-7]|9[0-7]|[\d;]*;3[0-7])m")


def _on_a_terminal(arguments: list[str], folder: Path, **variables: str) -> tuple[int, str]:
    """Exit code, and what a terminal shows that both streams go to."""
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", ENTRY, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm", "COLUMNS": "100", **variables},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # all ends are closed
            break
        if not part:
            break
        shown += part
    code = process.wait(timeout=60)
    os.close(ours)
    assert b"Traceback" not in shown
    return code, shown.decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "file.yaml").write_text("version: 1\nname: file\nchecks: {file-safety: {}}\n")
    return tmp_path


def test_colours_on_a_terminal(folder: Path, models: Path) -> None:
    model = str(models / "digits-clean.safetensors")
    code, shown = _on_a_terminal(["inspect", model], folder)
    assert code == 0 and COLOUR.search(shown)
    for variables in ({"NO_COLOR": "1"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, {"TERM": "dumb"}):
        code, shown = _on_a_terminal(["inspect", model], folder, **variables)
        assert code == 0 and "passed" in shown and "\x1b" not in shown
    assert COLOUR.search(_on_a_terminal(["inspect", model], folder, NO_COLOR="")[1])  # empty is as not set


def test_colours_in_a_pipe_when_asked_for(ebyd: Callable[..., Any], folder: Path, models: Path) -> None:
    model = models / "digits-clean.safetensors"
    assert COLOUR.search(ebyd("inspect", model, cwd=folder, env={"FORCE_COLOR": "1"}).out)
    for env in ({}, {"FORCE_COLOR": ""}, {"FORCE_COLOR": "1", "NO_COLOR": "1"}):
        assert "\x1b" not in ebyd("inspect", model, cwd=folder, env=env).out


def test_policy_list_on_a_terminal(folder: Path) -> None:
    code, shown = _on_a_terminal(["policy", "list"], folder)
    assert code == 0 and "\x1b[1mrelease-gate" in shown
    assert "\x1b" not in _on_a_terminal(["policy", "list"], folder, NO_COLOR="1")[1]


def test_progress_is_lines_with_seconds_in_a_pipe(
    ebyd: Callable[..., Any], folder: Path, models: Path, digits_options: list[str]
) -> None:
    (folder / "short.yaml").write_text("version: 1\nname: short\nchecks: {file-safety: {}, sample-fit: {}}\n")
    options = [models / "digits-clean.safetensors", *digits_options, "--policy", "short.yaml"]
    run = ebyd("scan", *options, cwd=folder)
    assert run.code == 0 and run.out.startswith("PASSED: ")
    lines = run.err.splitlines()
    assert lines and all(re.fullmatch(r"ebyd-scan: +\d+\.\d s  \S.*", line) for line in lines), lines
    seconds = [float(line.split()[1]) for line in lines]
    assert seconds == sorted(seconds)
    quiet = ebyd("scan", *options, "-q", cwd=folder)
    assert quiet.err == "" and quiet.out.splitlines()[0] == run.out.splitlines()[0]


@pytest.mark.parametrize("command", ["scan", "selftest", "demo"])
def test_commands_that_scan_can_be_quiet_and_verbose(command: str, ebyd: Callable[..., Any], folder: Path) -> None:
    shown = ebyd(command, "--help", cwd=folder).out
    assert "-q, --quiet" in shown and "-v, --verbose" in shown


@pytest.mark.parametrize(
    "arguments", [["scan"], ["inspect", "gone.pt"], ["verify-report", "gone.json"], ["init"], ["project", "validate"]]
)
def test_errors_go_to_standard_error(arguments: list[str], ebyd: Callable[..., Any], folder: Path) -> None:
    run = ebyd(*arguments, cwd=folder)
    if arguments[0] == "inspect":  # its result is that the file cannot be inspected
        assert run.code == 3 and run.err == ""
    else:
        assert run.code in (2, 3) and run.out == "" and run.err
