"""Architecture code that misbehaves, interrupts and broken pipes: never a pass, never a process left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("torch")
Ebyd = Callable[..., Any]

# Runs in the worker. `pids.txt` tells who has to be gone afterwards.
HOSTILE = r"""
import fcntl, json, mmap, os, signal, stat, subprocess, sys, threading, time
from ebyd_scan.fixtures.networks import plain_convnet


def note(*pids):
    with open("pids.txt", "a") as file:
        file.writelines(f"{pid}\n" for pid in pids)


def fine(**arguments):
    note(os.getpid())
    return plain_convnet(channels=1, width=16)


def raises(**arguments):
    raise ValueError("there is no such layer\nsecond line")


def sleeps(**arguments):
    note(os.getpid(), subprocess.Popen(["sleep", "300"]).pid)
    time.sleep(300)


def spins_in_c(**arguments):
    note(os.getpid())
    pow(3, 1 << 40)  # holds the interpreter's lock for hours


def leaves(**arguments):
    os._exit(0)


def is_killed(**arguments):
    os.kill(os.getpid(), signal.SIGKILL)


def exits(**arguments):
    sys.exit(0)


def fails_to_build(**arguments):
    raise KeyboardInterrupt


def eats_memory(**arguments):
    note(os.getpid())
    held = []
    while True:
        held.append(bytearray(b"x") * (20 << 20))
        time.sleep(0.01)


def eats_shared_memory(**arguments):
    note(os.getpid())
    held = []
    while True:  # not counted by RLIMIT_DATA
        held.append(mmap.mmap(-1, 20 << 20))
        held[-1].write(b"x" * (20 << 20))
        time.sleep(0.01)


FORGED = [
    {"kind": "finding", "finding": {"check": check, "outcome": "passed", "message": "all is well"}}
    for check in ("file-safety", "sample-fit", "backdoor-label", "model-detection")
] + [{"kind": "done"}]


def prints_events(**arguments):
    for event in FORGED:
        print(json.dumps(event), flush=True)
        os.write(1, json.dumps(event).encode() + b"\n")
    os._exit(0)


def channel():
    for descriptor in range(3, 50):
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            continue
        if stat.S_ISFIFO(mode) and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
            return descriptor
    raise AssertionError("there is no channel")


def says_only_done(**arguments):
    os.write(channel(), b'{"kind": "done"}\n')
    time.sleep(300)


def says_garbage(**arguments):
    os.write(channel(), b"\xff\x00 what?\n")
    time.sleep(300)


def says_too_much(**arguments):
    line = b"x" * (1 << 20)
    for _ in range(100):
        os.write(channel(), line)
    time.sleep(300)


def says_absurd_progress(**arguments):
    os.write(channel(), b'{"kind": "progress", "stage": "s", "done": 1, "total": 1%s}\n' % (b"0" * 400))
    time.sleep(300)


def closes_the_channel(**arguments):
    note(os.getpid())
    os.close(channel())
    time.sleep(300)


def forks(detach):
    ready, done = os.pipe()
    child = os.fork()
    if not child:
        if detach:
            os.setsid()
        os.write(done, b".")
        time.sleep(300)
        os._exit(0)
    os.read(ready, 1)
    note(os.getpid(), child)


def forks_and_leaves(**arguments):
    forks(False)
    time.sleep(0.5)
    os._exit(0)


def forks_a_detached_child_and_raises(**arguments):
    forks(True)
    time.sleep(0.5)
    raise ValueError("too bad")


def forks_a_detached_child_and_leaves(**arguments):
    forks(True)
    time.sleep(0.5)
    os._exit(0)


def asks(**arguments):
    return input("password? ")
"""
WEIGHTS = "digits-clean.safetensors"
SLOW = pytest.mark.slow  # two seconds each, nearly all of it the import of torch


def _gone(folder: Path) -> bool:
    """Whether every process of pids.txt has ended; a zombie that nobody waits for has."""
    for line in (folder / "pids.txt").read_text().split():
        try:
            if psutil.Process(int(line)).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return False
        except psutil.NoSuchProcess:
            continue
    return True


def _soon(condition: Callable[[], bool], seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


@pytest.fixture
def arguments(tmp_path: Path, models: Path, digits_options: list[str]) -> Callable[..., list[str]]:
    (tmp_path / "hostile.py").write_text(HOSTILE)

    def make(name: str, *options: str) -> list[str]:
        architecture = ["--architecture", f"hostile.py:{name}", "--policy", "quick"]
        return ["scan", str(models / WEIGHTS), *digits_options, *architecture, *options]

    return make


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        pytest.param("raises", [], "raised ValueError: there is no such layer: check the spec", marks=SLOW),
        ("sleeps", ["--timeout", "5"], "took longer than the limit of 5 s"),
        ("spins_in_c", ["--timeout", "5"], "took longer than the limit of 5 s"),
        ("leaves", [], "ended with status 0 before it had an answer"),
        ("is_killed", [], "was killed by SIGKILL"),
        pytest.param("exits", [], "raised SystemExit", marks=SLOW),
        pytest.param("fails_to_build", [], "before it had an answer", marks=SLOW),
        ("eats_memory", ["--memory", "1.5"], "emory"),
        pytest.param("eats_shared_memory", ["--memory", "1"], "more than the memory limit of 1 GiB", marks=SLOW),
        ("prints_events", [], "ended with status 0 before it had an answer"),
        ("says_only_done", [], "gave no answer about backdoor-label, model-detection, sample-fit"),
        ("says_garbage", [], "its answer is not trusted"),
        pytest.param("says_too_much", [], "its answer is not trusted", marks=SLOW),
        pytest.param("says_absurd_progress", [], "its answer is not trusted", marks=SLOW),
        ("closes_the_channel", [], "closed its channel before it had an answer"),
        pytest.param("forks_and_leaves", [], "ended with status 0 before it had an answer", marks=SLOW),
        pytest.param("forks_a_detached_child_and_raises", [], "raised ValueError: too bad", marks=SLOW),
        ("forks_a_detached_child_and_leaves", [], "ended with status 0 before it had an answer"),
        pytest.param("asks", [], "EOFError", marks=SLOW),
    ],
)
def test_code_that_misbehaves(
    name: str, options: list[str], said: str, ebyd: Ebyd, arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    run = ebyd(*arguments(name, "--json", "verdict.json", *options), cwd=tmp_path)
    assert run.code == 3
    assert said in run.text
    assert WEIGHTS in run.text
    assert run.seconds < 40
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["verdict"] == "error"
    assert {f["check"] for f in verdict["findings"]} >= {"file-safety", "sample-fit", "model-detection"}
    assert "Traceback" not in json.dumps(verdict)
    if (tmp_path / "pids.txt").exists():
        assert _soon(lambda: _gone(tmp_path))


def test_a_limit_too_small_to_begin_with(ebyd: Ebyd, arguments: Callable[..., list[str]], tmp_path: Path) -> None:
    run = ebyd(*arguments("fine", "--memory", "0.01"), cwd=tmp_path)
    assert run.code == 3
    assert WEIGHTS in run.text


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("sleeps", signal.SIGINT),
        ("sleeps", signal.SIGTERM),
        ("sleeps", signal.SIGKILL),
        ("spins_in_c", signal.SIGKILL),
        pytest.param("spins_in_c", signal.SIGINT, marks=SLOW),
        pytest.param("spins_in_c", signal.SIGTERM, marks=SLOW),
    ],
)
def test_a_signal_ends_the_worker_too(
    name: str, sign: signal.Signals, start: Callable[..., Any], arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    process = start(*arguments(name, "--json", "verdict.json"), cwd=tmp_path)
    assert _soon(lambda: (tmp_path / "pids.txt").exists(), 60)
    time.sleep(0.3)
    process.send_signal(sign)
    out, err = process.communicate(timeout=30)
    if sign is signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted" in err
    elif sign is signal.SIGTERM:  # as CI systems end a job: its reports say so
        assert process.returncode == 3
        assert out.startswith("ERROR: ")
        verdict = json.loads((tmp_path / "verdict.json").read_text())
        assert verdict["verdict"] == "error"
        assert "the scan was terminated (SIGTERM)" in verdict["reason"]
    else:
        assert process.returncode == -sign
    if sign is not signal.SIGTERM:
        assert out == ""
        assert not (tmp_path / "verdict.json").exists()
    assert "Traceback" not in err
    assert _soon(lambda: _gone(tmp_path))


@pytest.mark.parametrize("streams", ["stdout", "both"])
def test_a_broken_pipe_keeps_the_exit_code(streams: str, start: Callable[..., Any], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # as after `| head -0`
    said = tmp_path / "stderr.txt"
    with said.open("w") as stderr:
        errors = writing if streams == "both" else stderr
        process = start("scan", "nowhere.pt", "--samples", "x", cwd=tmp_path, stdout=writing, stderr=errors)
    os.close(writing)
    assert process.wait(timeout=30) == 3
    assert "Traceback" not in said.read_text()
    assert "BrokenPipe" not in said.read_text()


def test_a_broken_pipe_does_not_turn_a_pass_into_a_failure(
    start: Callable[..., Any], models: Path, digits_options: list[str], tmp_path: Path
) -> None:
    (tmp_path / "short.yaml").write_text("version: 1\nname: short\nchecks: {file-safety: {}, sample-fit: {}}\n")
    reading, writing = os.pipe()
    os.close(reading)
    model = str(models / WEIGHTS)
    process = start("scan", model, *digits_options, "--policy", "short.yaml", cwd=tmp_path, stdout=writing)
    os.close(writing)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Error" not in err


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", ">/dev/full", "<&-"])
def test_closed_streams(closed: str, tmp_path: Path) -> None:
    entry = "from ebyd_scan.scanner.cli.main import main; main()"
    script = f'"$0" -P -c "{entry}" "$@" {closed}'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable, "scan", "nowhere.pt", "--samples", "x"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr


def test_a_bug_of_ours_is_no_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    import click
    from ebyd_scan.scanner.cli.main import LazyGroup

    @click.group(cls=LazyGroup, invoke_without_command=True)
    def broken() -> None:
        raise RuntimeError("unexpected\nsecond line")

    with pytest.raises(SystemExit) as left:
        broken([])
    assert left.value.code == 3
    said = capsys.readouterr().err
    assert "this is a bug: RuntimeError: unexpected (" in said
    assert "Traceback" not in said
