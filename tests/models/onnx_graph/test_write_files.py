"""What is refused, and what lies on disk after a failure: the whole model or nothing."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from ebyd_scan.evidence.errors import ScanError  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph import write  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.write import write_onnx  # noqa: E402
from onnx import helper  # noqa: E402
from torch import nn  # noqa: E402

from .written import SMALL, filled, goes_back, graph_of, linear, load, move, pooled, refused, save, scores  # noqa: E402


def _normalised(module: Any) -> Any:
    module.norm = nn.BatchNorm2d(3)
    return module


def _with_buffer(module: Any) -> Any:
    module.register_buffer("running_mean", torch.zeros(3))
    return module


def _with_nodes(module: Any) -> Any:
    relu = dataclasses.replace(module.plan.nodes[0], operator="Relu", inputs=("y",), outputs=("z",), attributes={})
    module.plan = dataclasses.replace(module.plan, nodes=(*module.plan.nodes, relu))
    return module


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_normalised, "has no tensor for norm"),
        (_with_buffer, "has no tensor for running_mean"),
        (_with_nodes, "has not the nodes that the module has"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_module_that_is_more_than_the_file(change: Callable[[Any], Any], says: str, tmp_path: Path) -> None:
    path = linear(tmp_path)
    refused(path, change(load(path)), tmp_path / "out.onnx", says)


def test_another_file(tmp_path: Path) -> None:
    path = linear(tmp_path)
    module = load(path)
    refused(linear(tmp_path), module, tmp_path / "out.onnx", "is not the file that the module was made from")
    nodes = pooled(helper.make_node("Gemm", ["p", "w"], ["y"]))
    refused(save(tmp_path, graph_of(nodes, [filled("w", 3, 3)])), module, tmp_path / "out.onnx", "has not the nodes")
    path.write_bytes(b"no model at all")
    refused(path, module, tmp_path / "out.onnx", "ONNX")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = linear(tmp_path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "soft").symlink_to(path)
    os.link(path, tmp_path / "hard")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "folder").mkdir()
    (tmp_path / "out.onnx.data").write_bytes(b"of another model")
    module = move(load(path))
    for name, says in {
        "model.onnx": "is the model itself",
        "./folder/../model.onnx": "is the model itself",
        "soft": "is the model itself",
        "hard": "is the model itself",
        "w.bin": "is there already",
        "dangling": "is there already",
        "folder": "is there already",
        "out.onnx": r"out\.onnx\.data is there already",
        "no/out.onnx": "there is no folder",
        "loop": "loop",
        "x" * 300: "cannot be written",
        "nul\0": "cannot be written",
    }.items():
        refused(path, module, tmp_path / name, says)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "stopped"]
)
def test_nothing_is_left_where_it_fails(step: int, error: BaseException, tmp_path: Path, monkeypatch: Any) -> None:
    path = linear(tmp_path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    module, before = move(load(path)), sorted(tmp_path.iterdir())
    calls = []

    def fail(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == step:
            raise error

    monkeypatch.setattr(write.os, "fsync", fail)
    with pytest.raises((ScanError, KeyboardInterrupt)) as caught:
        write_onnx(path, module, tmp_path / "out.onnx")
    assert isinstance(caught.value, KeyboardInterrupt) or "No space left" in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_what_comes_there_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = linear(tmp_path), tmp_path / "out.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    module, link = move(load(path)), os.link

    def others_first(part: Path, place: Path) -> None:
        if place == out:
            out.write_bytes(b"of somebody else")
        link(part, place)

    monkeypatch.setattr(write.os, "link", others_first)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ScanError, match="is there already"):
        write_onnx(path, module, out)
    assert out.read_bytes() == b"of somebody else"
    assert sorted(tmp_path.iterdir()) == sorted([*before, out])


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(part: Path, place: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    path = linear(tmp_path)
    monkeypatch.setattr(write.os, "link", refuse)
    goes_back(path, move(load(path), 1.0), torch.rand(4, *SMALL))
    assert sorted(place.name for place in tmp_path.iterdir()) == ["model.onnx", "repaired.onnx"]


KILLED = """
import os, sys
from pathlib import Path
from ebyd_scan.evidence.artifact import Artifact
from ebyd_scan.scanner.models.onnx_file import load_onnx
from ebyd_scan.scanner.models.onnx_graph import write
path, out, step = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
module = load_onnx(Artifact(path=path, format="onnx", sha256="", size=1), (3, 4, 4))
link, calls = os.link, []
def stop(part, place):
    calls.append(place)
    if len(calls) == step:
        os.kill(os.getpid(), 9)
    link(part, place)
write.os.link = stop
write.write_onnx(path, module, out)
"""


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_kill_leaves_the_whole_model_or_none(step: int, tmp_path: Path) -> None:
    path, out = linear(tmp_path), tmp_path / "out.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    run = subprocess.run([sys.executable, "-P", "-c", KILLED, path, out, str(step)], timeout=120)
    assert run.returncode == (0 if step == 3 else -9)
    assert out.exists() == (step == 3)
    if out.exists():
        pixels = torch.rand(2, *SMALL)
        assert torch.equal(scores(out, pixels), scores(path, pixels))


def test_a_message_that_grows_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = linear(tmp_path)
    monkeypatch.setattr(write, "MAX_MESSAGE", path.stat().st_size - 1)
    refused(path, load(path), tmp_path / "out.onnx", "grows beyond 2 GiB")
