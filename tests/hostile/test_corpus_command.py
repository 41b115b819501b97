"""Some forty of the hostile files through the real command line, under hard limits of memory and time."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ebyd_scan.benchmarks.hostile.case import Case, Payload
from ebyd_scan.benchmarks.hostile.corpus import cases

ENTRY = "from ebyd_scan.scanner.cli.main import main; main()"
MEMORY = 1 << 30  # bytes of address space; a start takes a fifth of it
SECONDS = 60
NAMES = {
    "os.system", "builtins.exec", "torch.utils.collect_env.run", "pip.main", "INST", "NEWOBJ EX", "EXT1",
    "names from the memo", "names that are computed", "breaks after the payload", "second pickle in the stream",
    "ten thousand globals", "wrong CRC", "encryption bit in both", "other name in the local header",
    "two members of one name", "comment that holds an archive", "pickle before an archive", "archives ten deep",
    "7z within an archive", "model.joblib of a pickle", "legacy tar without its magic", "tar with a negative size",
    "tar with a sparse member", "zip bomb of one member", "zip bomb of archives",
    "zip bomb of overlapping members", "directory of a million entries",
    "behind the weights of a legacy checkpoint", "npz", "sample inputs of an exported program",
    "TorchScript that touches files: another name for torch", "safetensors that is a pickle too",
    "safetensors header: a million dimensions", "safetensors header that unfolds", "HDF5 with a huge data set",
    "training_args.bin beside good safetensors", "link to /dev/zero", "link to /proc/self/mem", "pipe",
    "name with control characters", "member with control characters",
}  # fmt: skip


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))


def _inspect(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", ENTRY, "inspect", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        stdin=subprocess.DEVNULL,
        preexec_fn=_limited,
        env={**os.environ, "COLUMNS": "120", "OPENBLAS_NUM_THREADS": "1"},
    )


def _chosen() -> list[Case]:
    chosen = [case for case in cases() if case.name in NAMES]
    assert {case.name for case in chosen} == NAMES
    return chosen


def test_the_command_line_tells_every_file(tmp_path: Path) -> None:
    """All of them in three commands: one that cannot be read, or bursts, must not take the others with it."""
    chosen, folders = _chosen(), []
    for number, case in enumerate(chosen):
        folder = tmp_path / str(number)
        folder.mkdir()
        folders.append((case, case.make(folder, Payload(tmp_path / f"canary{number}"))))
    files = [path for _, path in folders if path.is_file() and not path.is_symlink()]
    before = {path: path.read_bytes() for path in files}
    for part in range(3):
        report = tmp_path / "report.json"
        some = folders[part::3]
        started = time.monotonic()
        done = _inspect(*(path for _, path in some), "--json", report)
        assert time.monotonic() - started < SECONDS
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert not set(done.stdout) & {"\x1b", "\x07", "\u202e", "\u2066"}
        told = json.loads(report.read_text())["files"]
        assert [file["verdict"] for file in told] == [{1: "failed", 3: "error"}[case.expected] for case, _ in some]
        for file in told:
            assert "could not be inspected" not in (file["error"] or "")
    assert not list(tmp_path.glob("canary*"))
    for path, data in before.items():
        assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("name", "code"),
    [("safetensors that is a pickle too", 1), ("directory of a million entries", 3), ("link to /dev/zero", 3)],
)
def test_the_exit_code_of_one_file(name: str, code: int, tmp_path: Path) -> None:
    case = next(case for case in cases() if case.name == name)
    done = _inspect(case.make(tmp_path, Payload(tmp_path / "canary")))
    assert done.returncode == code
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "canary").exists()
