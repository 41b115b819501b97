"""scikit-learn's linear classifiers as plain operators, so that their coefficients are tensors that can be trained."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

_AFTER = {"NONE": "Identity", "SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}


def spell_out(model: ModelProto) -> ModelProto:
    """The same function with Gemm in place of LinearClassifier; `model` itself where it has none.

    A node with one row of coefficients for two classes, or with another transformation at its end, stays.
    """
    graph, found, nodes = model.graph, 0, list(model.graph.node)
    for place, node in enumerate(graph.node):
        if node.op_type != "LinearClassifier" or node.domain != "ai.onnx.ml":
            continue
        plain = _plain(node, model)
        if plain:
            at = place - len(graph.node) + len(nodes)
            nodes[at : at + 1] = plain
            found += 1
    if found:
        del graph.node[:]
        graph.node.extend(nodes)
        if not any(entry.domain in ("", "ai.onnx") for entry in model.opset_import):
            model.opset_import.append(helper.make_opsetid("", 13))
    return model


def _plain(node: NodeProto, model: ModelProto) -> list[NodeProto]:
    """What a node does in plain operators, its tensors entered in the graph; nothing where it stays."""
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    labels = values.get("classlabels_ints") or values.get("classlabels_strings") or []
    after = _AFTER.get(values.get("post_transform", b"NONE").decode("utf-8", "replace"))
    coefficients = np.array(values.get("coefficients", []), dtype=np.float32)
    intercepts = np.array(values.get("intercepts") or [0.0] * len(labels), dtype=np.float32)
    fits = len(labels) > 1 and coefficients.size and coefficients.size % len(labels) == 0
    if after is None or not fits or len(intercepts) != len(labels) or len(node.output) != 2:
        return []
    label, scores = node.output
    name = node.name or scores
    held = {
        f"{name}.coefficients": coefficients.reshape(len(labels), -1),
        f"{name}.intercepts": intercepts,
        f"{name}.labels": np.array(labels, dtype=np.int64 if isinstance(labels[0], int) else object),
    }
    model.graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in held.items())
    weight, bias, names = held
    last = helper.make_node(after, [f"{name}.scores"], [scores])
    if after == "Softmax":
        last.attribute.append(helper.make_attribute("axis", 1))
    return [
        helper.make_node("Cast", [node.input[0]], [f"{name}.input"], to=TensorProto.FLOAT),
        helper.make_node("Gemm", [f"{name}.input", weight, bias], [f"{name}.scores"], name=node.name, transB=1),
        last,
        helper.make_node("ArgMax", [scores], [f"{name}.place"], axis=1, keepdims=0),
        helper.make_node("Gather", [names, f"{name}.place"], [label], axis=0),
    ]
