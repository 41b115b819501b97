"""Torch's two exporters over their opsets, transformers through both, and files of one batch size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from ebyd_scan.benchmarks import onnx_parity  # noqa: E402
from ebyd_scan.checks.onnx_read import read_model  # noqa: E402
from ebyd_scan.evidence.artifact import Artifact  # noqa: E402
from ebyd_scan.evidence.errors import ScanError  # noqa: E402
from ebyd_scan.scanner.models.onnx_file import load_onnx  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.build import opsets_of  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.parity import compare  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from torch import nn  # noqa: E402

SHAPE = (3, 32, 32)
SLOW = pytest.mark.slow
UNDONE = {("swin", "new"), ("beit", "new")}  # torch's exporter fails on these two with a batch of any size


class EveryLayer(nn.Module):
    """What image classifiers are made of: BatchNorm, a residual, depthwise, three poolings, hardswish and the like."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.BatchNorm2d(8), nn.ReLU6())
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())
        self.wide = nn.Sequential(nn.Conv2d(8, 12, 3, padding=2, dilation=2), nn.BatchNorm2d(12), nn.SiLU())
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 10)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        x = x + self.depthwise(x)
        x = self.pool(x)
        x = self.wide(x * self.squeeze(x))
        x = nn.functional.avg_pool2d(nn.functional.pad(x, (1, 0, 1, 0)), 3, 2, ceil_mode=False)
        x = nn.functional.interpolate(x, scale_factor=2, mode="nearest")
        return self.head(nn.functional.gelu(self.norm(x.mean((2, 3)))))


def _network() -> Any:
    torch.manual_seed(0)
    module = EveryLayer()
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.1 * torch.rand_like(tensor)
    return module.eval()


def _artifact(path: Path) -> Artifact:
    return Artifact(path=path, format="onnx", sha256="0" * 64, size=path.stat().st_size)


OLD = [pytest.param(False, opset, marks=[] if opset in (9, 17) else SLOW) for opset in range(9, 24)]
NEW = [pytest.param(True, opset, marks=[] if opset in (18, 25) else SLOW) for opset in range(18, 26)]


@pytest.mark.parametrize(("new", "opset"), [*OLD, *NEW])
def test_every_opset(new: bool, opset: int, export: Any) -> None:
    native = _network()
    path = export(native, SHAPE, new=new, opset_version=opset)
    module, model = load_onnx(_artifact(path), SHAPE), read_model(path)
    assert opsets_of(model)[""] == opset
    pixels = torch.rand(5, *SHAPE)
    assert compare(model, module, pixels).difference < 1e-5
    torch.testing.assert_close(module(pixels), native(pixels), rtol=1e-3, atol=1e-4)
    module(pixels).square().sum().backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in module.parameters())


MODELS = [(name, exporter) for name in (*onnx_parity.PICTURES, *onnx_parity.TEXT) for exporter in ("old", "new")]
QUICK = {("vit", "new"), ("bert", "new"), ("distilbert", "old")}


@pytest.mark.parametrize(
    ("name", "exporter"),
    [pytest.param(*pair, marks=[] if pair in QUICK else SLOW) for pair in MODELS if pair not in UNDONE],
)
def test_a_transformer(name: str, exporter: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    row = onnx_parity.measure(name, exporter, None, tmp_path)
    assert not row.problem
    assert row.parity < 1e-4
    assert row.gradient


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "deberta-v2", "vit"])
def test_attention_in_one_node(name: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    row = onnx_parity.measure(name, "new", 23, tmp_path)
    assert not row.problem
    assert (row.opset, row.gradient) == (23, True)
    assert row.parity < 1e-4


@pytest.mark.parametrize(
    ("name", "new", "apart"),
    [
        ("small_vgg", False, None),
        ("small_vit", True, 2),
        pytest.param("small_vit", False, 2, marks=SLOW),
        pytest.param("small_resnet", True, None, marks=SLOW),
        pytest.param("mobilevit", False, 2, marks=SLOW),
        pytest.param("convnextv2_atto", True, 2, marks=SLOW),
    ],
)
def test_a_file_of_one_batch_size(name: str, new: bool, apart: int | None, export: Any) -> None:
    native, _ = onnx_parity.build(name)
    path = export(native, SHAPE, new=new, dynamic=False)
    module = load_onnx(_artifact(path), SHAPE)
    assert module.apart == apart
    pixels = torch.rand(7, *SHAPE)
    scores = module(pixels)
    torch.testing.assert_close(scores, native(pixels), rtol=1e-3, atol=1e-4)
    scores.square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert compare(read_model(path), module, pixels, 2).difference < 1e-5


def test_samples_that_meet_in_a_batch_are_told(tmp_path: Path) -> None:
    """A graph that decides by the batch's brightest pixel gives no sample a score of its own: no batch but its own."""

    def branch(name: str, factor: float) -> Any:
        value = numpy_helper.from_array(torch.full((1,), factor).numpy(), f"factor {name}")
        nodes = [helper.make_node("Mul", ["s", f"factor {name}"], [f"out {name}"])]
        return helper.make_graph(nodes, name, [], [helper.make_empty_tensor_value_info(f"out {name}")], [value])

    nodes = [
        helper.make_node("ReduceMean", ["x"], ["s"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Greater", ["m", "edge"], ["bright"]),
        helper.make_node("If", ["bright"], ["y"], then_branch=branch("a", 3.0), else_branch=branch("b", -1.0)),
    ]
    drawn = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    brightest = sorted(float(drawn[start : start + 2].max()) for start in (0, 2))
    edge = numpy_helper.from_array(torch.tensor(sum(brightest) / 2).numpy(), "edge")
    graph = helper.make_graph(
        nodes,
        "meets",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, *SHAPE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
        [edge],
    )
    path = tmp_path / "model.onnx"
    imports = [helper.make_opsetid("", 17)]
    path.write_bytes(helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString())
    with pytest.raises(ScanError, match="batches of 2 only"):
        load_onnx(_artifact(path), SHAPE)
