"""`pip install ebyd-scan` without extras: what works, and how a missing extra is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from ebyd_scan.scanner.ci import install

from .conftest import MODELS, ROOT

SENTENCE = 'torch is not installed: run `pip install "ebyd-scan[torch]"`'
HEAVY = ("torch", "torchvision", "transformers", "onnxruntime", "psutil", "safetensors", "PIL", "timm", "peft")
Light = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def light(tmp_path: Path) -> Light:
    """The command line in a process where nothing of the extras can be imported."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({HEAVY!r}))\n")
    path = os.pathsep.join([str(hidden), *filter(None, [os.environ.get("PYTHONPATH")])])

    def go(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        entry = "from ebyd_scan.scanner.cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-P", "-c", entry, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "120"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done

    return go


def test_the_base_has_nothing_heavy() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {requirement.split(">")[0].lower() for requirement in project["dependencies"]}
    assert not names & {*map(str.lower, HEAVY), "numpy", "pillow"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", MODELS / "digits-clean.safetensors", MODELS / "reviews-clean"],
        ["policy", "list"],
        ["policy", "show", "quick"],
        ["policy", "validate", ROOT / "policies" / "release-gate.yaml"],
        ["policy", "schema"],
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:2])).replace(str(MODELS), ""),
)
def test_what_needs_no_torch_works(arguments: list[str | Path], light: Light) -> None:
    assert light(*arguments).returncode == 0


@pytest.mark.parametrize("command", ["demo", "demo --text", "selftest"])
def test_a_missing_torch_is_one_sentence(command: str, light: Light, tmp_path: Path) -> None:
    more = [MODELS / "digits-clean.safetensors", "--samples", MODELS / "digits-samples.npz"]
    done = light(*command.split(), *(more if command == "selftest" else []))
    assert done.returncode == 3
    assert done.stdout == "" and done.stderr == f"Error: {SENTENCE}\n"
    assert not (tmp_path / "demo-reports").exists()


def test_a_scan_without_torch_has_its_reports(light: Light, tmp_path: Path) -> None:
    """Else those of an earlier scan would stay where this one's belong."""
    (tmp_path / "r.json").write_text("old")
    done = light("scan", MODELS / "digits-clean.safetensors", "--samples", "x", "--json", "r.json", "--junit", "r.xml")
    assert done.returncode == 3
    assert SENTENCE in " ".join(done.stdout.split())
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["verdict"], report["reason"]) == ("error", SENTENCE)
    assert "ebyd-scan[torch]" in (tmp_path / "r.xml").read_text()


def test_the_action_installs_once_and_tells_a_failure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = {"RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(tmp_path / "out")}
    touch = [["-c", f"open({str(tmp_path / 'ran')!r}, 'a').write('x')"]]
    assert install._install([*touch, ["-c", "raise SystemExit(7)"]], "stamp", settings) == 7
    assert "::error title=ebyd-scan::" in capfd.readouterr().out
    assert not (tmp_path / "out").exists()
    for _ in range(2):
        assert install._install(touch, "stamp", settings) == 0
    assert (tmp_path / "ran").read_text() == "xx"
    python = tmp_path / "ebyd-scan-venv" / "bin" / "python"
    assert (tmp_path / "out").read_text() == f"python={python}\n" * 2
    assert subprocess.run([python, "-c", ""]).returncode == 0
