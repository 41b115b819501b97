"""Whole networks: the same scores as onnxruntime, gradients everywhere, statistics that move."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import numpy as np  # noqa: E402
from ebyd_scan.checks.onnx_read import read_model  # noqa: E402
from ebyd_scan.evidence.errors import ScanError  # noqa: E402
from ebyd_scan.fixtures import networks  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.build import opsets_of, plan_of  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.ends import Ends, find_ends  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.module import OnnxClassifier, restore_names  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.parity import compare  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from torch import nn  # noqa: E402

SHAPE = (3, 32, 32)
NETWORKS = ("small_resnet", "small_vgg", "small_convnext", "small_vit", "small_mobilenet", "wide_resnet")


def _load(path: Path, shape: tuple[int, int, int] = SHAPE) -> tuple[Any, OnnxClassifier, Ends]:
    model = read_model(path)
    ends = find_ends(model.graph, shape)
    plan = plan_of(model.graph, opsets_of(model), ends.batch, wanted=(ends.scores,))
    return model, OnnxClassifier(plan, ends.input, ends.layout).eval(), ends


def _trained_looking(name: str) -> Any:
    """Fresh weights, but no two tensors alike and BatchNorm statistics of their own, as after training."""
    torch.manual_seed(0)
    module = getattr(networks, name)()
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.1 * torch.rand_like(tensor)
    return module.eval()


@pytest.mark.parametrize("new", [False, True], ids=["old exporter", "new exporter"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_comes_back(name: str, new: bool, export: Any) -> None:
    native = _trained_looking(name)
    model, module, ends = _load(export(native, SHAPE, new=new))
    assert (ends.layout, ends.softmax) == ("nchw", False)
    pixels = torch.rand(5, *SHAPE)
    assert compare(model, module, pixels).difference < 1e-5
    scores = module(pixels)
    torch.testing.assert_close(scores, native(pixels), rtol=1e-3, atol=1e-4)
    scores.square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    learned = sum(parameter.numel() for parameter in module.parameters())
    assert learned >= 0.9 * sum(parameter.numel() for parameter in native.parameters())


@pytest.mark.parametrize("opset", [9, 11, 13, 17])
def test_older_opsets(opset: int, export: Any) -> None:
    native = _trained_looking("small_vgg")
    model, module, _ = _load(export(native, SHAPE, opset_version=opset))
    assert opsets_of(model)[""] == opset
    assert compare(model, module, torch.rand(3, *SHAPE)).difference < 1e-5


def test_batch_norm_that_was_kept_moves_in_train_mode(export: Any) -> None:
    native = _trained_looking("small_resnet")
    kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    model, module, _ = _load(export(native, SHAPE, **kept))
    norms = [part for part in native.modules() if isinstance(part, nn.BatchNorm2d)]
    assert module.batch_norms() == [True] * len(norms)
    pixels = torch.rand(6, *SHAPE)
    torch.testing.assert_close(module(pixels), native(pixels), rtol=1e-4, atol=1e-5)
    before = restore_names(module)
    exposed = copy.deepcopy(module).train()
    torch.testing.assert_close(exposed(pixels), copy.deepcopy(native).train()(pixels), rtol=1e-4, atol=1e-4)
    after = restore_names(exposed)
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(moved) == 2 * len(norms)
    assert all(torch.equal(before[name], value) for name, value in restore_names(module).items())
    assert compare(model, module, pixels).holds


def test_equal_tensors_that_were_merged_are_apart_again() -> None:
    ones = numpy_helper.from_array(np.ones(3, np.float32), "ones")
    nodes = [
        helper.make_node("Identity", ["ones"], ["scale"]),
        helper.make_node("Identity", ["ones"], ["variance"]),
        helper.make_node("Sub", ["ones", "ones"], ["zeros"]),
        helper.make_node("BatchNormalization", ["x", "scale", "ones", "zeros", "variance"], ["h"]),
        helper.make_node("GlobalAveragePool", ["h"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    model, module, _ = _made(nodes, [ones], ["N", 3, 4, 4], ["N", 3])
    assert {"scale", "variance", "ones"} <= set(module.names.values())
    assert sum(parameter.numel() for parameter in module.parameters()) == 6  # scale and bias, not the variance
    assert compare(model, module, torch.rand(2, 3, 4, 4)).holds


def _made(
    nodes: list[Any],
    held: list[Any],
    input_shape: list[Any],
    output_shape: list[Any],
    *,
    shape: tuple[int, int, int] = (3, 4, 4),
    opset: int = 17,
    outputs: list[Any] | None = None,
) -> tuple[Any, OnnxClassifier, Ends]:
    graph = helper.make_graph(
        nodes,
        "made by hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)],
        outputs or [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)],
        held,
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    ends = find_ends(model.graph, shape)
    plan = plan_of(model.graph, opsets_of(model), ends.batch, wanted=(ends.scores,))
    return model, OnnxClassifier(plan, ends.input, ends.layout).eval(), ends


def _weight(name: str, *shape: int) -> Any:
    return numpy_helper.from_array(np.random.default_rng(len(name)).standard_normal(shape).astype(np.float32), name)


def test_channels_last_and_softmax_as_keras_writes_it() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "kernel"], ["c"], auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("ReduceMean", ["c"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("Softmax", ["m"], ["y"], axis=-1),
    ]
    model, module, ends = _made(nodes, [_weight("kernel", 5, 3, 3, 3)], ["N", 4, 4, 3], ["N", 5])
    assert (ends.layout, ends.softmax, ends.scores) == ("nhwc", True, "m")
    pixels = torch.rand(2, 3, 4, 4)
    scores = module(pixels)
    assert compare(model, module, pixels).holds
    assert not torch.allclose(scores.sum(dim=1), torch.ones(2))  # scores, not probabilities


def test_a_batch_size_in_the_graph() -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    held = [numpy_helper.from_array(np.array([1, 48]), "flat"), _weight("w", 48, 6)]
    model, module, ends = _made(nodes, held, [1, 3, 4, 4], [1, 6])
    assert ends.batch == 1
    pixels = torch.rand(7, 3, 4, 4)
    assert module(pixels).shape == (7, 6)
    torch.testing.assert_close(module(pixels)[3:4], module(pixels[3:4]))
    assert compare(model, module, pixels, ends.batch).holds


def test_scikit_learns_outputs() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
        helper.make_node("ZipMap", ["probabilities"], ["map"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]),
    ]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
        helper.make_empty_tensor_value_info("map"),
    ]
    _, module, ends = _made(nodes, [_weight("w", 48, 3)], ["N", 48], [], outputs=outputs)
    assert (ends.layout, ends.output, ends.scores) == ("flat", "probabilities", "scores")
    assert module(torch.rand(2, 3, 4, 4)).shape == (2, 3)


def test_half_precision_weights_are_computed_in_full(export: Any, tmp_path: Path) -> None:
    path = export(_trained_looking("small_resnet"), SHAPE)
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            half = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    plan = plan_of(model.graph, opsets_of(model), wanted=("scores",))
    module = OnnxClassifier(plan, "pixels").eval()
    assert all(parameter.dtype is torch.float32 for parameter in module.parameters())
    assert bool(module(torch.rand(2, *SHAPE)).isfinite().all())


def test_branches() -> None:
    def branch(name: str, factor: float) -> Any:
        nodes = [helper.make_node("Mul", ["s", f"factor {name}"], [f"out {name}"])]
        value = numpy_helper.from_array(np.array(factor, np.float32), f"factor {name}")
        return helper.make_graph(nodes, name, [], [helper.make_empty_tensor_value_info(f"out {name}")], [value])

    nodes = [
        helper.make_node("ReduceMean", ["x"], ["s"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Greater", ["m", "half"], ["bright"]),
        helper.make_node("If", ["bright"], ["y"], then_branch=branch("a", 3.0), else_branch=branch("b", -1.0)),
    ]
    half = numpy_helper.from_array(np.array(0.5, np.float32), "half")
    model, module, _ = _made(nodes, [half], ["N", 3, 4, 4], ["N", 3])
    for brightness in (0.2, 1.0):
        pixels = torch.full((2, 3, 4, 4), brightness)
        assert compare(model, module, pixels).holds
    assert float(module(torch.ones(1, 3, 4, 4))[0, 0]) == 3


def test_weights_that_only_branches_read_are_learned() -> None:
    def branch(name: str) -> Any:
        nodes = [helper.make_node("MatMul", ["s", f"w {name}"], [f"out {name}"])]
        return helper.make_graph(nodes, name, [], [helper.make_empty_tensor_value_info(f"out {name}")])

    nodes = [
        helper.make_node("ReduceMean", ["x"], ["s"], axes=[2, 3], keepdims=0),
        helper.make_node("If", ["always"], ["y"], then_branch=branch("a"), else_branch=branch("b")),
    ]
    weights = [numpy_helper.from_array(np.ones((3, 3), np.float32), f"w {name}") for name in "ab"]
    always = numpy_helper.from_array(np.array(True), "always")
    _, module, _ = _made(nodes, [*weights, always], ["N", 3, 4, 4], ["N", 3])
    assert {module.names[key] for key, _ in module.named_parameters()} == {"w a", "w b"}


def test_the_first_node_that_differs_is_named(export: Any) -> None:
    model, module, _ = _load(export(_trained_looking("small_vgg"), SHAPE))
    second = next(node for node in module.plan.nodes[3:] if node.operator == "Conv")
    key = next(key for key, name in module.names.items() if name == second.inputs[1])
    with torch.no_grad():
        getattr(module, key).add_(0.5)
    parity = compare(model, module, torch.rand(2, *SHAPE))
    assert not parity.holds
    assert parity.node == str(second)


def test_an_operator_that_is_not_known_is_named() -> None:
    nodes = [helper.make_node("Sorcery", ["x"], ["y"], name="the odd one", domain="com.example")]
    with pytest.raises(ScanError, match=r"Sorcery \(the odd one\) of domain com.example"):
        _made(nodes, [], ["N", 3, 4, 4], ["N", 3])


def test_a_circle_is_told() -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"], name="one"), helper.make_node("Relu", ["a"], ["b"], name="two")]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Relu", ["b"], ["y"])],
        "circle",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
    )
    with pytest.raises(ScanError, match="circle"):
        plan_of(graph, {"": 17})


@pytest.mark.parametrize(
    ("input_shape", "says"),
    [
        (["N", 3, 8, 8], "takes 3 x 8 x 8"),
        (["N", 50], "takes 50 numbers"),
        (["N", 3, 4], "has 3 dimensions"),
    ],
)
def test_inputs_that_do_not_fit(input_shape: list[Any], says: str) -> None:
    with pytest.raises(ScanError, match=says):
        _made([helper.make_node("Relu", ["x"], ["y"])], [], input_shape, ["N", 3])


def test_a_score_that_is_no_number_is_like_none() -> None:
    from ebyd_scan.scanner.models.onnx_graph.parity import _difference

    nan, masked = np.array([1.0, np.nan]), np.array([1.0, -np.inf])
    assert _difference(nan, np.array([1.0, 3.0])) == float("inf")
    assert _difference(np.array([1.0, 3.0]), nan) == float("inf")
    assert _difference(masked, masked) == 0.0
    assert _difference(masked, -masked) == float("inf")
