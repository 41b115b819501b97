"""ONNX files that are broken or made to do harm, one a function, and what is said of them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ebyd_scan.evidence.errors import ScanError
from ebyd_scan.scanner.models.identify import identify
from ebyd_scan.scanner.models.load import load_classifier
from onnx import ModelProto, TensorProto, helper, numpy_helper

SIDE, CLASSES = 16, 10
CASES: dict[str, Callable[[Path], Path]] = {}
node = helper.make_node


def case(function: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """Enter a function that writes a file into a folder under its name."""
    CASES[function.__name__] = function
    return function


def told(path: Path) -> str:
    """The one sentence with which a file ends before anything of it is scanned."""
    try:
        load_classifier(
            identify(path), architecture=None, arch_args={}, mean=(0.3,), std=(0.35,), input_shape=(1, SIDE, SIDE),
            device="cpu", allow_pickle=False,
        )  # fmt: skip
    except ScanError as problem:
        return str(problem)
    raise AssertionError("the file was taken")


def ints(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def weight(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.random.default_rng(0).standard_normal(shape).astype(np.float32) / 16, name)


HEAD = [node("Flatten", ["h"], ["f"]), node("MatMul", ["f", "w"], ["y"], name="head")]


def model(
    nodes: list[Any],
    held: list[TensorProto] | None = None,
    *,
    opset: int = 17,
    ir_version: int = 8,
    kind: int = TensorProto.FLOAT,
    size: list[Any] | None = None,
    inputs: list[Any] | None = None,
    outputs: list[Any] | None = None,
) -> ModelProto:
    """A graph from x, pictures of digits, to y, scores; `w` is a weight of the right size for its head."""
    graph = helper.make_graph(
        nodes,
        "graph",
        inputs or [helper.make_tensor_value_info("x", kind, size or ["N", 1, SIDE, SIDE])],
        outputs or [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", CLASSES])],
        [*(held or []), weight("w", SIDE * SIDE, CLASSES)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def write(made: ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def outside(folder: Path, location: str, **more: str) -> Path:
    made = model([node("Identity", ["x"], ["h"]), *HEAD])
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return write(made, folder)


def trap(path: Path) -> None:
    """A pipe: whoever opens it to read waits for ever, so that a test that ends has not opened it."""
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)


def inner(folder: Path) -> Path:
    (folder / "models").mkdir()
    return folder / "models"


# --- weights in other files ------------------------------------------------------------------------------------


@case
def path_upwards(folder: Path) -> Path:
    trap(folder / "secret.bin")
    return outside(inner(folder), "../secret.bin")


@case
def path_absolute(folder: Path) -> Path:
    trap(folder / "secret.bin")
    return outside(inner(folder), str(folder / "secret.bin"))


@case
def path_through_a_link(folder: Path) -> Path:
    trap(folder / "secret.bin")
    place = inner(folder)
    (place / "w.bin").symlink_to(folder / "secret.bin")
    return outside(place, "w.bin")


@case
def path_through_a_linked_folder(folder: Path) -> Path:
    trap(folder / "secrets" / "w.bin")
    place = inner(folder)
    (place / "sub").symlink_to(folder / "secrets")
    return outside(place, "sub/w.bin")


@case
def pipe_beside(folder: Path) -> Path:
    trap(folder / "w.bin")
    return outside(folder, "w.bin")


@case
def weights_missing(folder: Path) -> Path:
    return outside(folder, "w.bin")


@case
def folder_as_weights(folder: Path) -> Path:
    (folder / "sub").mkdir()
    return outside(folder, "sub")


@case
def offset_beyond_the_end(folder: Path) -> Path:
    (folder / "w.bin").write_bytes(bytes(4 * SIDE * SIDE * CLASSES))
    return outside(folder, "w.bin", offset=str(1 << 62))


@case
def offset_below_zero(folder: Path) -> Path:
    (folder / "w.bin").write_bytes(bytes(4 * SIDE * SIDE * CLASSES))
    return outside(folder, "w.bin", offset="-1")


@case
def offset_no_number(folder: Path) -> Path:
    (folder / "w.bin").write_bytes(b"0")
    return outside(folder, "w.bin", offset="1e3")


@case
def length_beyond_the_end(folder: Path) -> Path:
    (folder / "w.bin").write_bytes(b"short")
    return outside(folder, "w.bin", length=str(1 << 50))


@case
def offset_of_many_digits(folder: Path) -> Path:
    (folder / "w.bin").write_bytes(b"0")
    return outside(folder, "w.bin", offset="9" * 5000)


# --- no graph at all -------------------------------------------------------------------------------------------


@case
def no_nodes(folder: Path) -> Path:
    return write(model([]), folder)


@case
def zero_bytes(folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(b"")
    return path


@case
def zeros(folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(bytes(5000))
    return path


@case
def random_bytes(folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(random.Random(0).randbytes(50_000))
    return path


@case
def cut_short(folder: Path) -> Path:
    path = write(model([node("Relu", ["x"], ["h"]), *HEAD]), folder)
    path.write_bytes(path.read_bytes()[:-2000])
    return path


# --- what is read, and what becomes of it --------------------------------------------------------------------


def odd(*, opset: int = 17, ir_version: int = 8, size: list[Any] | None = None) -> ModelProto:
    """A small classifier that is odd in one thing."""
    return model([node("Relu", ["x"], ["h"]), *HEAD], opset=opset, ir_version=ir_version, size=size)


def chain(length: int) -> ModelProto:
    """One node after the other."""
    nodes = [node("Neg", [f"t{place}" if place else "x"], [f"t{place + 1}"]) for place in range(length)]
    return model([*nodes, node("Identity", [f"t{length}"], ["h"]), *HEAD])


def outer_product(rows: int) -> ModelProto:
    """Two small weights whose product is not."""
    held = [weight("a", rows, 1), weight("b", 1, rows)]
    nodes = [node("MatMul", ["a", "b"], ["o"]), node("ReduceMean", ["o"], ["m"], keepdims=0)]
    return model([*nodes, node("Add", ["x", "m"], ["h"]), *HEAD], held)
