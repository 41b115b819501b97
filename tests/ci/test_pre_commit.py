"""The hooks, as pre-commit installs and runs them in a repository of somebody else."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..checks.graph_pictures import PICTURES
from .conftest import MODELS, ROOT

HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}


@pytest.mark.parametrize(
    "name", ["a.safetensors", "d/b.PT", "c.pth", "e.pt2", "f.ckpt", "g.pkl", "h.onnx", "x/pytorch_model-00001-of-2.bin"]
)
def test_models_are_looked_at(name: str) -> None:
    assert re.search(HOOKS["ebyd-scan-inspect"]["files"], name)


@pytest.mark.parametrize("name", ["firmware.bin", "model/firmware.bin", "pt", "a.pt.md", "model.bin/readme", "a.npz"])
def test_other_files_are_not(name: str) -> None:
    assert not re.search(HOOKS["ebyd-scan-inspect"]["files"], name)


class _Payload:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("CANARY"),)


@pytest.mark.slow
def test_good_passes_and_what_is_hostile_does_not(tmp_path: Path) -> None:
    """Installs the hook from this checkout as it is committed, which needs a package index."""
    import onnx

    pre_commit = shutil.which("pre-commit", path=str(Path(sys.executable).parent)) or shutil.which("pre-commit")
    if not pre_commit or not (ROOT / ".git").exists():
        pytest.skip("needs pre-commit, which comes with the extra dev, and a git checkout")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHON"))}
    environment |= {"PRE_COMMIT_HOME": str(tmp_path / "home"), "GIT_CONFIG_GLOBAL": os.devnull}

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, timeout=500)

    shutil.copy(MODELS / "digits-clean.safetensors", scratch / "good.safetensors")
    (scratch / "hostile.pt").write_bytes(pickle.dumps({"w": _Payload()}))
    onnx.save(PICTURES["if"][0](), scratch / "backdoor.onnx")
    (scratch / "firmware.bin").write_bytes(b"\0\1")
    assert run("git", "init", "-q").returncode == 0
    assert run("git", "add", ".").returncode == 0
    # One environment for all three: a clone of its own is what pre-commit keeps.
    clone = tmp_path / "ebyd-scan"
    assert run("git", "clone", "-q", ROOT, clone).returncode == 0
    revision = run("git", "-C", clone, "rev-parse", "HEAD").stdout.strip()
    config = {"repos": [{"repo": str(clone), "rev": revision, "hooks": [{"id": "ebyd-scan-inspect"}]}]}
    (scratch / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    run("git", "add", ".")

    ends = {}
    for name in ("good.safetensors", "hostile.pt", "backdoor.onnx", "firmware.bin"):
        ends[name] = run(pre_commit, "run", "ebyd-scan-inspect", "--files", name)
    said = {name: done.stdout + done.stderr for name, done in ends.items()}
    assert ends["good.safetensors"].returncode == 0, said["good.safetensors"]
    assert "Passed" in said["good.safetensors"]
    assert ends["hostile.pt"].returncode == 1 and "weights are made of" in " ".join(said["hostile.pt"].split())
    assert ends["backdoor.onnx"].returncode == 1 and "logic of its own" in " ".join(said["backdoor.onnx"].split())
    assert ends["firmware.bin"].returncode == 0 and "Skipped" in said["firmware.bin"]
    tried = run(pre_commit, "try-repo", ROOT, "ebyd-scan-inspect", "--files", *ends)
    assert tried.returncode == 1
    assert "3 files: 1 passed, 2 failed." in tried.stdout
    assert not list(tmp_path.rglob("CANARY"))
    installed = {path.name for path in (tmp_path / "home").glob("repo*/py_env*/lib/python*/site-packages/*")}
    assert "onnx" in installed and "torch" not in installed
