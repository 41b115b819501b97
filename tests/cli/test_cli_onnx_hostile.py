"""Hostile ONNX files: one sentence each, nothing read outside their folder, within the limits of time and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from . import hostile_bombs, hostile_graphs  # noqa: E402, F401  (they enter their files in the table)
from . import hostile_onnx as hostile  # noqa: E402
from .conftest import PIXELS, SAMPLES, Run  # noqa: E402

SAYS = {
    "path_upwards": "outside its own folder: that is refused",
    "path_absolute": "outside its own folder: that is refused",
    "path_through_a_link": "which is a link: that is refused",
    "path_through_a_linked_folder": "which is a link: that is refused",
    "pipe_beside": "which is no regular file: that is refused",
    "weights_missing": "which cannot be read (No such file or directory): put that file there",
    "folder_as_weights": "which is no regular file: that is refused",
    "offset_beyond_the_end": "the two files do not belong together",
    "offset_below_zero": "where is not said",
    "offset_no_number": "an offset or length that is no number",
    "length_beyond_the_end": "the two files do not belong together",
    "offset_of_many_digits": "an offset or length that is no number",
    "bomb_constant_of_shape": "ConstantOfShape (c) cannot be run: it makes a tensor of 1048576 x 1048576 numbers",
    "bomb_expand": "Expand (e) cannot be run: it makes a tensor of",
    "bomb_tile": "Tile (h) cannot be run: it makes a tensor of",
    "bomb_range": "Range (r) cannot be run: it makes a tensor of 35184372088832 numbers",
    "range_without_end": "Range (r) cannot be run: no range goes from 0 to 8 by 0",
    "bomb_pad": "Pad (h) cannot be run: it makes a tensor of",
    "bomb_pads_of_a_convolution": "Conv (h) cannot be run: it makes a tensor of",
    "bomb_transposed_convolution": "ConvTranspose (h) cannot be run: it makes a tensor of",
    "bomb_resize": "Resize (h) cannot be run: it makes a tensor of",
    "bomb_one_hot": "OneHot (o) cannot be run: it makes a tensor of",
    "bomb_of_functions": "functions that come to more than 1000000 nodes",
    "function_that_calls_itself": "a function, f, that calls itself",
    "weight_of_huge_size": "shape",
    "weight_of_negative_size": "shape",
    "loop_without_end": "operator Loop (h) is not supported",
    "branches_200_deep": "is no ONNX file, or a damaged one",
    "branch_that_is_missing": "If (h) has not two branches and a condition",
    "circle": "goes in a circle at Relu (b)",
    "circle_at_the_end": "goes in a circle at Identity (z)",
    "node_that_reads_itself": "goes in a circle at Add (h)",
    "made_twice": "makes a tensor that is made twice",
    "input_from_nowhere": "Add (h) reads ghost, which nothing in the graph makes",
    "output_from_nowhere": "nothing in the graph makes its output y",
    "too_few_inputs": "Conv (bare) cannot be run: it has 1 inputs",
    "too_many_inputs": "Relu (h) cannot be run: it has 3 inputs",
    "identity_of_nothing": "Identity (h) cannot be run: it has 0 inputs",
    "constant_without_output": "a node of operator Constant has no outputs",
    "constant_of_nothing": "a constant without a number in it",
    "attribute_of_a_wrong_kind": "Transpose (h) cannot be run",
    "attribute_beyond_measure": "Dimension out of range",
    "stride_of_zero": "MaxPool (h) cannot be run",
    "reshape_below_zero": "invalid shape dimension -5",
    "sizes_that_do_not_fit": "mat1 and mat2 shapes cannot be multiplied",
    "huge_input": "the input x takes 1 x 1099511627776 x 1099511627776",
    "huge_batch": "it takes 1099511627776 samples at once: export it with a dynamic batch size",
    "two_inputs": "the graph has 2 inputs (x, z)",
    "no_inputs": "the graph has 0 inputs (none)",
    "no_outputs": "which holds the class scores is not clear",
    "text_as_input": "does not take numbers with a fraction",
    "whole_numbers_as_input": "does not take numbers with a fraction",
    "text_as_a_constant": "a constant that holds text",
    "output_that_is_no_matrix": "which holds the class scores is not clear",
    "output_that_says_it_is_a_matrix": "not with a score for each class",
    "output_of_one_score": "has 1 output: a classifier with two classes or more is needed",
    "output_of_whole_numbers": "not with a score for each class",
    "operator_unknown": "operator Sorcery (odd) is not supported",
    "operator_of_an_unknown_domain": "operator Relu (h) of domain com.example is not supported",
    "numbers_of_four_bits": "the file is quantised, scan the model that it was made from",
    "complex_weights": "holds complex numbers",
    "weights_of_an_unknown_type": "type 999, which ONNX does not know",
    "weights_that_are_not_finite": "has NaN or infinity in 1 of its tensors, first in w",
    "sparse_weights": "holds sparse weights",
    "tensor_beyond_its_data": "not hold as many numbers",
    "no_nodes": "holds no ONNX graph",
    "zero_bytes": "is empty",
    "zeros": "holds no ONNX graph",
    "random_bytes": "is no ONNX file, or a damaged one",
    "cut_short": "is no ONNX file, or a damaged one",
}


def test_every_file_has_its_sentence() -> None:
    assert hostile.CASES.keys() == SAYS.keys()


@pytest.mark.parametrize("name", SAYS)
def test_a_hostile_file(name: str, tmp_path: Path) -> None:
    path = hostile.CASES[name](tmp_path)
    said = hostile.told(path)
    assert SAYS[name] in said
    assert str(path) in said
    assert "\n" not in said and len(said) < 700


def _scan(ebyd: Any, path: Path, *options: str) -> Run:
    run: Run = ebyd("scan", path, *SAMPLES, *PIXELS, "--timeout", "60", "--memory", "3", *options, cwd=path.parent)
    return run


@pytest.mark.parametrize(
    ("name", "says"),  # where the graph is looked at before it is loaded, other words
    [
        ("path_through_a_linked_folder", SAYS["path_through_a_linked_folder"]),
        ("bomb_constant_of_shape", SAYS["bomb_constant_of_shape"]),
        ("bomb_of_functions", "more than 1000000 nodes"),
        ("branches_200_deep", SAYS["branches_200_deep"]),
        ("circle_at_the_end", "damaged"),
        ("random_bytes", SAYS["random_bytes"]),
    ],
)
def test_the_command_says_it_and_ends(name: str, says: str, ebyd: Any, tmp_path: Path) -> None:
    run = _scan(ebyd, hostile.CASES[name](tmp_path))
    assert run.code == 3, run.text
    assert says in run.text


def test_memory_that_a_graph_eats_is_limited(ebyd: Any, tmp_path: Path) -> None:
    run = _scan(ebyd, hostile.write(hostile.outer_product(60_000), tmp_path))
    assert run.code == 3, run.text
    assert "MatMul (o) needs more memory than there is: raise --memory" in run.text


def test_time_that_a_graph_eats_is_limited(ebyd: Any, tmp_path: Path) -> None:
    run = _scan(ebyd, hostile.write(hostile.chain(100_000), tmp_path), "--timeout", "8")
    assert run.code == 3, run.text
    assert "the scan took longer than the limit of 8 s" in run.text


@pytest.mark.parametrize("made", [{"opset": 999}, {"ir_version": 999}], ids=["opset 999", "IR version 999"])
def test_what_onnxruntime_does_not_take_is_no_pass(made: dict[str, Any], ebyd: Any, tmp_path: Path) -> None:
    run = _scan(ebyd, hostile.write(hostile.odd(**made), tmp_path))
    assert run.code in (3, 4), run.text
    assert "onnxruntime cannot run the file" in run.text


def test_sizes_below_zero_are_sizes_that_are_not_known(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the file was taken"):
        hostile.told(hostile.write(hostile.odd(size=[-1, -1, -16, -16]), tmp_path))
