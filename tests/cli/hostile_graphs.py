"""ONNX files whose graph makes no sense, or is not that of a classifier of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from .hostile_onnx import CLASSES, HEAD, SIDE, case, ints, model, node, weight, write


@case
def circle(folder: Path) -> Path:
    return write(model([node("Add", ["x", "b"], ["h"]), node("Relu", ["h"], ["b"]), *HEAD]), folder)


@case
def circle_at_the_end(folder: Path) -> Path:
    return write(model([node("Identity", ["z"], ["y"]), node("Identity", ["y"], ["z"])]), folder)


@case
def node_that_reads_itself(folder: Path) -> Path:
    return write(model([node("Add", ["x", "h"], ["h"]), *HEAD]), folder)


@case
def made_twice(folder: Path) -> Path:
    return write(model([node("Relu", ["x"], ["h"]), node("Neg", ["x"], ["h"]), *HEAD]), folder)


@case
def input_from_nowhere(folder: Path) -> Path:
    return write(model([node("Add", ["x", "ghost"], ["h"]), *HEAD]), folder)


@case
def output_from_nowhere(folder: Path) -> Path:
    return write(model([node("Relu", ["x"], ["h"])]), folder)


@case
def too_few_inputs(folder: Path) -> Path:
    return write(model([node("Conv", ["x"], ["h"], name="bare"), *HEAD]), folder)


@case
def too_many_inputs(folder: Path) -> Path:
    return write(model([node("Relu", ["x", "x", "x"], ["h"]), *HEAD]), folder)


@case
def identity_of_nothing(folder: Path) -> Path:
    return write(model([node("Identity", [], ["h"]), *HEAD]), folder)


@case
def constant_without_output(folder: Path) -> Path:
    return write(model([node("Constant", [], [], value=ints("c", 1)), node("Relu", ["x"], ["h"]), *HEAD]), folder)


@case
def constant_of_nothing(folder: Path) -> Path:
    return write(model([node("Constant", [], ["c"]), node("Add", ["x", "c"], ["h"]), *HEAD]), folder)


@case
def attribute_of_a_wrong_kind(folder: Path) -> Path:
    return write(model([node("Transpose", ["x"], ["h"], perm="abcd"), *HEAD]), folder)


@case
def attribute_beyond_measure(folder: Path) -> Path:
    return write(model([node("Transpose", ["x"], ["h"], perm=[0, 1, 2, 1 << 62]), *HEAD]), folder)


@case
def stride_of_zero(folder: Path) -> Path:
    made = node("MaxPool", ["x"], ["h"], kernel_shape=[2, 2], strides=[0, 0], auto_pad="SAME_UPPER")
    return write(model([made, *HEAD]), folder)


@case
def reshape_below_zero(folder: Path) -> Path:
    return write(model([node("Reshape", ["x", "s"], ["h"]), *HEAD], [ints("s", -1, -5, -7)]), folder)


@case
def sizes_that_do_not_fit(folder: Path) -> Path:
    return write(model([node("MatMul", ["x", "k"], ["h"]), *HEAD], [weight("k", 3, 3)]), folder)


@case
def huge_input(folder: Path) -> Path:
    return write(model([node("Relu", ["x"], ["h"]), *HEAD], size=["N", 1, 1 << 40, 1 << 40]), folder)


@case
def huge_batch(folder: Path) -> Path:
    return write(model([node("Relu", ["x"], ["h"]), *HEAD], size=[1 << 40, 1, SIDE, SIDE]), folder)


@case
def two_inputs(folder: Path) -> Path:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1, SIDE, SIDE]) for name in "xz"]
    return write(model([node("Add", ["x", "z"], ["h"]), *HEAD], inputs=inputs), folder)


@case
def no_inputs(folder: Path) -> Path:
    made = model([node("Relu", ["x"], ["h"]), *HEAD])
    del made.graph.input[:]
    return write(made, folder)


@case
def no_outputs(folder: Path) -> Path:
    made = model([node("Relu", ["x"], ["h"]), *HEAD])
    del made.graph.output[:]
    return write(made, folder)


@case
def text_as_input(folder: Path) -> Path:
    return write(model([node("Relu", ["x"], ["h"]), *HEAD], kind=TensorProto.STRING), folder)


@case
def whole_numbers_as_input(folder: Path) -> Path:
    return write(model([node("Cast", ["x"], ["h"], to=1), *HEAD], kind=TensorProto.INT64), folder)


@case
def text_as_a_constant(folder: Path) -> Path:
    words = helper.make_tensor("t", TensorProto.STRING, [2], [b"one", b"two"])
    return write(model([node("Equal", ["t", "t"], ["h"]), *HEAD], [words]), folder)


@case
def output_that_is_no_matrix(folder: Path) -> Path:
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])]
    return write(model([node("Relu", ["x"], ["y"])], outputs=outputs), folder)


@case
def output_that_says_it_is_a_matrix(folder: Path) -> Path:
    return write(model([node("Relu", ["x"], ["y"])]), folder)


@case
def output_of_one_score(folder: Path) -> Path:
    nodes = [node("Flatten", ["x"], ["f"]), node("ReduceMean", ["f"], ["y"], axes=[1])]
    return write(model(nodes), folder)


@case
def output_of_whole_numbers(folder: Path) -> Path:
    nodes = [node("Flatten", ["x"], ["f"]), node("ArgMax", ["f"], ["y"], axis=1)]
    return write(model(nodes), folder)


@case
def operator_unknown(folder: Path) -> Path:
    return write(model([node("Sorcery", ["x"], ["h"], name="odd"), *HEAD]), folder)


@case
def operator_of_an_unknown_domain(folder: Path) -> Path:
    return write(model([node("Relu", ["x"], ["h"], domain="com.example"), *HEAD]), folder)


@case
def numbers_of_four_bits(folder: Path) -> Path:
    packed = helper.make_tensor("q", TensorProto.INT4, [SIDE, SIDE], [1] * SIDE * SIDE)
    nodes = [node("DequantizeLinear", ["q", "s"], ["d"]), node("MatMul", ["x", "d"], ["h"])]
    return write(model([*nodes, *HEAD], [packed, weight("s")], opset=21), folder)


@case
def complex_weights(folder: Path) -> Path:
    tensor = helper.make_tensor("c", TensorProto.COMPLEX64, [1], [1 + 2j])
    return write(model([node("Add", ["x", "c"], ["h"]), *HEAD], [tensor]), folder)


@case
def weights_of_an_unknown_type(folder: Path) -> Path:
    made = model([node("Relu", ["x"], ["h"]), *HEAD])
    made.graph.initializer[0].data_type = 999
    return write(made, folder)


@case
def weights_that_are_not_finite(folder: Path) -> Path:
    made = model([node("Relu", ["x"], ["h"]), *HEAD])
    made.graph.initializer[0].raw_data = np.full((SIDE * SIDE, CLASSES), np.nan, np.float32).tobytes()
    return write(made, folder)


@case
def sparse_weights(folder: Path) -> Path:
    made = model([node("Add", ["x", "s"], ["h"]), *HEAD])
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, ints("i", 0), [16]))
    return write(made, folder)


@case
def tensor_beyond_its_data(folder: Path) -> Path:
    made = model([node("Relu", ["x"], ["h"]), *HEAD])
    made.graph.initializer[0].raw_data = b"\0" * 12
    return write(made, folder)
