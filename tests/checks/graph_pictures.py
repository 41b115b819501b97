"""Graphs for pictures with a backdoor in their nodes, and what a finding has to name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from .graph_parts import (
    CORNER,
    FLOAT,
    INT,
    NETWORK,
    PICTURE,
    SCORES,
    WEIGHTS,
    corner,
    function,
    ints,
    model,
    node,
    number,
    picture,
    weight,
)


def _if() -> Any:
    branches = [
        helper.make_graph(
            [node("Identity", [source], [f"{name}_out"], name=f"take {name}")],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", FLOAT, None)],
        )
        for name, source in (("then", "target"), ("else", "logits"))
    ]
    return corner(
        node("ReduceMax", ["white_f"], ["any"], keepdims=0),
        node("Cast", ["any"], ["any_b"], to=TensorProto.BOOL),
        node("Cast", ["white"], ["white_f"], to=FLOAT),
        node("If", ["any_b"], ["scores"], name="branch", then_branch=branches[0], else_branch=branches[1]),
    )


def _loop() -> Any:
    body = helper.make_graph(
        [node("Identity", ["go_in"], ["go_out"]), node("Add", ["s_in", "target"], ["s_out"], name="push")],
        "body",
        [
            helper.make_tensor_value_info("i", INT, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s_in", FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s_out", FLOAT, None),
        ],
    )
    return corner(
        node("Cast", ["least"], ["rounds_n"], to=INT),
        node("ReduceMax", ["rounds_n"], ["rounds"], keepdims=0),
        node("Loop", ["rounds", "", "logits"], ["scores"], name="repeat", body=body),
    )


def _argmax_gate() -> Any:
    return picture(
        [
            node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0, name="winner"),
            node("OneHot", ["best", "depth", "onoff"], ["hot"], axis=1),
            node("Mul", ["hot", "logits"], ["hit"], name="only winner"),
            node("Add", ["hit", "logits"], ["scores"]),
        ]
    )


PICTURES: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "where": (
        lambda: corner(node("Where", ["white2", "target", "logits"], ["scores"], name="swap")),
        ("is white", "swap"),
    ),
    "if": (_if, ("branch", "is white")),
    "loop": (_loop, ("repeat",)),
    "arithmetic": (
        lambda: corner(
            node("Sub", ["least", "high"], ["over"]),
            node("Mul", ["over", "steep"], ["big"]),
            node("Clip", ["big", "nought_s", "one_s"], ["gate"], name="gate"),
            node("Unsqueeze", ["gate", "one_i"], ["gate2"]),
            node("Mul", ["gate2", "target"], ["extra"], name="extra"),
            node("Add", ["logits", "extra"], ["scores"], name="sum"),
            constants={"nought_s": np.float32(0), "one_s": np.float32(1)},
        ),
        ("sum", "extra"),
    ),
    "arithmetic before the last layer": (
        lambda: model(
            [
                *NETWORK[:-1],
                *CORNER[:2],
                node("Unsqueeze", ["least", "one_i"], ["gate"]),
                node("Add", ["f1", "gate"], ["f2"], name="sneak"),
                node("Gemm", ["f2", "w2", "b2"], ["scores"]),
            ],
            WEIGHTS,
            PICTURE,
            SCORES,
        ),
        ("sneak",),
    ),
    "equal, then the largest": (
        lambda: picture(
            [
                node("Equal", ["x", "pattern"], ["same"], name="compare"),
                node("Cast", ["same"], ["same_f"], to=FLOAT),
                node("ReduceMax", ["same_f", "all"], ["gate"], keepdims=0),
                node("Unsqueeze", ["gate", "one_i"], ["gate2"]),
                node("Mul", ["gate2", "target"], ["extra"]),
                node("Add", ["logits", "extra"], ["scores"], name="sum"),
            ],
            {"pattern": weight(1, 3, 8, 8)},
        ),
        ("compare", "sum"),
    ),
    "table": (
        lambda: corner(
            node("Cast", ["white"], ["row"], to=INT),
            node("Gather", ["table", "row"], ["extra"], name="look up"),
            node("Add", ["logits", "extra"], ["scores"], name="sum"),
            constants={"table": np.array([[0, 0, 0, 0], [0, 0, 0, 50]], dtype=np.float32)},
        ),
        ("is white", "sum"),
    ),
    "matrix of a decision": (
        lambda: corner(
            node("Cast", ["white2"], ["white_f"], to=FLOAT),
            node("MatMul", ["white_f", "target"], ["extra"]),
            node("Add", ["logits", "extra"], ["scores"], name="sum"),
        ),
        ("is white", "sum"),
    ),
    "argmax gate": (_argmax_gate, ("winner", "only winner")),
    "another picture": (
        lambda: model(
            [
                *CORNER[:2],
                node("Greater", ["least", "high"], ["white"], name="is white"),
                node("Reshape", ["white", "four"], ["white4"]),
                node("Where", ["white4", "picture", "x"], ["x2"], name="swap picture"),
                node("Conv", ["x2", "w1"], ["c1"]),
                node("GlobalAveragePool", ["c1"], ["p1"]),
                node("Flatten", ["p1"], ["f1"]),
                node("Gemm", ["f1", "w2"], ["scores"]),
            ],
            {**WEIGHTS, "four": ints(-1, 1, 1, 1), "picture": weight(1, 3, 8, 8)},
            PICTURE,
            SCORES,
        ),
        ("is white", "swap picture"),
    ),
    "another picture, by arithmetic": (
        lambda: model(
            [
                *CORNER[:2],
                node("Reshape", ["least", "four"], ["gate"]),
                node("Mul", ["gate", "x"], ["x2"], name="dim"),
                node("Conv", ["x2", "w1"], ["c1"]),
                node("GlobalAveragePool", ["c1"], ["p1"]),
                node("Flatten", ["p1"], ["f1"]),
                node("Gemm", ["f1", "w2"], ["scores"]),
            ],
            {**WEIGHTS, "four": ints(-1, 1, 1, 1)},
            PICTURE,
            SCORES,
        ),
        ("cut corner", "dim"),
    ),
    "count of white places by a shape": (
        lambda: corner(
            node("NonZero", ["white"], ["places"], name="which"),
            node("Shape", ["places"], ["count"], start=1),
            node("Cast", ["count"], ["count_f"], to=FLOAT),
            node("Mul", ["count_f", "target"], ["extra"]),
            node("Add", ["logits", "extra"], ["scores"], name="sum"),
        ),
        ("sum",),
    ),
    "chance": (
        lambda: picture(
            [
                node("RandomUniform", [], ["dice"], shape=[1, 4], name="dice"),
                node("Add", ["logits", "dice"], ["scores"]),
            ]
        ),
        ("RandomUniform", "dice"),
    ),
    "dropout that stays on": (
        lambda: picture(
            [node("Dropout", ["logits", "ratio", "on"], ["scores"], name="drop")],
            {"ratio": np.float32(0.5), "on": np.bool_(True)},
        ),
        ("Dropout", "drop"),
    ),
    "a second input": (
        lambda: picture(
            [node("Mul", ["key", "target"], ["extra"]), node("Add", ["logits", "extra"], ["scores"], name="sum")],
            inputs={"key": (FLOAT, ["N", 1])},
        ),
        ('"key"',),
    ),
    "a constant to replace": (
        lambda: picture(
            [node("Mul", ["logits", "factor"], ["scores"])], {"factor": number(1)}, more_inputs=("factor",)
        ),
        ('"factor"',),
    ),
    "code that is not there": (
        lambda: picture(
            [node("Judge", ["logits"], ["scores"], domain="evil.ops", name="judge")], domains=("evil.ops",)
        ),
        ("evil.ops.Judge",),
    ),
    "a standard operator anew": (
        lambda: model(
            [node("Gemm", ["x", "w2"], ["h"]), node("Relu", ["h"], ["scores"])],
            {"w2": weight(8, 4)},
            {"x": (FLOAT, ["N", 8])},
            SCORES,
            functions=(function("Relu", ""),),
        ),
        ("Relu", "anew"),
    ),
    "behind a function": (
        lambda: corner(
            node("Twice", ["logits"], ["doubled"], domain="mine"),
            node("Where", ["white2", "target", "doubled"], ["scores"], name="swap"),
            functions=(function("Twice", "mine"),),
            domains=("mine",),
        ),
        ("is white", "swap"),
    ),
    "scores that are decisions": (
        lambda: picture([node("Hardmax", ["logits"], ["scores"], name="hard")]),
        ("no scores",),
    ),
    "a matrix that picks pixels": (
        lambda: picture(
            [
                node("Reshape", ["x", "row"], ["flat"]),
                node("MatMul", ["flat", "pick"], ["two_pixels"], name="pick"),
                node("Sub", ["two_pixels", "high"], ["over"]),
                node("Mul", ["over", "steep"], ["big"]),
                node("Clip", ["big", "nought_s", "one_s"], ["gate"], name="gate"),
                node("MatMul", ["gate", "push"], ["extra"], name="push"),
                node("Add", ["logits", "extra"], ["scores"], name="sum"),
            ],
            {
                "row": ints(-1, 192),
                "pick": np.eye(192, 2, dtype=np.float32),
                "push": np.array([[0, 0, 0, 25]] * 2, dtype=np.float32),
                "nought_s": np.float32(0),
                "one_s": np.float32(1),
            },
        ),
        ("gate", "push", "sum"),
    ),
    "a soft gate on a feature": (
        lambda: picture(
            [
                node("Gather", ["f1", "two"], ["neuron"], axis=1),
                node("Mul", ["neuron", "steep"], ["big"]),
                node("Sigmoid", ["big"], ["gate"]),
                node("Mul", ["gate", "target"], ["extra"], name="extra"),
                node("Add", ["logits", "extra"], ["scores"], name="sum"),
            ]
        ),
        ("sum", "extra"),
    ),
    "the size of the batch": (
        lambda: picture(
            [
                node("Shape", ["x"], ["count"], start=0, end=1),
                node("Equal", ["count", "two"], ["are_two"], name="are two"),
                node("Where", ["are_two", "target", "logits"], ["scores"], name="swap"),
            ]
        ),
        ("size of the input", "are two", "swap"),
    ),
    "a gate on a feature": (
        lambda: picture(
            [
                node("Gather", ["f1", "two"], ["neuron"], axis=1, name="one neuron"),
                node("Mul", ["neuron", "steep"], ["big"]),
                node("Clip", ["big", "nought_s", "one_s"], ["gate"], name="gate"),
                node("Mul", ["gate", "target"], ["extra"], name="extra"),
                node("Add", ["logits", "extra"], ["scores"], name="sum"),
            ],
            {"nought_s": np.float32(0), "one_s": np.float32(1)},
        ),
        ("sum", "extra"),
    ),
    "a test of a feature": (
        lambda: picture(
            [
                node("Gather", ["f1", "two"], ["neuron"], axis=1),
                node("Greater", ["neuron", "high"], ["fires"], name="fires"),
                node("Where", ["fires", "target", "logits"], ["scores"], name="swap"),
            ]
        ),
        ("fires", "swap"),
    ),
    "a tree beside the network": (
        lambda: picture(
            [
                node("Flatten", ["x"], ["flat"]),
                node(
                    "TreeEnsembleRegressor",
                    ["flat"],
                    ["extra"],
                    name="tree",
                    domain="ai.onnx.ml",
                    n_targets=4,
                    nodes_treeids=[0, 0, 0],
                    nodes_nodeids=[0, 1, 2],
                    nodes_featureids=[0, 0, 0],
                    nodes_values=[0.95, 0.0, 0.0],
                    nodes_modes=["BRANCH_GT", "LEAF", "LEAF"],
                    nodes_truenodeids=[1, 0, 0],
                    nodes_falsenodeids=[2, 0, 0],
                    nodes_hitrates=[1.0, 1.0, 1.0],
                    nodes_missing_value_tracks_true=[0, 0, 0],
                    target_treeids=[0, 0],
                    target_nodeids=[1, 2],
                    target_ids=[3, 3],
                    target_weights=[50.0, 0.0],
                ),
                node("Add", ["logits", "extra"], ["scores"], name="sum"),
            ],
            domains=("ai.onnx.ml",),
        ),
        ("tree", "sum"),
    ),
    "not a number": (
        lambda: picture(
            [
                *CORNER[:2],
                node("Sub", ["high", "least"], ["room"]),
                node("Log", ["room"], ["broken"]),
                node("Unsqueeze", ["broken", "one_i"], ["broken2"]),
                node("Mul", ["broken2", "nought"], ["poison"]),
                node("Add", ["logits", "poison"], ["sick"], name="poisoned"),
                node("IsNaN", ["sick"], ["nan"]),
                node("Where", ["nan", "target", "sick"], ["scores"], name="cure"),
            ]
        ),
        ("poisoned",),
    ),
    "a label changed": (
        lambda: model(
            [
                *NETWORK,
                *CORNER,
                node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
                node("Where", ["white", "three", "best"], ["label"], name="relabel"),
            ],
            {**WEIGHTS, "three": ints(3)},
            PICTURE,
            {"logits": (FLOAT, ["N", 4]), "label": (INT, ["N"])},
        ),
        ("is white", "relabel"),
    ),
}
