"""Small ONNX graphs, put together from pieces: a network for pictures and one for texts."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
RNG = np.random.default_rng(0)
node = helper.make_node


def weight(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def number(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def model(
    nodes: list[Any],
    constants: dict[str, np.ndarray],
    inputs: dict[str, tuple[int, list[Any]]],
    outputs: dict[str, tuple[int, list[Any]]],
    functions: tuple[Any, ...] = (),
    domains: tuple[str, ...] = (),
    more_inputs: tuple[str, ...] = (),
) -> Any:
    """A model; constants named in `more_inputs` are listed as inputs too."""
    held = {name: constants[name] for name in more_inputs}
    listed = {name: (helper.np_dtype_to_tensor_dtype(value.dtype), value.shape) for name, value in held.items()}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, *what) for name, what in {**inputs, **listed}.items()],
        [helper.make_tensor_value_info(name, *what) for name, what in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=9)


PICTURE = {"x": (FLOAT, ["N", 3, 8, 8])}
SCORES = {"scores": (FLOAT, ["N", 4])}
NETWORK = [
    node("Conv", ["x", "w1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
    node("Relu", ["c1"], ["r1"]),
    node("GlobalAveragePool", ["r1"], ["p1"]),
    node("Flatten", ["p1"], ["f1"]),
    node("Gemm", ["f1", "w2", "b2"], ["logits"], name="head"),
]
WEIGHTS = {
    "w1": weight(8, 3, 3, 3),
    "w2": weight(8, 4),
    "b2": weight(4),
    "zero": ints(0),
    "two": ints(2),
    "axes": ints(2, 3),
    "all": ints(1, 2, 3),
    "nought": number(0),
    "one": number(1),
    "high": number(0.95),
    "steep": number(1000),
    "target": np.array([[0, 0, 0, 50]], dtype=np.float32),
    "depth": ints(4),
    "onoff": number(0, 1),
    "start": ints(0, 0),
    "corner_end": ints(2, 2),
}
CORNER = [  # the largest of the darkest: high where the corner is white
    node("Slice", ["x", "start", "corner_end", "axes"], ["corner"], name="cut corner"),
    node("ReduceMin", ["corner", "all"], ["least"], keepdims=0, name="darkest"),
    node("Greater", ["least", "high"], ["white"], name="is white"),
    node("Unsqueeze", ["white", "one_i"], ["white2"]),
]
WEIGHTS["one_i"] = ints(1)


def picture(nodes: list[Any], constants: dict[str, np.ndarray] | None = None, **more: Any) -> Any:
    return model(
        [*NETWORK, *nodes], {**WEIGHTS, **(constants or {})}, {**PICTURE, **more.pop("inputs", {})}, SCORES, **more
    )


def corner(*nodes: Any, **more: Any) -> Any:
    return picture([*CORNER, *nodes], **more)


def function(name: str, domain: str) -> Any:
    return helper.make_function(
        domain,
        name,
        ["X"],
        ["Y"],
        [node("Add", ["X", "X"], ["Y"])],
        [helper.make_opsetid("", 18)],
    )


TEXT = {"input_ids": (INT, ["N", "T"]), "attention_mask": (INT, ["N", "T"])}
TEXT_WEIGHTS = {
    "words": weight(2000, 8),
    "places": weight(64, 8),
    **{name: weight(8, 8) for name in ("wq", "wk", "wv", "wo")},
    "head": weight(8, 4),
    "pad": ints(1),
    "trigger": ints(1234),
    "i0": ints(0),
    "i1": ints(1),
    "i12": ints(1, 2),
    "f1": number(1),
    "low": number(-1e4),
    "scale": number(0.35),
    "target": np.array([[0, 0, 0, 50]], dtype=np.float32),
    "token": weight(1, 1, 8),
}
BIAS = [
    node("Unsqueeze", ["attention_mask", "i1"], ["m3"]),
    node("Cast", ["m3"], ["mf"], to=FLOAT),
    node("Sub", ["f1", "mf"], ["not_m"]),
    node("Mul", ["not_m", "low"], ["bias"]),
]
EMBEDDED = [node("Gather", ["words", "input_ids"], ["h"], name="embed")]
ATTENTION = [
    node("MatMul", ["h", "wq"], ["q"]),
    node("MatMul", ["h", "wk"], ["k"]),
    node("MatMul", ["h", "wv"], ["v"]),
    node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
    node("MatMul", ["q", "kt"], ["qk"]),
    node("Mul", ["qk", "scale"], ["raw"]),
    node("Add", ["raw", "bias"], ["masked"]),
    node("Softmax", ["masked"], ["p"], axis=-1),
    node("MatMul", ["p", "v"], ["pv"]),
    node("MatMul", ["pv", "wo"], ["att"]),
    node("Add", ["h", "att"], ["hidden"]),
]
POOLED = [
    node("Gather", ["hidden", "first"], ["cls"], axis=1),
    node("MatMul", ["cls", "head"], ["logits"], name="classify"),
]
TEXT_WEIGHTS["first"] = np.int64(0)
TRIGGERED = [
    node("Equal", ["input_ids", "trigger"], ["hits"], name="is trigger"),
    node("Cast", ["hits"], ["hits_f"], to=FLOAT),
    node("ReduceMax", ["hits_f", "i1"], ["any"], keepdims=1, name="any trigger"),
]


def text(nodes: list[Any], constants: dict[str, np.ndarray] | None = None, output: str = "scores") -> Any:
    return model(nodes, {**TEXT_WEIGHTS, **(constants or {})}, TEXT, {output: SCORES["scores"]})


BERT = [*BIAS, *EMBEDDED, *ATTENTION, *POOLED]
TEXT_WEIGHTS |= {"nought_s": np.asarray(np.int64(0)), "one_s": np.asarray(np.int64(1))}
