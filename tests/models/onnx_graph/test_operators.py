"""Every operator of the table against onnxruntime, one node at a time."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
import numpy as np  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.build import opsets_of, plan_of  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.module import OnnxClassifier  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.node import OPERATORS  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((2, 4, 7, 9)).astype(np.float32)
MATRIX = RNG.standard_normal((5, 6)).astype(np.float32)
POSITIVE = np.abs(MATRIX) + 0.1
SMALL = MATRIX / 4
WHOLE = RNG.integers(-9, 9, (5, 6))
YES = MATRIX > 0


def ints(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


def floats(*values: float) -> Any:
    return np.array(values, dtype=np.float32)


def weights(*shape: int) -> Any:
    return (RNG.standard_normal(shape) / 3).astype(np.float32)


# Operator, first input, others (None: left out), attributes, opset.
CASES: list[tuple[str, Any, list[Any], dict[str, Any], int]] = [
    *[(name, SMALL, [], {}, 17) for name in ("Abs", "Acos", "Asin", "Atan", "Ceil", "Cos", "Cosh", "Erf",
      "Exp", "Floor", "Neg", "Reciprocal", "Relu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign",
      "Tan", "Tanh", "HardSwish", "IsNaN", "Identity")],
    *[(name, SMALL, [], {}, 17) for name in ("Asinh", "Atanh")],
    ("Acosh", 1 + POSITIVE, [], {}, 17),
    ("Shrink", MATRIX, [], {"lambd": 0.3, "bias": 0.1}, 17),
    *[(name, WHOLE, [WHOLE[:1]], {}, 18) for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")],
    ("BitwiseNot", WHOLE, [], {}, 18),
    ("Log", POSITIVE, [], {}, 17),
    ("Sqrt", POSITIVE, [], {}, 17),
    ("Round", 4 * MATRIX, [], {}, 17),
    ("Mish", MATRIX, [], {}, 18),
    ("Not", YES, [], {}, 17),
    ("IsInf", np.array([1.0, np.inf, -np.inf], np.float32), [], {}, 17),
    ("IsInf", np.array([1.0, np.inf, -np.inf], np.float32), [], {"detect_negative": 0}, 17),
    ("Dropout", MATRIX, [], {}, 17),
    *[(name, MATRIX, [weights(6)], {}, 17) for name in ("Add", "Sub", "Mul", "Div", "Greater", "Less", "GreaterOrEqual",
      "LessOrEqual", "Max", "Min", "Sum", "Mean")],
    *[(name, YES, [RNG.random((5, 6)) > 0.5], {}, 17) for name in ("And", "Or", "Xor")],
    ("Equal", WHOLE, [WHOLE[:1]], {}, 17),
    ("Div", WHOLE, [ints(3)], {}, 17),
    ("Div", WHOLE, [ints(-4)], {}, 17),
    ("Mod", WHOLE, [ints(4)], {}, 17),
    ("Mod", WHOLE, [ints(-4)], {"fmod": 1}, 17),
    ("Pow", POSITIVE, [floats(1.7)], {}, 17),
    ("BitShift", np.array([1, 4, 9], np.uint8), [np.array([1, 2, 1], np.uint8)], {"direction": "LEFT"}, 17),
    ("Where", YES, [MATRIX, SMALL], {}, 17),
    ("Cast", MATRIX, [], {"to": TensorProto.INT64}, 17),
    ("Cast", WHOLE, [], {"to": TensorProto.FLOAT}, 17),
    ("Cast", WHOLE, [], {"to": TensorProto.BOOL}, 17),
    ("CastLike", WHOLE, [floats(1)], {}, 17),
    ("Clip", MATRIX, [np.float32(-0.3), np.float32(0.5)], {}, 17),
    ("Clip", MATRIX, [None, np.float32(0.5)], {}, 17),
    ("Clip", MATRIX, [], {"min": -0.2, "max": 0.4}, 9),
    ("LeakyRelu", MATRIX, [], {"alpha": 0.2}, 17),
    ("PRelu", IMAGES, [weights(4, 1, 1)], {}, 17),
    ("Elu", MATRIX, [], {"alpha": 0.7}, 17),
    ("Celu", MATRIX, [], {"alpha": 0.7}, 17),
    ("Selu", MATRIX, [], {}, 17),
    ("ThresholdedRelu", MATRIX, [], {"alpha": 0.4}, 17),
    ("HardSigmoid", MATRIX, [], {"alpha": 0.3}, 17),
    ("Gelu", MATRIX, [], {}, 20),
    ("Gelu", MATRIX, [], {"approximate": "tanh"}, 20),
    # Networks
    ("Conv", IMAGES, [weights(6, 4, 3, 3), weights(6)], {"pads": [1, 1, 1, 1]}, 17),
    ("Conv", IMAGES, [weights(6, 4, 3, 3)], {"pads": [0, 1, 1, 2], "strides": [2, 1]}, 17),
    ("Conv", IMAGES, [weights(8, 2, 3, 3)], {"group": 2, "dilations": [2, 2]}, 17),
    ("Conv", IMAGES, [weights(6, 4, 3, 3)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, 17),
    ("Conv", IMAGES, [weights(6, 4, 4, 4)], {"auto_pad": "SAME_LOWER"}, 17),
    ("Conv", IMAGES[:, :, 0], [weights(3, 4, 3)], {}, 17),
    ("ConvTranspose", IMAGES, [weights(4, 3, 3, 3), weights(3)], {"strides": [2, 2], "pads": [1, 0, 0, 1]}, 17),
    ("ConvTranspose", IMAGES, [weights(4, 3, 3, 3)], {"strides": [2, 2], "output_padding": [1, 1]}, 17),
    ("MaxPool", IMAGES, [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, 17),
    ("MaxPool", IMAGES, [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, 17),
    ("MaxPool", IMAGES, [], {"kernel_shape": [3, 2], "dilations": [2, 1]}, 17),
    ("MaxPool", IMAGES, [], {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, 17),
    ("AveragePool", IMAGES, [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, 17),
    ("AveragePool", IMAGES, [], {"kernel_shape": [3, 3], "pads": [1, 0, 1, 1], "count_include_pad": 1}, 17),
    ("AveragePool", IMAGES, [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, 19),
    ("AveragePool", IMAGES, [], {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, 17),
    ("GlobalAveragePool", IMAGES, [], {}, 17),
    ("GlobalMaxPool", IMAGES, [], {}, 17),
    ("BatchNormalization", IMAGES, [weights(4), weights(4), weights(4), np.abs(weights(4)) + 0.5],
     {"epsilon": 1e-3}, 17),
    ("InstanceNormalization", IMAGES, [weights(4), weights(4)], {}, 17),
    ("LayerNormalization", IMAGES, [weights(9), weights(9)], {}, 17),
    ("LayerNormalization", IMAGES, [weights(7, 9)], {"axis": -2}, 17),
    ("GroupNormalization", IMAGES, [weights(4), weights(4)], {"num_groups": 2}, 21),
    ("MeanVarianceNormalization", IMAGES, [], {}, 17),
    ("MeanVarianceNormalization", IMAGES, [], {"axes": [2, 3]}, 17),
    ("LRN", IMAGES, [], {"size": 3, "alpha": 0.1}, 17),
    ("LpNormalization", MATRIX, [], {"axis": 1, "p": 1}, 17),
    ("Pad", IMAGES, [ints(0, 0, 1, 2, 0, 0, 3, 0), np.float32(0.5)], {}, 17),
    ("Pad", IMAGES, [ints(0, 0, 1, 2, 0, 0, 3, 0)], {"mode": "reflect"}, 17),
    ("Pad", IMAGES, [ints(0, 0, 1, 2, 0, 0, 3, 0)], {"mode": "edge"}, 17),
    ("Pad", IMAGES, [ints(1, 2), None, ints(3)], {}, 18),
    ("Pad", IMAGES, [], {"pads": [0, 1, 1, 2, 0, 0, 3, 0], "value": 0.25}, 9),
    ("Resize", IMAGES, [None, floats(1, 1, 2, 2)], {"mode": "nearest", "nearest_mode": "floor",
     "coordinate_transformation_mode": "asymmetric"}, 17),
    ("Resize", IMAGES, [None, None, ints(2, 4, 10, 5)], {"mode": "nearest"}, 17),
    ("Resize", IMAGES, [None, None, ints(2, 4, 14, 12)], {"mode": "linear"}, 17),
    ("Resize", IMAGES, [None, None, ints(2, 4, 14, 12)], {"mode": "linear",
     "coordinate_transformation_mode": "align_corners"}, 17),
    ("Resize", IMAGES, [None, floats(1, 1, 2, 2)], {"mode": "cubic", "cubic_coeff_a": -0.75}, 17),
    ("Upsample", IMAGES, [floats(1, 1, 2, 2)], {"mode": "nearest"}, 9),
    ("Upsample", IMAGES, [floats(1, 1, 2, 3)], {"mode": "linear"}, 9),
    ("Resize", IMAGES, [None, None, ints(2, 4, 14, 27)], {"mode": "linear",
     "coordinate_transformation_mode": "asymmetric"}, 17),
    ("GridSample", IMAGES, [np.clip(weights(2, 5, 6, 2), -1, 1)], {"mode": "bilinear"}, 16),
    ("GridSample", IMAGES, [2 * weights(2, 5, 6, 2)], {"mode": "linear", "align_corners": 1,
     "padding_mode": "border"}, 20),
    # Transformers
    ("Attention", weights(2, 4, 5, 6), [weights(2, 4, 7, 6), weights(2, 4, 7, 6)], {}, 23),
    ("Attention", weights(2, 4, 5, 6), [weights(2, 2, 5, 6), weights(2, 2, 5, 6)], {"is_causal": 1}, 23),
    ("Attention", weights(2, 5, 24), [weights(2, 7, 12), weights(2, 7, 12), weights(5, 7)],
     {"q_num_heads": 4, "kv_num_heads": 2, "scale": 0.3}, 23),
    ("Attention", weights(2, 4, 5, 6), [weights(2, 4, 7, 6), weights(2, 4, 7, 3), RNG.random((2, 1, 5, 7)) > 0.3],
     {}, 24),
    ("Attention", weights(2, 4, 5, 6), [weights(2, 4, 5, 6), weights(2, 4, 5, 6), weights(5, 5)],
     {"is_causal": 1}, 23),
    ("RotaryEmbedding", weights(2, 4, 5, 6), [weights(9, 3), weights(9, 3), RNG.integers(0, 9, (2, 5))], {}, 23),
    ("RotaryEmbedding", weights(2, 5, 24), [weights(2, 5, 3), weights(2, 5, 3)],
     {"num_heads": 4, "interleaved": 1}, 23),
    ("RotaryEmbedding", weights(2, 4, 5, 8), [weights(9, 2), weights(9, 2), RNG.integers(0, 9, (2, 5))],
     {"rotary_embedding_dim": 4}, 23),
    # Sums and orders
    *[(name, POSITIVE[None], [], {"axes": [1], "keepdims": 0}, 13) for name in ("ReduceL1", "ReduceL2", "ReduceLogSum",
      "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSumSquare")],
    *[(name, IMAGES, [ints(-1, 1)], {}, 18) for name in ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean",
      "ReduceSum")],
    ("ReduceSum", IMAGES, [], {}, 13),
    ("ReduceSum", IMAGES, [], {"noop_with_empty_axes": 1}, 13),
    ("ArgMax", WHOLE.astype(np.float32), [], {"axis": 1}, 17),
    ("ArgMax", WHOLE.astype(np.float32), [], {"axis": 1, "select_last_index": 1, "keepdims": 0}, 17),
    ("ArgMin", WHOLE.astype(np.float32), [], {"axis": 0}, 17),
    ("TopK", MATRIX, [ints(3)], {"axis": 1}, 17),
    ("TopK", MATRIX, [ints(2)], {"axis": 0, "largest": 0}, 17),
    ("CumSum", MATRIX, [np.int64(1)], {}, 17),
    ("CumSum", MATRIX, [np.int64(0)], {"exclusive": 1, "reverse": 1}, 17),
    ("Softmax", IMAGES, [], {"axis": 1}, 17),
    ("Softmax", IMAGES, [], {"axis": 1}, 11),
    ("LogSoftmax", MATRIX, [], {}, 17),
    ("Hardmax", MATRIX, [], {}, 17),
    ("Einsum", MATRIX, [weights(6, 3)], {"equation": "ij,jk->ki"}, 17),
    ("MatMul", IMAGES, [weights(9, 5)], {}, 17),
    ("Gemm", MATRIX, [weights(3, 6), weights(3)], {"transB": 1, "alpha": 0.5, "beta": 2.0}, 17),
    ("Gemm", MATRIX, [weights(5, 2)], {"transA": 1}, 17),
    # Shapes
    ("Reshape", IMAGES, [ints(0, -1, 9)], {}, 17),
    ("Flatten", IMAGES, [], {"axis": 2}, 17),
    ("Flatten", IMAGES, [], {"axis": -1}, 17),
    ("Squeeze", IMAGES[:1, :, :1], [ints(0, -2)], {}, 17),
    ("Squeeze", IMAGES[:1, :, :1], [], {}, 17),
    ("Squeeze", IMAGES[:1, :, :1], [], {"axes": [2]}, 11),
    ("Unsqueeze", MATRIX, [ints(0, -1)], {}, 17),
    ("Unsqueeze", MATRIX, [], {"axes": [1, 2]}, 11),
    ("Transpose", IMAGES, [], {"perm": [0, 2, 3, 1]}, 17),
    ("Transpose", IMAGES, [], {}, 17),
    ("Concat", MATRIX, [SMALL, POSITIVE], {"axis": -1}, 17),
    ("Split", IMAGES, [ints(1, 3)], {"axis": 1}, 17),
    ("Split", IMAGES, [], {"axis": 1}, 13),
    ("Split", IMAGES, [], {"axis": 3, "split": [4, 5]}, 11),
    ("Slice", IMAGES, [ints(1, -3), ints(4, 2**40), ints(1, 3), ints(1, 2)], {}, 17),
    ("Slice", IMAGES, [ints(-1), ints(-(2**40)), ints(2), ints(-2)], {}, 17),
    ("Slice", IMAGES, [ints(5), ints(2), ints(2)], {}, 17),
    ("Slice", IMAGES, [], {"starts": [1], "ends": [-1], "axes": [2]}, 9),
    ("Gather", MATRIX, [np.array([[0, -1], [2, 2]])], {"axis": 1}, 17),
    ("Gather", MATRIX, [np.int64(2)], {}, 17),
    ("GatherElements", MATRIX, [ints(*range(5)).reshape(5, 1)], {"axis": 1}, 17),
    ("GatherND", MATRIX, [np.array([[0, 1], [4, -1]])], {}, 17),
    ("GatherND", IMAGES, [np.array([[[0], [3]], [[1], [2]]])], {"batch_dims": 1}, 17),
    ("ScatterND", MATRIX, [np.array([[1], [1]]), weights(2, 6)], {"reduction": "add"}, 17),
    *[("ScatterElements", MATRIX, [np.array([[1, 1], [2, 0]]), weights(2, 2)], {"axis": 1, "reduction": kind}, 18)
      for kind in ("add", "mul", "max", "min")],
    ("ScatterND", MATRIX, [np.array([[1], [3]]), weights(2, 6)], {}, 17),
    ("ScatterElements", MATRIX, [np.array([[1, -1]]), weights(1, 2)], {"axis": 1}, 17),
    ("Expand", MATRIX[:, :1], [ints(3, 1, 6)], {}, 17),
    ("Expand", YES[:, :1], [ints(5, 6)], {}, 17),
    ("Tile", MATRIX, [ints(2, 3)], {}, 17),
    ("Shape", IMAGES, [], {}, 17),
    ("Shape", IMAGES, [], {"start": 1, "end": -1}, 17),
    ("Size", IMAGES, [], {}, 17),
    ("ConstantOfShape", ints(2, 3), [], {}, 17),
    ("ConstantOfShape", ints(2, 3), [], {"value": numpy_helper.from_array(ints(7))}, 17),
    ("Range", np.int64(1), [np.int64(9), np.int64(3)], {}, 17),
    ("NonZero", YES, [], {}, 17),
    ("OneHot", ints(1, 0, -1), [np.int64(4), floats(0.5, 2)], {}, 17),
    ("OneHot", ints(1, 0, 3), [np.int64(4), floats(0, 1)], {"axis": 0}, 17),
    ("Trilu", MATRIX, [np.int64(1)], {}, 17),
    ("Trilu", MATRIX, [], {"upper": 0}, 17),
    ("EyeLike", MATRIX, [], {"k": 1}, 17),
    ("DepthToSpace", IMAGES, [], {"blocksize": 2}, 17),
    ("DepthToSpace", IMAGES, [], {"blocksize": 2, "mode": "CRD"}, 17),
    ("SpaceToDepth", IMAGES[:, :, :6, :8], [], {"blocksize": 2}, 17),
]  # fmt: skip
ELSEWHERE = {"Constant", "Swish", "RMSNormalization"}  # a node without inputs; operators that onnxruntime 1.31 lacks
OUTPUTS = {"TopK": 2, "Split": 2}


def _model(name: str, first: Any, others: list[Any], attributes: dict[str, Any], opset: int) -> Any:
    names = ["x", *("" if value is None else f"in{place}" for place, value in enumerate(others))]
    outputs = [f"y{place}" for place in range(OUTPUTS.get(name, 1))]
    node = helper.make_node(name, names, outputs, name="the node", **attributes)
    kind = helper.np_dtype_to_tensor_dtype(np.asarray(first).dtype)
    graph = helper.make_graph(
        [node],
        "one node",
        [helper.make_tensor_value_info("x", kind, np.asarray(first).shape)],
        [helper.make_empty_tensor_value_info(output) for output in outputs],
        [
            numpy_helper.from_array(np.asarray(value), f"in{place}")
            for place, value in enumerate(others)
            if value is not None
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize(("name", "first", "others", "attributes", "opset"), CASES, ids=lambda value: str(value)[:12])
def test_an_operator(name: str, first: Any, others: list[Any], attributes: dict[str, Any], opset: int) -> None:
    model = _model(name, first, others, attributes, opset)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"x": np.asarray(first)})
    module = OnnxClassifier(plan_of(model.graph, opsets_of(model)), "x")
    found = module.eval().run(torch.from_numpy(np.array(first)), tuple(value.name for value in session.get_outputs()))
    for one, other in zip(found, wanted, strict=True):
        assert list(one.shape) == list(other.shape)
        np.testing.assert_allclose(one.detach().numpy(), other, rtol=1e-4, atol=1e-5)


LINEAR = {"coefficients": weights(6).tolist(), "intercepts": [0.2], "classlabels_ints": [0, 1]}
LEARNED = [  # scikit-learn's: operator, others, attributes
    ("Scaler", [], {"offset": weights(6).tolist(), "scale": [2.0, 0.5, 1.0, 3.0, 1.5, 1.0]}),
    *[("Normalizer", [], {"norm": kind}) for kind in ("MAX", "L1", "L2")],
    ("ArrayFeatureExtractor", [ints(4, 0)], {}),
    *[("LinearClassifier", [], {**LINEAR, "post_transform": kind}) for kind in ("NONE", "LOGISTIC", "SOFTMAX")],
]


@pytest.mark.parametrize(("name", "others", "attributes"), LEARNED, ids=lambda value: str(value)[:40])
def test_an_operator_of_scikit_learn(name: str, others: list[Any], attributes: dict[str, Any]) -> None:
    model = _model(name, POSITIVE, others, attributes, 17)
    (node,) = model.graph.node
    node.domain = "ai.onnx.ml"
    if name == "LinearClassifier":
        node.output[:] = ["label", "y0"]
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    (wanted,) = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        ["y0"], {"x": POSITIVE}
    )
    (found,) = (
        OnnxClassifier(plan_of(model.graph, opsets_of(model)), "x").eval().run(torch.from_numpy(POSITIVE), ("y0",))
    )
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_every_operator_has_a_case() -> None:
    standard = {name for domain, name in OPERATORS if not domain}
    assert standard <= {case[0] for case in CASES} | ELSEWHERE
    assert {name for domain, name in OPERATORS if domain == "ai.onnx.ml"} == {case[0] for case in LEARNED}
