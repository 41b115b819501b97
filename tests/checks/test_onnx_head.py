"""What an ONNX file says of itself, against the onnx package, and that a hostile file costs nothing."""

from __future__ import annotations

import mmap
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from ebyd_scan.checks import onnx_head as module
from ebyd_scan.checks.onnx_head import OnnxHead, OnnxValue, onnx_head
from ebyd_scan.evidence.errors import ScanError

onnx = pytest.importorskip("onnx")
np = pytest.importorskip("numpy")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

PATH = Path("graph.onnx")


def _model(**changes: object) -> onnx.ModelProto:
    """Weights in initialisers, a constant, a branch and a function; int64 shapes that are none."""
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones((2, 2), np.float16)))],
        "inner",
        [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT16, [2, 2])],
        [numpy_helper.from_array(np.ones(5, np.float32), "in a branch")],
    )
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["r"]),
        helper.make_node("If", ["flag"], ["i"], then_branch=inner, else_branch=inner),
        helper.make_node("Dense", ["r"], ["y"], domain="own"),
    ]
    function = helper.make_function(
        "own",
        "Dense",
        ["a"],
        ["b"],
        [
            helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(np.ones((3, 4), np.float32))),
            helper.make_node("MatMul", ["a", "w"], ["b"]),
        ],
        [helper.make_opsetid("", 18)],
    )
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, None, -1]),
        helper.make_tensor_value_info("listed", TensorProto.FLOAT, [7]),  # as old files do with weights
    ]
    weights = [
        numpy_helper.from_array(np.ones(7, np.float32), "listed"),
        numpy_helper.from_array(np.array([-1, 3], np.int64), "shape"),
        numpy_helper.from_array(np.ones((4, 4), np.int8), "quantised"),
        helper.make_tensor("typed", TensorProto.DOUBLE, [2], [1.0, 2.0]),
    ]
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], weights
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    options = {"producer_name": "maker", "producer_version": "1.2", "ir_version": 9, **changes}
    return helper.make_model(graph, functions=[function], opset_imports=opsets, **options)


def test_everything_is_told() -> None:
    head = onnx_head(PATH, _model().SerializeToString())
    assert head == OnnxHead(
        ir_version=9,
        producer="maker",
        producer_version="1.2",
        opsets={"ai.onnx": 18, "own": 1},
        nodes=7,
        inputs=[OnnxValue(name="x", type="F32", shape=["batch", 3, "?", -1])],
        outputs=[OnnxValue(name="y", type="F32")],
        weights={"F32": 7 + 5 + 5 + 12, "F16": 4 + 4, "I8": 16, "F64": 2},
    )


@pytest.mark.parametrize("dynamo", [False, True])
def test_what_torch_exports(dynamo: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if dynamo:
        pytest.importorskip("onnxscript")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(32, 5))
    path = tmp_path / "net.onnx"
    options = {"dynamo": dynamo, "verbose": False, **({"external_data": False} if dynamo else {})}
    torch.onnx.export(net.eval(), (torch.zeros(1, 3, 4, 4),), path, input_names=["x"], output_names=["y"], **options)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        head = onnx_head(path, view)
    assert head.weights == {"F32": sum(parameter.numel() for parameter in net.parameters())}
    assert (head.inputs, head.outputs) == (
        [OnnxValue(name="x", type="F32", shape=[1, 3, 4, 4])],
        [OnnxValue(name="y", type="F32", shape=[1, 5])],
    )
    assert head.producer == "pytorch"


def _wrong_shape(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 8


def _huge(model: onnx.ModelProto) -> None:
    del model.graph.initializer[3].double_data[:]
    model.graph.initializer[3].dims[0] = 1 << 40


def _negative(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -7


def _outside(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].dims[:] = [-1, -1]


@pytest.mark.parametrize("change", [_wrong_shape, _huge, _negative, _outside])
def test_tensors_that_lie_are_refused(change: Callable[[onnx.ModelProto], None]) -> None:
    model = _model()
    change(model)
    with pytest.raises(ScanError, match=r"graph\.onnx is no ONNX file, or a damaged one \(a tensor"):
        onnx_head(PATH, model.SerializeToString())


def test_weights_beside_the_file_are_counted() -> None:
    model = _model()
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    assert onnx_head(PATH, model.SerializeToString()).weights["F32"] == 29


def test_every_prefix_is_refused_or_read() -> None:
    data = _model().SerializeToString()
    for length in range(len(data)):
        try:
            onnx_head(PATH, data[:length])
        except ScanError as error:
            assert "graph.onnx" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("data", [b"", b"\x08\x0a", b"# Read me\n\nHello.\n", bytes(100), b"\xff" * 100])
def test_what_is_no_graph(data: bytes) -> None:
    with pytest.raises(ScanError, match=r"graph\.onnx (is no ONNX file|holds no ONNX graph)"):
        onnx_head(PATH, data)


def _nested(levels: int) -> bytes:
    """A node with an attribute with a graph with a node, and so on."""
    data = b""
    for _ in range(levels):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # attribute.g, node.attribute, graph.node
            length, size = b"", len(data)
            while True:
                length += bytes([size & 127 | (128 if size > 127 else 0)])
                size >>= 7
                if not size:
                    break
            data = tag + length + data
    return data


def test_depth_is_bounded() -> None:
    body = _nested(200)
    assert len(body) < 1 << 14
    data = b"\x3a" + bytes([len(body) & 127 | 128, len(body) >> 7]) + body + b"\x42\x02\x10\x11"
    with pytest.raises(ScanError, match="nested too deep"):
        onnx_head(PATH, data)


@pytest.mark.parametrize("field", [b"\x0a\x00", b"\x5a\x00", b"\x2a\x00"], ids=["nodes", "inputs", "initialisers"])
def test_a_million_empty_messages_cost_nothing(field: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_FIELDS", 50_000)
    data = b"\x3a\x80\x80\x80\x01" + field * (1 << 20)  # the length says 2 MiB
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(ScanError, match="more than 50,000 fields"):
            onnx_head(PATH, data)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 10


def test_the_onnx_package_is_not_needed(tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "g.onnx").write_bytes(_model().SerializeToString())
    code = (
        "import sys; from pathlib import Path; from ebyd_scan.checks.onnx_head import onnx_head\n"
        "p = Path('g.onnx'); assert onnx_head(p, p.read_bytes()).producer == 'maker'\n"
        "assert not {'onnx', 'numpy', 'google.protobuf'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, check=True)
