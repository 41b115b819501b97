"""What needs no torch does not import it: --help in a pre-commit hook answers at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HEAVY = {"torch", "torchvision", "transformers", "numpy", "onnx", "onnxruntime", "safetensors", "PIL", "sklearn"}
LISTED = """
import atexit, json, os, sys
atexit.register(lambda: open(os.environ["LISTED"], "w").write(json.dumps(sorted(sys.modules))))
from ebyd_scan.scanner.cli.main import main
main()
"""


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., tuple[int, set[str]]]:
    """Exit code and the modules that the command's own process has imported."""

    def go(*arguments: str | Path) -> tuple[int, set[str]]:
        listed = tmp_path / "modules.json"
        done = subprocess.run(
            [sys.executable, "-P", "-c", LISTED, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "LISTED": str(listed)},
            capture_output=True,
            timeout=60,
        )
        return done.returncode, set(json.loads(listed.read_text()))

    return go


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["scan", "--help"], 0),
        (["demo", "--help"], 0),
        (["selftest", "--help"], 0),
        (["inspect", "--help"], 0),
        (["inspect", "nowhere.pt", "gate.yaml"], 3),
        (["selftest", "m.pt", "--samples", "x", "--attack", "badnet"], 2),
        (["policy", "list"], 0),
        (["policy", "show", "quick"], 0),
        (["policy", "validate", "gate.yaml"], 0),
        (["policy", "schema"], 0),
        (["scna"], 2),
        (["scan"], 2),
        (["scan", "--project", "nowhere.yaml"], 2),
        (["init", "m.pt", "--samples", "x.npz"], 0),
        (["project", "schema"], 0),
        (["completion", "zsh"], 0),
        (["verify-report", "nowhere.json"], 3),
        (["scan", "m.pt", "--samples", "x", "--policy", "nowhere.yaml"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_nothing_heavy_is_imported(
    arguments: list[str], code: int, imported: Callable[..., tuple[int, set[str]]], tmp_path: Path
) -> None:
    (tmp_path / "gate.yaml").write_text("version: 1\nname: gate\nchecks: {model-detection: {}, sample-fit: {}}\n")
    ended, modules = imported(*arguments)
    assert ended == code
    assert not HEAVY & modules


def test_help_imports_hardly_anything(imported: Callable[..., tuple[int, set[str]]]) -> None:
    _, modules = imported("--help")
    assert not {"pydantic", "yaml", "rich", "psutil"} & modules


def test_the_parent_of_a_scan_imports_no_torch(
    imported: Callable[..., tuple[int, set[str]]], models: Path, digits_options: list[str], tmp_path: Path
) -> None:
    (tmp_path / "short.yaml").write_text("version: 1\nname: short\nchecks: {file-safety: {}, sample-fit: {}}\n")
    model = models / "digits-clean.safetensors"
    options: list[Any] = [*digits_options, "--policy", "short.yaml", "--json", "v.json", "--junit", "r.xml"]
    code, modules = imported("scan", model, *options)
    assert code == 0
    assert not HEAVY & modules


def test_inspecting_imports_no_torch(
    imported: Callable[..., tuple[int, set[str]]], models: Path, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    weights = {"a": torch.zeros(3)}
    torch.save(weights, tmp_path / "zip.pt")
    torch.save(weights, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "script.pt")
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), tmp_path / "export.pt2")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text("{}")
    torch.save(weights, tmp_path / "folder" / "pytorch_model.bin")
    names = ["zip.pt", "legacy.pt", "script.pt", "export.pt2", "folder", models / "digits-clean.safetensors"]
    code, modules = imported("inspect", *names, "--json", "report.json")
    assert code == 0
    assert [file["parameters"] for file in json.loads((tmp_path / "report.json").read_text())["files"]][:5] == [
        *(3, 3, 6, 6, 3)
    ]
    assert not HEAVY & modules


def test_inspecting_a_graph_imports_onnx_only(imported: Callable[..., tuple[int, set[str]]], tmp_path: Path) -> None:
    helper = pytest.importorskip("onnx.helper")
    import onnx

    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
    code, modules = imported("inspect", "net.onnx")
    assert code == 0
    assert not (HEAVY - {"numpy", "onnx"}) & modules


def test_a_hostile_file_is_refused_without_torch(ebyd: Callable[..., Any], tmp_path: Path) -> None:
    import pickle

    (tmp_path / "model.pkl").write_bytes(pickle.dumps(print))
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    verdict = tmp_path / "verdict.json"
    run = ebyd(
        "scan", "model.pkl", "--samples", "x", "--json", verdict, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}
    )
    assert run.code == 3
    outcomes = {f["check"]: f["outcome"] for f in json.loads(verdict.read_text())["findings"]}
    assert outcomes["file-safety"] == "failed"
    assert outcomes["model-detection"] == "skipped"
