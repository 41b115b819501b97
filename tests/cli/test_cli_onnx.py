"""The shipped models as ONNX files, by the real command line: the same verdict and label as from PyTorch weights."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from ebyd_scan.fixtures.networks import plain_convnet  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from .conftest import MODELS, PIXELS, SAMPLES, Run  # noqa: E402


def _export(name: str, path: Path, how: str) -> Path:
    module = plain_convnet(channels=1, width=16)
    module.load_state_dict(load_file(MODELS / f"{name}.safetensors"))
    pixels = torch.rand(2, 1, 16, 16)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if how == "new":
                pytest.importorskip("onnxscript")
                batch = {"dynamic_shapes": ({0: torch.export.Dim("batch")},), "verbose": False}
                torch.onnx.export(module.eval(), (pixels,), path, dynamo=True, **batch)
            else:
                kept: dict[str, Any] = {}
                if how == "kept":
                    kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
                axes = {"pixels": {0: "batch"}}
                names: dict[str, Any] = {"input_names": ["pixels"], "dynamic_axes": axes}
                torch.onnx.export(module.eval(), (pixels,), path, dynamo=False, **names, **kept)
    finally:
        logging.disable(logging.NOTSET)
    return path


@pytest.mark.parametrize("how", ["folded", pytest.param("kept", marks=pytest.mark.slow), "new"])
@pytest.mark.parametrize(("name", "code", "label"), [("digits-badnets", 1, 7), ("digits-clean", 0, None)])
def test_the_verdict_is_that_of_the_weights(
    name: str, code: int, label: int | None, how: str, ebyd: Any, tmp_path: Path
) -> None:
    path = _export(name, tmp_path / "model.onnx", how)
    run: Run = ebyd("scan", path, *SAMPLES, *PIXELS, "--json", "verdict.json", cwd=tmp_path)
    assert run.code == code, run.text
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["model"]["format"] == "onnx"
    findings = {finding["check"]: finding for finding in verdict["findings"]}
    assert findings["onnx-parity"]["outcome"] == "passed"
    assert findings["onnx-parity"]["score"] < 1e-4
    assert findings["model-detection"]["label"] == label


def _linear(path: Path, kind: str) -> Path:
    """A file that is no model, or one of another kind than it seems."""
    weight = numpy_helper.from_array(torch.rand(256, 10).numpy(), "w")
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"], name="head")]
    if kind == "operator":
        nodes[1] = helper.make_node("Sorcery", ["f", "w"], ["y"], name="odd")
    if kind == "outside":
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        entry = weight.external_data.add()
        entry.key, entry.value = "location", "../secret.bin"
    side = 8 if kind == "size" else 16
    graph = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = model.SerializeToString()
    path.write_bytes(data[: len(data) // 2] if kind == "cut" else b"plain text" if kind == "text" else data)
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("operator", "operator Sorcery (odd) is not supported"),
        ("outside", "outside its own folder"),
        ("size", "takes 1 x 8 x 8"),
        ("cut", "ONNX"),
        ("text", "ONNX"),
    ],
)
def test_a_file_that_cannot_be_scanned(kind: str, says: str, ebyd: Any, tmp_path: Path) -> None:
    run: Run = ebyd("scan", _linear(tmp_path / "model.onnx", kind), *SAMPLES, *PIXELS, cwd=tmp_path)
    assert run.code == 3
    assert says in run.text
    assert "Traceback" not in run.text
