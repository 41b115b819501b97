"""The completion scripts, asked by a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ENTRY = "#!{python} -P\nfrom ebyd_scan.scanner.cli.main import main\nmain()\n"
ASK = """
eval "$(ebyd-scan completion bash)"
complete -p ebyd-scan > registered
COMP_WORDS=({words})
COMP_CWORD={index}
_ebyd_scan_completion ebyd-scan
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def complete(tmp_path: Path) -> Callable[..., set[str]]:
    program = tmp_path / "bin" / "ebyd-scan"
    program.parent.mkdir()
    program.write_text(ENTRY.format(python=sys.executable))
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"

    def go(*words: str) -> set[str]:
        quoted = " ".join(["ebyd-scan", *(f"'{word}'" for word in words)])
        done = subprocess.run(
            ["bash", "--norc", "-c", ASK.format(words=quoted, index=len(words))],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0 and not done.stderr, done.stderr
        assert "ebyd-scan" in (tmp_path / "registered").read_text()
        return set(done.stdout.split())

    return go


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash(complete: Callable[..., set[str]], tmp_path: Path) -> None:
    assert complete("s") == {"scan", "selftest"}
    assert {"--junit", "--json", "--statement", "--cyclonedx", "--project"} <= complete("scan", "--")
    assert complete("scan", "--policy", "q") == {"quick"}
    assert complete("scan", "--device", "c") == {"cpu", "cuda"}
    assert complete("policy", "v") == {"validate"}
    (tmp_path / "ebyd-scan.yaml").write_text(
        "version: 1\ndefaults: {samples: x}\nmodels: [{name: one, model: m}, {name: two, model: n}]\n"
    )
    assert complete("scan", "--only", "t") == {"two"}
    (tmp_path / "ebyd-scan.yaml").write_text("[")
    assert complete("scan", "--only", "t") == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_call_the_program(shell: str, ebyd: Callable[..., Any], tmp_path: Path) -> None:
    run = ebyd("completion", shell, cwd=tmp_path)
    assert run.code == 0 and run.err == ""
    assert "_EBYD_SCAN_COMPLETE" in run.out and f"{shell}_complete" in run.out


def test_other_shells_are_refused(ebyd: Callable[..., Any], tmp_path: Path) -> None:
    assert ebyd("completion", "powershell", cwd=tmp_path).code == 2
