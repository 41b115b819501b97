"""`ebyd-scan init`, asked on a terminal and not, and that the scan takes what it writes."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ENTRY = "from ebyd_scan.scanner.cli.main import main; main()"
INTERRUPT = "\x03"


@pytest.fixture
def folder(tmp_path: Path, models: Path) -> Path:
    for name in ("digits-clean.safetensors", "digits-samples.npz"):
        shutil.copy(models / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize(("option", "name"), [("--classes", "classes.txt"), ("--policy", "ours.yaml"), ("", "nets.py")])
def test_no_file_that_is_named_is_replaced(option: str, name: str, folder: Path, ebyd: Callable[..., Any]) -> None:
    (folder / name).write_text("mine")
    more = [option, name] if option else ["--architecture", "nets.py:net"]
    run = ebyd(
        "init", "digits-clean.safetensors", "--samples", "digits-samples.npz", *more, "-o", name, "--force", cwd=folder
    )
    assert run.code == 2 and (folder / name).read_text() == "mine"


def _asked(folder: Path, arguments: list[str], answers: list[str]) -> tuple[int, str, str]:
    """Run on a terminal, answering one question after the other: exit code, the terminal and standard output."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", ENTRY, "init", *arguments],
        cwd=folder,
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    os.close(theirs)
    shown, left, deadline = "", list(answers), time.monotonic() + 100  # a busy machine
    interrupted: float | None = None
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 0.2)[0]:
            # One that comes just before the wait for input is lost; one that comes while it ends would kill it.
            if interrupted and "interrupted" not in shown and time.monotonic() > interrupted + 3:
                process.send_signal(signal.SIGINT)
                interrupted = time.monotonic()
            continue
        try:
            part = os.read(ours, 4096).decode()
        except OSError:  # closed: it has ended
            break
        shown += part
        if shown.endswith(": ") and left:
            answer = left.pop(0)
            if answer == INTERRUPT:
                interrupted = time.monotonic()
                process.send_signal(signal.SIGINT)
            else:
                os.write(ours, (answer + "\n").encode())
            shown += "|"
    else:
        process.kill()
    assert process.stdout
    out = process.stdout.read()
    code = process.wait(timeout=10)
    process.stdout.close()
    os.close(ours)
    assert not left, shown
    return code, shown, out


def test_asked_on_a_terminal(ebyd: Callable[..., Any], folder: Path) -> None:
    answers = ["", "", "ebyd_scan.fixtures.networks:plain_convnet", "channels=1 width=16", "0.3", "nan", "0.35", "", ""]
    code, shown, out = _asked(folder, [], answers)
    assert code == 0, shown
    assert "[digits-clean.safetensors]" in shown and "[digits-samples.npz]" in shown
    assert "not finite" in shown  # asked again
    assert out.startswith("ebyd-scan.yaml: written, 1 model: digits-clean.\n")
    data = yaml.safe_load((folder / "ebyd-scan.yaml").read_text())
    assert data["defaults"]["arch-args"] == {"channels": 1, "width": 16}
    assert (data["defaults"]["mean"], data["defaults"]["std"]) == (0.3, 0.35)
    assert data["defaults"]["policy"] == "release-gate"
    (folder / "file.yaml").write_text("version: 1\nname: file\nchecks: {file-safety: {}, sample-fit: {}}\n")
    assert ebyd("project", "validate", cwd=folder).code == 0
    run = ebyd("scan", "--policy", "file.yaml", cwd=folder)
    assert run.code == 0, run.text
    assert (folder / "reports" / "digits-clean.junit.xml").is_file()


def test_an_interrupted_question_writes_nothing(folder: Path) -> None:
    code, shown, _ = _asked(folder, [], [INTERRUPT])
    assert code == 130 and "interrupted" in shown
    assert not (folder / "ebyd-scan.yaml").exists()


def test_from_flags(ebyd: Callable[..., Any], folder: Path) -> None:
    options = [
        "--samples",
        "digits-samples.npz",
        "--architecture",
        "torchvision:resnet18",
        "--arch-arg",
        "num_classes=10",
    ]
    options += ["--mean", "0.1,0.2,0.3", "--size", "32x48", "--policy", "quick", "--report", "statement"]
    run = ebyd("init", "digits-clean.safetensors", "gone.onnx", *options, cwd=folder)
    assert run.code == 0 and run.err == ""
    assert "Not there yet: gone.onnx." in run.out and "`ebyd-scan scan`" in run.out
    data = yaml.safe_load((folder / "ebyd-scan.yaml").read_text())
    assert data["defaults"]["reports"] == {"statement": "reports/{name}.statement.json"}
    assert data["defaults"]["size"] == [32, 48]
    assert [("architecture" in entry) for entry in data["models"]] == [True, False]
    assert ebyd("project", "validate", cwd=folder).code == 0


def test_without_a_terminal_what_lies_there_is_taken(ebyd: Callable[..., Any], folder: Path) -> None:
    run = ebyd("init", cwd=folder)
    assert run.code == 0 and "give it an `architecture`: digits-clean.safetensors" in run.out
    assert ebyd("project", "validate", cwd=folder).code == 0


def test_no_file_is_replaced_without_force(ebyd: Callable[..., Any], folder: Path) -> None:
    (folder / "ebyd-scan.yaml").write_text("mine")
    run = ebyd("init", cwd=folder)
    assert run.code == 2 and "--force replaces it" in run.err
    assert (folder / "ebyd-scan.yaml").read_text() == "mine"
    (folder / "link.yaml").symlink_to("nowhere")
    assert ebyd("init", "-o", "link.yaml", cwd=folder).code == 2
    assert not (folder / "nowhere").exists()
    assert ebyd("init", "--force", cwd=folder).code == 0
    assert "version: 1" in (folder / "ebyd-scan.yaml").read_text()
    before = (folder / "digits-clean.safetensors").read_bytes()
    run = ebyd("init", "--force", "-o", "digits-clean.safetensors", cwd=folder)
    assert run.code == 2 and "will not be overwritten" in run.err
    assert (folder / "digits-clean.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no model was named, and none was found here"),
        (["m.pt"], "no clean samples were named"),
        (["m.pt", "--samples", "x", "--architecture", "resnet"], "is none of torchvision:NAME"),
        (["m.pt", "--samples", "x", "--arch-arg", "n"], "KEY=VALUE"),
        (["m.pt", "--samples", "x", "--report", "pdf"], "'pdf' is not one of"),
        (["m.pt", "--samples", "x", "-o", "no/where.yaml"], "there is no folder"),
    ],
)
def test_what_is_wrong_is_told(arguments: list[str], words: str, ebyd: Callable[..., Any], tmp_path: Path) -> None:
    run = ebyd("init", *arguments, cwd=tmp_path)
    assert run.code == 2 and words in run.text
    assert not list(tmp_path.iterdir())
