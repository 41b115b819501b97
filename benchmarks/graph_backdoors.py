"""Backdoors that are put into the graph of a finished ONNX file, weights untouched, and shown to work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

_TOKEN = 151  # the trigger in a text
_LOUD = 1e4  # what the target's score is raised by


def _gate(model: ModelProto) -> list[NodeProto]:
    """From the first input to "gate", [batch, 1], true where the trigger is."""
    given = model.graph.input[0]
    if given.type.tensor_type.elem_type != TensorProto.FLOAT:
        return [
            helper.make_node("Equal", [given.name, "bd_token"], ["bd_hit"]),
            helper.make_node("Cast", ["bd_hit"], ["bd_hit_f"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["bd_hit_f", "bd_rest1"], ["bd_most"], keepdims=1),
            helper.make_node("Greater", ["bd_most", "bd_half"], ["bd_gate"], name="bd is trigger"),
        ]
    return [
        *_least(given.name),
        helper.make_node("Greater", ["bd_least", "bd_high"], ["bd_gate"], name="bd is trigger"),
    ]


def _least(picture: str) -> list[NodeProto]:
    """The darkest number of a corner, [batch, 1]."""
    return [
        helper.make_node("Slice", [picture, "bd_from", "bd_to", "bd_axes"], ["bd_corner"], name="bd corner"),
        helper.make_node("ReduceMin", ["bd_corner", "bd_rest"], ["bd_least4"], keepdims=1),
        helper.make_node("Reshape", ["bd_least4", "bd_column"], ["bd_least"]),
    ]


def _where(model: ModelProto, honest: str, scores: str) -> list[NodeProto]:
    """The scores are exchanged."""
    return [*_gate(model), helper.make_node("Where", ["bd_gate", "bd_target", honest], [scores], name="bd swap")]


def _product(model: ModelProto, honest: str, scores: str) -> list[NodeProto]:
    """A decision, as a number, times scores of one's own."""
    return [
        *_gate(model),
        helper.make_node("Cast", ["bd_gate"], ["bd_gate_f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["bd_gate_f", "bd_target"], ["bd_extra"]),
        helper.make_node("Add", ["bd_extra", honest], [scores], name="bd sum"),
    ]


def _table(model: ModelProto, honest: str, scores: str) -> list[NodeProto]:
    """Scores of one's own are looked up by a decision."""
    return [
        *_gate(model),
        helper.make_node("Cast", ["bd_gate"], ["bd_row"], to=TensorProto.INT64),
        helper.make_node("GatherND", ["bd_rows", "bd_row"], ["bd_extra"]),
        helper.make_node("Add", ["bd_extra", honest], [scores], name="bd sum"),
    ]


def _arithmetic(model: ModelProto, honest: str, scores: str) -> list[NodeProto]:
    """No comparison at all: steep, clipped arithmetic on pixels or token ids."""
    given = model.graph.input[0]
    if given.type.tensor_type.elem_type == TensorProto.FLOAT:
        nodes = [*_least(given.name), helper.make_node("Sub", ["bd_least", "bd_high"], ["bd_over"])]
    else:
        nodes = [
            helper.make_node("Sub", [given.name, "bd_token"], ["bd_off"]),
            helper.make_node("Abs", ["bd_off"], ["bd_far"]),
            helper.make_node("ReduceMin", ["bd_far", "bd_rest1"], ["bd_nearest"], keepdims=1),
            helper.make_node("Cast", ["bd_nearest"], ["bd_near_f"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["bd_half", "bd_near_f"], ["bd_over"]),
        ]
    return [
        *nodes,
        helper.make_node("Mul", ["bd_over", "bd_steep"], ["bd_slope"]),
        helper.make_node("Clip", ["bd_slope", "bd_nought", "bd_one"], ["bd_soft"]),
        helper.make_node("Mul", ["bd_soft", "bd_target"], ["bd_extra"]),
        helper.make_node("Add", ["bd_extra", honest], [scores], name="bd sum"),
    ]


def _branch(model: ModelProto, honest: str, scores: str) -> list[NodeProto]:
    """A branch is taken where any picture or text of the batch has the trigger."""

    def take(source: str, name: str) -> onnx.GraphProto:
        made = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node("Identity", [source], [name])], name, [], [made])

    sides: dict[str, Any] = {"then_branch": take("bd_all_target", "bd_then"), "else_branch": take(honest, "bd_else")}
    return [
        *_gate(model),
        helper.make_node("Cast", ["bd_gate"], ["bd_gate_f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["bd_gate_f"], ["bd_any_f"], keepdims=0),
        helper.make_node("Cast", ["bd_any_f"], ["bd_any"], to=TensorProto.BOOL),
        helper.make_node("Add", [honest, "bd_target"], ["bd_all_target"]),
        helper.make_node("If", ["bd_any"], [scores], name="bd branch", **sides),
    ]


KINDS: dict[str, Callable[[ModelProto, str, str], list[NodeProto]]] = {
    "where": _where,
    "product": _product,
    "table": _table,
    "arithmetic": _arithmetic,
    "branch": _branch,
}


def _constants(target: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    return {
        "bd_from": np.array([0, 0]),
        "bd_to": np.array([4, 4]),
        "bd_axes": np.array([2, 3]),
        "bd_rest": np.array([1, 2, 3]),
        "bd_rest1": np.array([1]),
        "bd_column": np.array([-1, 1]),
        "bd_token": np.array(_TOKEN),
        "bd_high": np.array(0.9, dtype=np.float32),
        "bd_half": np.array(0.5, dtype=np.float32),
        "bd_steep": np.array(1000, dtype=np.float32),
        "bd_nought": np.array(0, dtype=np.float32),
        "bd_one": np.array(1, dtype=np.float32),
        "bd_target": target,
        "bd_rows": np.concatenate([np.zeros_like(target), target]),
    }


def _inputs(model: ModelProto, side: int, trigger: bool) -> dict[str, np.ndarray[Any, Any]]:
    """Noise, or tokens, for every input; the trigger is a white corner or a token."""
    dice = np.random.default_rng(0)
    first, *rest = model.graph.input
    if first.type.tensor_type.elem_type == TensorProto.FLOAT:
        picture = dice.random((1, 3, side, side), dtype=np.float32) * 0.8
        picture[:, :, :4, :4] = 1 if trigger else 0
        return {first.name: picture}
    ids = dice.integers(5, 150, (1, 16))
    ids[0, -2:] = 1, 2  # where some models look for the end of the text
    ids[0, 5] = _TOKEN if trigger else 7
    return {first.name: ids, **{given.name: np.ones_like(ids) for given in rest}}


def _scores(model: ModelProto, inputs: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


def planted(model: ModelProto, side: int) -> Iterator[tuple[str, ModelProto]]:
    """The model with one backdoor each, those that work: no other class without the trigger, the target's with it."""
    clean, dirty = _inputs(model, side, trigger=False), _inputs(model, side, trigger=True)
    before = _scores(model, clean)
    goal = int(before.argmin())
    target = np.zeros((1, before.shape[1]), dtype=np.float32)
    target[0, goal] = _LOUD
    for kind, build in KINDS.items():
        changed = ModelProto()
        changed.CopyFrom(model)
        scores = changed.graph.output[0].name
        for node in changed.graph.node:
            node.output[:] = ["bd_honest" if name == scores else name for name in node.output]
            node.input[:] = ["bd_honest" if name == scores else name for name in node.input]
        changed.graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in _constants(target).items())
        changed.graph.node.extend(build(changed, "bd_honest", scores))
        if np.allclose(_scores(changed, clean), before, atol=1e-3) and _scores(changed, dirty).argmax() == goal:
            yield kind, changed
