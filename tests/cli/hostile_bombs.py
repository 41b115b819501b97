"""ONNX files that want more memory or time than there is, or go deeper than a stack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from .hostile_onnx import CLASSES, HEAD, SIDE, case, ints, model, node, weight, write


@case
def bomb_constant_of_shape(folder: Path) -> Path:
    nodes = [node("ConstantOfShape", ["s"], ["c"]), node("ReduceSum", ["c"], ["r"], keepdims=0)]
    return write(model([*nodes, node("Add", ["x", "r"], ["h"]), *HEAD], [ints("s", 1 << 20, 1 << 20)]), folder)


@case
def bomb_expand(folder: Path) -> Path:
    nodes = [node("Expand", ["x", "s"], ["e"]), node("ReduceMean", ["e"], ["h"], axes=[0])]
    return write(model([*nodes, *HEAD], [ints("s", 1 << 40, 1, 1, 1, SIDE)]), folder)


@case
def bomb_tile(folder: Path) -> Path:
    return write(model([node("Tile", ["x", "s"], ["h"]), *HEAD], [ints("s", 1, 1 << 20, 1 << 20, 1)]), folder)


@case
def bomb_range(folder: Path) -> Path:
    held = [ints("a", 0), ints("b", 1 << 45), ints("c", 1)]
    nodes = [node("Squeeze", [name], [f"{name}0"]) for name in "abc"]
    nodes += [node("Range", ["a0", "b0", "c0"], ["r"]), node("Cast", ["r"], ["k"], to=1)]
    nodes += [node("ReduceSum", ["k"], ["m"], keepdims=0), node("Add", ["x", "m"], ["h"])]
    return write(model([*nodes, *HEAD], held), folder)


@case
def range_without_end(folder: Path) -> Path:
    held = [ints("a", 0), ints("b", 8), ints("c", 0)]
    nodes = [node("Squeeze", [name], [f"{name}0"]) for name in "abc"]
    nodes += [node("Range", ["a0", "b0", "c0"], ["r"]), node("Cast", ["r"], ["k"], to=1)]
    nodes += [node("ReduceSum", ["k"], ["m"], keepdims=0), node("Add", ["x", "m"], ["h"])]
    return write(model([*nodes, *HEAD], held), folder)


@case
def bomb_pad(folder: Path) -> Path:
    held = [ints("s", 0, 0, 1 << 33, 0, 0, 0, 0, 0)]
    return write(model([node("Pad", ["x", "s"], ["h"]), *HEAD], held), folder)


@case
def bomb_pads_of_a_convolution(folder: Path) -> Path:
    made = node("Conv", ["x", "k"], ["h"], pads=[1 << 40] * 4)
    return write(model([made, *HEAD], [weight("k", 1, 1, 3, 3)]), folder)


@case
def bomb_transposed_convolution(folder: Path) -> Path:
    made = node("ConvTranspose", ["x", "k"], ["h"], strides=[1 << 30, 1 << 30])
    return write(model([made, *HEAD], [weight("k", 1, 1, 3, 3)]), folder)


@case
def bomb_resize(folder: Path) -> Path:
    scales = numpy_helper.from_array(np.array([1, 1, 1e6, 1e6], np.float32), "s")
    return write(model([node("Resize", ["x", "", "s"], ["h"], mode="linear"), *HEAD], [scales]), folder)


@case
def bomb_one_hot(folder: Path) -> Path:
    held = [ints("d", 1 << 42), numpy_helper.from_array(np.array([0, 1], np.float32), "v")]
    nodes = [node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("OneHot", ["i", "d", "v"], ["o"])]
    return write(model([*nodes, node("ReduceMean", ["o"], ["h"], axes=[-1]), *HEAD], held), folder)


@case
def bomb_of_functions(folder: Path) -> Path:
    """Each function calls the next twice: 2^40 nodes in a few kilobytes."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    made = model([node("f0", ["x"], ["h"], domain="f"), *HEAD])
    made.opset_import.append(helper.make_opsetid("f", 1))
    for depth in range(40):
        calls = [node(f"f{depth + 1}", ["a"], ["b"], domain="f"), node(f"f{depth + 1}", ["b"], ["c"], domain="f")]
        made.functions.append(helper.make_function("f", f"f{depth}", ["a"], ["c"], calls, imports))
    last = [node("Relu", ["a"], ["c"])]
    made.functions.append(helper.make_function("f", "f40", ["a"], ["c"], last, imports))
    return write(made, folder)


@case
def function_that_calls_itself(folder: Path) -> Path:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    made = model([node("f", ["x"], ["h"], domain="f"), *HEAD])
    made.opset_import.append(helper.make_opsetid("f", 1))
    made.functions.append(helper.make_function("f", "f", ["a"], ["b"], [node("f", ["a"], ["b"], domain="f")], imports))
    return write(made, folder)


@case
def weight_of_huge_size(folder: Path) -> Path:
    made = model([node("Identity", ["x"], ["h"]), *HEAD])
    made.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]
    return write(made, folder)


@case
def weight_of_negative_size(folder: Path) -> Path:
    made = model([node("Identity", ["x"], ["h"]), *HEAD])
    made.graph.initializer[0].dims[:] = [-SIDE * SIDE, -CLASSES]
    return write(made, folder)


@case
def loop_without_end(folder: Path) -> Path:
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Identity", ["v"], ["u"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("u", TensorProto.FLOAT, None),
        ],
    )
    held = [ints("n", (1 << 63) - 1), numpy_helper.from_array(np.array(True), "go")]
    return write(model([node("Loop", ["n", "go", "x"], ["h"], body=body), *HEAD], held), folder)


def _field(number: int, data: bytes) -> bytes:
    """A field of a protobuf message: protobuf itself does not write what lies as deep as this is to."""
    size, length = b"", len(data)
    while length > 127:
        size += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + data


@case
def branches_200_deep(folder: Path) -> Path:
    made = model([node("Relu", ["x"], ["h"]), *HEAD])
    within = helper.make_graph([node("Identity", ["x"], ["o"])], "g", [], []).SerializeToString()
    for _ in range(200):
        attribute = _field(1, b"then_branch") + b"\xa0\x01\x05" + _field(6, within)
        within = _field(1, _field(1, b"yes") + _field(2, b"o") + _field(4, b"If") + _field(5, attribute))
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString() + _field(7, within))  # two halves of a message are joined
    return path


@case
def branch_that_is_missing(folder: Path) -> Path:
    only = helper.make_graph([node("Identity", ["x"], ["o"])], "g", [], [helper.make_empty_tensor_value_info("o")])
    made = node("If", ["yes"], ["h"], then_branch=only)
    return write(model([made, *HEAD], [numpy_helper.from_array(np.array(True), "yes")]), folder)
