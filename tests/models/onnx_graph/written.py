"""Writes changed modules back and holds the files against what they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
import numpy as np  # noqa: E402
from ebyd_scan.checks.onnx_read import parse, read_model, tensors  # noqa: E402
from ebyd_scan.evidence.artifact import Artifact  # noqa: E402
from ebyd_scan.evidence.errors import ScanError  # noqa: E402
from ebyd_scan.scanner.models.onnx_file import load_onnx  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.module import OnnxClassifier  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.write import prove_written, write_onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

PICTURE = (3, 32, 32)
SMALL = (3, 4, 4)
RNG = np.random.default_rng(5)


def load(path: Path, shape: tuple[int, int, int] = SMALL) -> OnnxClassifier:
    return load_onnx(Artifact(path=path, format="onnx", sha256="", size=path.stat().st_size), shape)


def move(module: Any, by: float = 0.05) -> Any:
    """As training would: other numbers in all that was learned."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(by * torch.rand_like(parameter))
    return module


def scores(path: Path, pixels: Any) -> Any:
    """What onnxruntime makes of the file on disk."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: pixels.numpy()})[0])


def parsed(path: Path) -> Any:
    return parse(path, path.read_bytes())


def without_numbers(path: Path) -> bytes:
    """The file but for what its tensors hold."""
    model = parsed(path)
    for tensor in tensors(model):
        for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
            tensor.ClearField(field)
        tensor.ClearField("external_data")
    return model.SerializeToString()


def merged_again(path: Path, original: Path) -> Path:
    """A copy in which each Identity reads what it read, without the initialisers that were added for some of them."""
    model, before = parsed(path), parsed(original)
    count = len(before.graph.initializer)
    added = {tensor.name for tensor in model.graph.initializer[count:]}
    del model.graph.initializer[count:]
    for node, old in zip(model.graph.node, before.graph.node, strict=True):
        if node.op_type == "Identity" and node.input[0] in added:
            assert node.input[0] == f"{node.output[0]}_value"
            node.input[0] = old.input[0]
    copied = path.with_suffix(".merged")
    copied.write_bytes(model.SerializeToString())
    return copied


def numbers_of(path: Path) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in read_model(path).graph.initializer}


def goes_back(path: Path, module: Any, pixels: Any) -> Path:
    """Write, and hold all against the module and the original that must hold."""
    out = path.parent / "repaired.onnx"
    before = path.read_bytes()
    write_onnx(path, module, out)
    assert path.read_bytes() == before
    assert without_numbers(merged_again(out, path)) == without_numbers(path)
    (path.parent / "repaired.merged").unlink()
    onnx.checker.check_model(str(out))
    with torch.no_grad():
        torch.testing.assert_close(scores(out, pixels), module.eval()(pixels), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(scores(out, pixels), scores(path, pixels), rtol=1e-2, atol=1e-2)
    assert prove_written(out, module, pixels) < 1e-4
    return out


def refused(path: Path, module: Any, out: Path, says: str) -> None:
    before = {place: place.read_bytes() for place in path.parent.rglob("*") if place.is_file()}
    with pytest.raises(ScanError, match=says) as caught:
        write_onnx(path, module, out)
    assert "\n" not in str(caught.value)
    assert str(path.parent) in str(caught.value)
    assert {place: place.read_bytes() for place in path.parent.rglob("*") if place.is_file()} == before


def graph_of(nodes: list[Any], held: list[Any], **more: Any) -> Any:
    return helper.make_graph(
        nodes,
        "made by hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        held,
        **more,
    )


def save(folder: Path, graph: Any, *, ir: int = 8, opset: int = 17, functions: Any = ()) -> Path:
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    model = helper.make_model(
        graph,
        opset_imports=imports,
        ir_version=ir,
        functions=list(functions),
        producer_name="a hand",
        doc_string="kept",
    )
    helper.set_model_props(model, {"trained by": "somebody", "on": "something"})
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def filled(name: str, *shape: int, kind: Any = np.float32) -> Any:
    return numpy_helper.from_array(RNG.standard_normal(shape).astype(kind), name)


def pooled(*nodes: Any) -> list[Any]:
    return [helper.make_node("ReduceMean", ["x"], ["p"], axes=[2, 3], keepdims=0), *nodes]


def typed_field(tensor: Any) -> Any:
    """The same tensor in the field for its type in place of raw bytes."""
    array = numpy_helper.to_array(tensor)
    half = array.dtype.itemsize == 2
    numbers = (array.view(np.uint16) if half else array).reshape(-1).tolist()
    tensor.ClearField("raw_data")
    getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type))[:] = numbers
    return tensor


def linear(folder: Path) -> Path:
    return save(folder, graph_of(pooled(helper.make_node("MatMul", ["p", "w"], ["y"])), [filled("w", 3, 3)]))
