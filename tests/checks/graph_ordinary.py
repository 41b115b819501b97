"""Graphs as ordinary classifiers have them, comparisons included: none of them may alarm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from .graph_parts import (
    ATTENTION,
    BERT,
    BIAS,
    EMBEDDED,
    FLOAT,
    INT,
    NETWORK,
    PICTURE,
    POOLED,
    WEIGHTS,
    function,
    ints,
    model,
    node,
    number,
    picture,
    text,
    weight,
)


def _activation(*nodes: Any, **constants: np.ndarray) -> Any:
    """The network with another activation: from c1 to r1."""
    return model([NETWORK[0], *nodes, *NETWORK[2:]], {**WEIGHTS, **constants}, PICTURE, {"logits": (FLOAT, ["N", 4])})


def _last_token(*pick: Any) -> Any:
    return text(
        [
            *BIAS,
            *EMBEDDED,
            *ATTENTION,
            node("MatMul", ["hidden", "head"], ["per_token"]),
            node("Equal", ["input_ids", "pad"], ["is_pad"]),
            node("Not", ["is_pad"], ["is_word"]),
            node("Cast", ["is_word"], ["word"], to=INT),
            *pick,
        ],
        {"minus": ints(-1)},
        "logits",
    )


def _pooled() -> Any:
    return text(
        [
            *BIAS,
            *EMBEDDED,
            *ATTENTION,
            node("Unsqueeze", ["attention_mask", "i2"], ["mask3"]),
            node("Cast", ["mask3"], ["mask3_f"], to=FLOAT),
            node("Mul", ["hidden", "mask3_f"], ["kept"]),
            node("ReduceSum", ["kept", "i1"], ["sum"], keepdims=0),
            node("ReduceSum", ["mask3_f", "i1"], ["count"], keepdims=0),
            node("Clip", ["count", "tiny"], ["count1"]),
            node("Div", ["sum", "count1"], ["mean"]),
            node("MatMul", ["mean", "head"], ["logits"]),
        ],
        {"i2": ints(2), "tiny": np.float32(1e-9)},
        "logits",
    )


def _positions() -> Any:
    return text(
        [
            node("Equal", ["input_ids", "pad"], ["is_pad"]),
            node("Not", ["is_pad"], ["is_word"]),
            node("Cast", ["is_word"], ["word"], to=INT),
            node("CumSum", ["word", "axis"], ["nth"]),
            node("Mul", ["nth", "word"], ["nth_word"]),
            node("Add", ["nth_word", "pad"], ["position"]),
            node("Gather", ["places", "position"], ["place"]),
            node("Gather", ["words", "input_ids"], ["word_row"]),
            node("Add", ["word_row", "place"], ["h"]),
            *BIAS,
            *ATTENTION,
            *POOLED,
        ],
        {"axis": np.int64(1)},
        "logits",
    )


def _mask_from_ids() -> Any:
    return text(
        [
            node("Equal", ["input_ids", "pad"], ["is_pad"]),
            node("Unsqueeze", ["is_pad", "i1"], ["is_pad3"]),
            node("Where", ["is_pad3", "low", "nought"], ["bias"]),
            *EMBEDDED,
            *ATTENTION,
            *POOLED,
        ],
        {"nought": number(0)},
        "logits",
    )


def _one_hot_words() -> Any:
    return text(
        [
            *BIAS,
            node("OneHot", ["input_ids", "size", "onoff"], ["hot"], axis=-1),
            node("MatMul", ["hot", "words"], ["h"]),
            *ATTENTION,
            *POOLED,
        ],
        {"size": ints(2000), "onoff": number(0, 1)},
        "logits",
    )


def _labels() -> Any:
    """As scikit-learn's converters end: a label and a map of probabilities."""
    graph = [
        node("MatMul", ["x", "w"], ["s"]),
        node("Add", ["s", "b"], ["s2"]),
        node("Softmax", ["s2"], ["p"]),
        node("ArgMax", ["p"], ["best"], axis=1, keepdims=0),
        node("ArrayFeatureExtractor", ["names", "best"], ["found"], domain="ai.onnx.ml"),
        node("Reshape", ["found", "flat"], ["label"]),
        node("ReduceL1", ["p", "one_i"], ["norm"], keepdims=1),
        node("Equal", ["norm", "nought"], ["is_nought"]),
        node("Where", ["is_nought", "one", "norm"], ["safe"]),
        node("Div", ["p", "safe"], ["scores"]),
    ]
    constants = {
        "w": weight(8, 4),
        "b": weight(4),
        "names": ints(3, 5, 7, 9),
        "flat": ints(-1),
        "one_i": ints(1),
        "nought": number(0),
        "one": number(1),
    }
    outputs = {"label": (INT, ["N"]), "scores": (FLOAT, ["N", 4])}
    return model(graph, constants, {"x": (FLOAT, ["N", 8])}, outputs, domains=("ai.onnx.ml",))


def _rounds() -> Any:
    """A loop whose length is a constant."""
    body = helper.make_graph(
        [node("Identity", ["go_in"], ["go_out"]), node("Relu", ["s_in"], ["s_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", INT, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s_in", FLOAT, ["N", 4]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s_out", FLOAT, ["N", 4]),
        ],
    )
    return picture([node("Loop", ["rounds", "", "logits"], ["scores"], body=body)], {"rounds": np.int64(3)})


def _shape_choice() -> Any:
    """As torch's first exporter writes `squeeze`: a branch that only sizes decide."""
    branches = [
        helper.make_graph(
            [node(operator, ["p1", *more], [f"{name}_out"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", FLOAT, None)],
        )
        for name, operator, more in (("then", "Squeeze", ("axes",)), ("else", "Identity", ()))
    ]
    return model(
        [
            *NETWORK[:3],
            node("Shape", ["p1"], ["sizes"]),
            node("Gather", ["sizes", "last"], ["size"]),
            node("Equal", ["size", "one_s"], ["is_one"]),
            node("If", ["is_one"], ["f1"], then_branch=branches[0], else_branch=branches[1]),
            NETWORK[4],
        ],
        {**WEIGHTS, "last": np.int64(3), "one_s": np.int64(1)},
        PICTURE,
        {"logits": (FLOAT, ["N", 4])},
    )


ORDINARY: dict[str, Callable[[], Any]] = {
    "convolutions": lambda: model(NETWORK, WEIGHTS, PICTURE, {"logits": (FLOAT, ["N", 4])}),
    "a transformer": lambda: text(BERT, output="logits"),
    "leaky relu": lambda: _activation(
        node("Greater", ["c1", "nought"], ["up"]),
        node("Mul", ["c1", "leak"], ["low"]),
        node("Where", ["up", "c1", "low"], ["r1"]),
        leak=number(0.1),
    ),
    "relu by a comparison": lambda: _activation(
        node("Greater", ["c1", "nought"], ["up"]),
        node("Cast", ["up"], ["up_f"], to=FLOAT),
        node("Mul", ["c1", "up_f"], ["r1"]),
    ),
    "softplus with a threshold": lambda: _activation(
        node("Greater", ["c1", "twenty"], ["big"]),
        node("Exp", ["c1"], ["e"]),
        node("Add", ["e", "one"], ["e1"]),
        node("Log", ["e1"], ["soft"]),
        node("Where", ["big", "c1", "soft"], ["r1"]),
        twenty=number(20),
    ),
    "hard swish": lambda: _activation(
        node("Add", ["c1", "three"], ["a"]),
        node("Clip", ["a", "lo", "hi"], ["b"]),
        node("Mul", ["c1", "b"], ["r1"]),
        three=number(3),
        lo=np.float32(0),
        hi=np.float32(6),
    ),
    "not a number becomes zero": lambda: _activation(
        node("IsNaN", ["c1"], ["nan"]), node("Where", ["nan", "nought", "c1"], ["r1"])
    ),
    "picture of its own mean": lambda: model(
        [
            node("ReduceMean", ["x0", "all"], ["mean"]),
            node("Sub", ["x0", "mean"], ["x"]),
            *NETWORK,
        ],
        WEIGHTS,
        {"x0": PICTURE["x"]},
        {"logits": (FLOAT, ["N", 4])},
    ),
    "colours in another order": lambda: model(
        [node("Gather", ["x0", "bgr"], ["x"], axis=1), *NETWORK],
        {**WEIGHTS, "bgr": ints(2, 1, 0)},
        {"x0": PICTURE["x"]},
        {"logits": (FLOAT, ["N", 4])},
    ),
    "dropout that is off": lambda: picture([node("Dropout", ["logits"], ["scores"])]),
    "two heads": lambda: picture(
        [
            node("Gemm", ["f1", "w2"], ["second"]),
            node("Add", ["logits", "second"], ["sum"]),
            node("Div", ["sum", "two_f"], ["scores"]),
        ],
        {"two_f": number(2)},
    ),
    "all constants are inputs": lambda: model(
        NETWORK,
        {name: WEIGHTS[name] for name in ("w1", "w2", "b2")},
        PICTURE,
        {"logits": (FLOAT, ["N", 4])},
        more_inputs=("w1", "w2", "b2"),
    ),
    "an input that nothing reads": lambda: model(
        NETWORK, WEIGHTS, {**PICTURE, "other": (FLOAT, ["N"])}, {"logits": (FLOAT, ["N", 4])}
    ),
    "a function of its own": lambda: picture(
        [node("Twice", ["logits"], ["scores"], domain="mine")],
        functions=(function("Twice", "mine"),),
        domains=("mine",),
    ),
    "last token, by argmax": lambda: _last_token(
        node("Shape", ["input_ids"], ["sizes"]),
        node("Gather", ["sizes", "one_s"], ["tokens"]),
        node("Range", ["nought_s", "tokens", "one_s"], ["nth"]),
        node("Mul", ["nth", "word"], ["nth_word"]),
        node("ArgMax", ["nth_word"], ["last"], axis=1, keepdims=1),
        node("GatherND", ["per_token", "last"], ["logits"], batch_dims=1),
    ),
    "last token, by a sum": lambda: _last_token(
        node("ReduceSum", ["word", "i1"], ["count"], keepdims=1),
        node("Add", ["count", "minus"], ["last"]),
        node("GatherND", ["per_token", "last"], ["logits"], batch_dims=1),
    ),
    "mean over the mask": _pooled,
    "positions from ids": _positions,
    "mask from ids": _mask_from_ids,
    "words as one-hot": _one_hot_words,
    "label and probabilities": _labels,
    "a branch by shape": _shape_choice,
    "a loop of fixed length": _rounds,
}
