"""Every hostile file through `ebyd-scan scan` with samples, as a gate would: refused before a loader sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
from ebyd_scan.benchmarks.hostile.case import Payload
from ebyd_scan.benchmarks.hostile.corpus import cases
from ebyd_scan.fixtures.reviews import MODELS

ENTRY = "from ebyd_scan.scanner.cli.main import main; main()"
SECONDS = 60
OPTIONS = (
    "--architecture", "ebyd_scan.fixtures.networks:plain_convnet", "--arch-arg", "channels=1", "--arch-arg", "width=16",
    "--samples", MODELS / "digits-samples.npz", "--mean", "0.3", "--std", "0.35", "--policy", "quick", "--quiet",
)  # fmt: skip


@pytest.mark.slow
def test_no_hostile_file_is_loaded(tmp_path: Path) -> None:
    odd = []
    for number, case in enumerate(cases()):
        folder = tmp_path / str(number)
        folder.mkdir()
        canary = tmp_path / f"canary{number}"
        path = case.make(folder, Payload(canary))
        done = subprocess.run(
            [sys.executable, "-P", "-c", ENTRY, "scan", str(path), *map(str, OPTIONS)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            cwd=folder if folder.is_dir() else tmp_path,
            env={**os.environ, "COLUMNS": "120"},
        )
        if done.returncode not in (1, 3) or "Traceback" in done.stdout + done.stderr or canary.exists():
            odd.append((case.name, done.returncode, canary.exists(), done.stderr[-300:]))
    assert not odd
