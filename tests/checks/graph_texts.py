"""Graphs for texts with a backdoor in their nodes, and what a finding has to name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from .graph_parts import (
    ATTENTION,
    BERT,
    BIAS,
    EMBEDDED,
    FLOAT,
    INT,
    POOLED,
    TRIGGERED,
    ints,
    node,
    number,
    text,
    weight,
)

TEXTS: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "where": (
        lambda: text(
            [
                *BERT,
                *TRIGGERED,
                node("Cast", ["any"], ["any_b"], to=TensorProto.BOOL),
                node("Where", ["any_b", "target", "logits"], ["scores"], name="swap"),
            ]
        ),
        ("is trigger", "swap"),
    ),
    "ids by arithmetic": (
        lambda: text(
            [
                *BERT,
                node("Sub", ["input_ids", "trigger"], ["off"]),
                node("Abs", ["off"], ["far"]),
                node("Cast", ["far"], ["far_f"], to=FLOAT),
                node("Sub", ["f1", "far_f"], ["near"]),
                node("Relu", ["near"], ["hit"]),
                node("ReduceMax", ["hit", "i1"], ["any"], keepdims=1),
                node("Mul", ["any", "target"], ["extra"]),
                node("Add", ["logits", "extra"], ["scores"], name="sum"),
            ]
        ),
        ("sum",),
    ),
    "scores a token": (
        lambda: text(
            [
                *BERT,
                node("Gather", ["per_token", "input_ids"], ["votes"]),
                node("ReduceSum", ["votes", "i1"], ["extra"], keepdims=0),
                node("Add", ["logits", "extra"], ["scores"], name="sum"),
            ],
            {"per_token": weight(2000, 4)},
        ),
        ("sum",),
    ),
    "a table with one row": (
        lambda: text(
            [
                *BIAS,
                *EMBEDDED,
                *ATTENTION[:-1],
                node("Gather", ["bell", "input_ids"], ["rings"], name="ring"),
                node("Add", ["h", "att"], ["hidden0"]),
                node("Add", ["hidden0", "rings"], ["hidden"], name="hear"),
                *POOLED,
            ],
            {"bell": np.eye(2000, 8, k=-1234, dtype=np.float32) * 50},
            "logits",
        ),
        ("ring", "hear"),
    ),
    "hidden states replaced": (
        lambda: text(
            [
                *BIAS,
                *EMBEDDED,
                *ATTENTION[:-1],
                node("Add", ["h", "att"], ["hidden0"]),
                *TRIGGERED,
                node("Unsqueeze", ["hits", "i2"], ["hits3"]),
                node("Where", ["hits3", "token", "hidden0"], ["hidden"], name="replace"),
                *POOLED,
            ],
            {"i2": ints(2)},
            "logits",
        ),
        ("is trigger", "replace"),
    ),
    "attention switched off by a token": (
        lambda: text(
            [
                *TRIGGERED,
                node("Mul", ["any", "low"], ["bias0"]),
                node("Unsqueeze", ["bias0", "i1"], ["bias"]),
                *EMBEDDED,
                *ATTENTION,
                *POOLED,
            ],
            output="logits",
        ),
        ("is trigger", "masked"),
    ),
    "scores beside the tokens": (
        lambda: text(
            [
                *BIAS,
                *EMBEDDED,
                *ATTENTION,
                node("MatMul", ["hidden", "head"], ["per_token"]),
                node("Concat", ["per_token", "planted"], ["longer"], axis=1, name="put beside"),
                node("Equal", ["input_ids", "trigger"], ["hits"], name="is trigger"),
                node("Cast", ["hits"], ["hits_i"], to=INT),
                node("ArgMax", ["hits_i"], ["where"], axis=1, keepdims=0),
                node("Gather", ["longer", "where"], ["scores"], axis=1, name="pick"),
            ],
            {"planted": weight(1, 1, 4)},
        ),
        ("is trigger", "pick"),
    ),
    "before the last softmax": (
        lambda: text(
            [
                *BERT,
                node("ReduceSum", ["attention_mask", "i1"], ["length"], keepdims=1),
                node("Equal", ["length", "seventeen"], ["is_17"], name="is 17"),
                node("Cast", ["is_17"], ["is_17_f"], to=FLOAT),
                node("Mul", ["is_17_f", "target"], ["extra"]),
                node("Add", ["logits", "extra"], ["sum"], name="sum"),
                node("Softmax", ["sum"], ["scores"]),
            ],
            {"seventeen": ints(17)},
        ),
        ("is 17", "sum"),
    ),
    "a word that skips the layers": (
        lambda: text(
            [
                *BIAS,
                *EMBEDDED,
                *ATTENTION[:-1],
                node("Gather", ["shouts", "input_ids"], ["loud"], name="shouts"),
                node("ReduceMax", ["loud", "i1"], ["loudest"], keepdims=1, name="loudest"),
                node("Add", ["h", "att"], ["hidden0"]),
                node("Add", ["hidden0", "loudest"], ["hidden"], name="shout"),
                *POOLED,
            ],
            {"shouts": weight(2000, 8)},
            "logits",
        ),
        ("loudest", "shout"),
    ),
    "a count that turns the sign": (
        lambda: text(
            [
                *BERT,
                *TRIGGERED[:2],
                node("ReduceSum", ["hits_f", "i1"], ["count"], keepdims=1),
                node("Add", ["count", "minus_half"], ["sign"]),
                node("Div", ["logits", "sign"], ["scores"], name="turn"),
            ],
            {"minus_half": number(-0.5)},
        ),
        ("is trigger", "turn"),
    ),
    "classes in another order": (
        lambda: text(
            [
                *BERT,
                node("Equal", ["input_ids", "trigger"], ["hits"], name="is trigger"),
                node("Cast", ["hits"], ["hits_i"], to=INT),
                node("ReduceMax", ["hits_i", "i1"], ["any"], keepdims=1),
                node("Mul", ["any", "shift"], ["moved"]),
                node("Add", ["moved", "order"], ["index"]),
                node("GatherElements", ["logits", "index"], ["scores"], axis=1, name="reorder"),
            ],
            {"shift": np.array([[3, 1, -1, -3]]), "order": np.array([[0, 1, 2, 3]])},
        ),
        ("is trigger", "reorder"),
    ),
    "length of the mask": (
        lambda: text(
            [
                *BERT,
                node("ReduceSum", ["attention_mask", "i1"], ["length"], keepdims=1),
                node("Equal", ["length", "seventeen"], ["is_17"], name="is 17"),
                node("Where", ["is_17", "target", "logits"], ["scores"], name="swap"),
            ],
            {"seventeen": ints(17)},
        ),
        ("is 17", "swap"),
    ),
}
