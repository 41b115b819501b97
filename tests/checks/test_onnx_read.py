"""Files that are broken or made to mislead: one sentence, and nothing outside the folder is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx")
import numpy as np  # noqa: E402
from ebyd_scan.checks.onnx_read import external_files, parse, read_model  # noqa: E402
from ebyd_scan.evidence.errors import ScanError  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)


def _model() -> Any:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _outside(model: Any, location: str, **more: str) -> Any:
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return model


def _write(model: Any, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    model = read_model(_write(_model(), tmp_path))
    assert (numpy_helper.to_array(model.graph.initializer[0]) == WEIGHT).all()


@pytest.mark.parametrize("location", ["weights.bin", "deeper/weights.bin"])
def test_weights_beside_the_file(location: str, tmp_path: Path) -> None:
    place = tmp_path / location
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"12345678" + WEIGHT.tobytes())
    path = _write(_outside(_model(), location, offset="8", length=str(WEIGHT.nbytes)), tmp_path)
    assert external_files(parse(path, path.read_bytes())) == [location]
    model = read_model(path)
    assert (numpy_helper.to_array(model.graph.initializer[0]) == WEIGHT).all()
    assert external_files(model) == []


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/hostname", "a/../../secret.bin", "..\\secret.bin", "c:\\secret.bin", "x\0y"]
)
def test_weights_outside_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    folder = tmp_path / "models"
    folder.mkdir()
    with pytest.raises(ScanError, match="outside its own folder"):
        read_model(_write(_outside(_model(), location), folder))


@pytest.mark.parametrize("how", ["file", "folder"])
def test_links_are_refused(how: str, tmp_path: Path) -> None:
    secret = tmp_path / "secrets"
    secret.mkdir()
    (secret / "w.bin").write_bytes(WEIGHT.tobytes())
    folder = tmp_path / "models"
    folder.mkdir()
    if how == "file":
        (folder / "w.bin").symlink_to(secret / "w.bin")
    else:
        (folder / "sub").symlink_to(secret)
    location = "w.bin" if how == "file" else "sub/w.bin"
    with pytest.raises(ScanError, match="link"):
        read_model(_write(_outside(_model(), location), folder))


def _missing(model: Any, folder: Path) -> Any:
    return _outside(model, "weights.bin")


def _short(model: Any, folder: Path) -> Any:
    (folder / "weights.bin").write_bytes(WEIGHT.tobytes()[:-1])
    return _outside(model, "weights.bin")


def _wrong_length(model: Any, folder: Path) -> Any:
    (folder / "weights.bin").write_bytes(WEIGHT.tobytes() * 2)
    return _outside(model, "weights.bin", length="4")


def _negative_offset(model: Any, folder: Path) -> Any:
    return _outside(model, "weights.bin", offset="-8")


def _fifo(model: Any, folder: Path) -> Any:
    os.mkfifo(folder / "weights.bin")
    return _outside(model, "weights.bin")


def _no_location(model: Any, folder: Path) -> Any:
    return _outside(model, "")


def _bomb(model: Any, folder: Path) -> Any:
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 20]
    return model


def _negative(model: Any, folder: Path) -> Any:
    model.graph.initializer[0].dims[:] = [-4, -3]
    return model


def _lies(model: Any, folder: Path) -> Any:
    model.graph.initializer[0].dims[:] = [4, 4]
    return model


def _dimensions(model: Any, folder: Path) -> Any:
    model.graph.initializer[0].dims[:] = [1] * 2000
    return model


def _type(model: Any, folder: Path) -> Any:
    model.graph.initializer[0].data_type = 77
    return model


def _empty_graph(model: Any, folder: Path) -> Any:
    del model.graph.node[:]
    return model


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_missing, "cannot be read"),
        (_short, "do not belong together"),
        (_wrong_length, "do not belong together"),
        (_negative_offset, "is not said"),
        (_fifo, "no regular file"),
        (_no_location, "is not said"),
        (_bomb, "GiB of weights"),
        (_negative, "which no tensor has"),
        (_lies, "does not hold as many|not hold as many"),
        (_dimensions, "which no tensor has"),
        (_type, "does not know"),
        (_empty_graph, "holds no ONNX graph"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_files_that_lie(change: Callable[[Any, Path], Any], says: str, tmp_path: Path) -> None:
    path = _write(change(_model(), tmp_path), tmp_path)
    with pytest.raises(ScanError, match=says) as caught:
        read_model(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\x08", b"not a protobuf at all", b"\x08\x08" + b"\xff" * 60])
def test_no_protobuf(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ScanError, match="ONNX"):
        read_model(path)


def test_a_file_cut_short(tmp_path: Path) -> None:
    path = _write(_model(), tmp_path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        try:
            read_model(path)
        except ScanError as error:
            assert "\n" not in str(error)
