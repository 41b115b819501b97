"""Every hostile model file through `inspect`, in this process: told as expected, and nothing of it runs."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from ebyd_scan.benchmarks.hostile.case import FAILED, REFUSED, Case, Payload
from ebyd_scan.benchmarks.hostile.corpus import cases
from ebyd_scan.scanner.inspection import inspect_file

CASES = cases()
UNPICKLE = """
import pickle, sys
for path in sys.argv[1:]:
    try:
        with open(path, "rb") as file:
            pickle.load(file)
    except Exception:  # many break after their payload
        pass
"""


def _made(case: Case, folder: Path) -> tuple[Path, Path]:
    inner = folder / "given"
    inner.mkdir()
    canary = folder / "canary"
    return case.make(inner, Payload(canary)), canary


def _snapshot(folder: Path) -> dict[Path, bytes | None]:
    paths = sorted(folder.rglob("*"))
    return {path: path.read_bytes() if path.is_file() and not path.is_symlink() else None for path in paths}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.group}: {case.name}")
def test_hostile_file(case: Case, tmp_path: Path) -> None:
    path, canary = _made(case, tmp_path)
    before = _snapshot(tmp_path)
    inspected = inspect_file(path)
    assert inspected.verdict.exit_code == case.expected, inspected
    told = inspected.error or inspected.findings[0].message
    assert told and "Traceback" not in told
    assert "could not be inspected" not in told  # a reader has broken that should have said what is wrong
    assert case.expected == FAILED or len(told.splitlines()) == 1 or "\n" in path.name
    assert not canary.exists()
    assert _snapshot(tmp_path) == before


def test_the_corpus_is_what_it_says() -> None:
    assert len(CASES) > 400
    assert {case.expected for case in CASES} == {FAILED, REFUSED}  # nothing in it is passed
    twice = [name for name, count in Counter((case.group, case.name) for case in CASES).items() if count > 1]
    assert not twice


def test_the_canaries_are_real(tmp_path: Path) -> None:
    """Those that need no more than the standard library do fire when Python unpickles them, in another process."""
    made = {}
    for number, case in enumerate(case for case in CASES if case.live):
        folder = tmp_path / str(number)
        folder.mkdir()
        made[case.name] = _made(case, folder)
    assert len(made) > 45
    paths = [str(path) for path, _ in made.values()]
    subprocess.run([sys.executable, "-c", UNPICKLE, *paths], cwd=tmp_path, capture_output=True, timeout=60)
    silent = [name for name, (_, canary) in made.items() if not canary.exists()]
    assert not silent


@pytest.mark.parametrize("protocol", range(6))
def test_the_same_structures_pass_where_nothing_is_in_them(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"weight": [1.0, 2.0], "name": "résumé", "nested": {"a": (1, b"x", None)}}, protocol))
    assert inspect_file(path).verdict.exit_code == 0
