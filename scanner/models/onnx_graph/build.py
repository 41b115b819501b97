"""From the graph in an ONNX file to the plan that is run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import torch
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, numpy_helper
from torch import Tensor

from ....evidence.errors import ScanError
from . import attention, elementwise, network, reductions, resize, shapes  # noqa: F401  (they enter their operators)
from .node import OPERATORS, Node
from .plan import Plan, branches, reads

FLOATS = ("float16", "float32", "float64", "bfloat16")
_SMALL = ("int2", "int4", "uint2", "uint4")
_WHY = {  # what a file is that has such operators
    **dict.fromkeys(
        ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
         "MatMulInteger"),
        "the file is quantised, scan the model that it was made from",
    ),
    **dict.fromkeys(
        ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble", "SVMClassifier", "SVMRegressor"),
        "decision trees and support vector machines are not trained by gradients, and this is for networks that are",
    ),
    **dict.fromkeys(("Loop", "Scan"), "export the model with its loops unrolled"),
}  # fmt: skip


def tensor_of(array: np.ndarray) -> Tensor:
    """A tensor of its own; floats of any width become float32. Raises ScanError for what is no number."""
    name = array.dtype.name
    if name in FLOATS or name.startswith("float"):
        array = array.astype(np.float32)
    elif name in _SMALL:
        array = array.astype(np.int8)
    elif name.startswith("uint") and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    elif array.dtype.kind not in "iub":
        raise ScanError(f"the graph has a constant that holds {'text' if array.dtype.kind in 'OSU' else name}")
    return torch.from_numpy(np.array(array))


def _value(attribute: AttributeProto, opsets: dict[str, int], batch: int | None) -> Any:
    if attribute.type == AttributeProto.GRAPH:
        return _plan(attribute.g, opsets, batch, tuple(output.name for output in attribute.g.output))
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.type == AttributeProto.TENSOR:
        return tensor_of(numpy_helper.to_array(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value


def _node(proto: NodeProto, opsets: dict[str, int], batch: int | None) -> Node:
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    return Node(
        operator=proto.op_type,
        name=proto.name,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={attribute.name: _value(attribute, opsets, batch) for attribute in proto.attribute},
        opset=opsets.get(domain, 1),
        domain=domain,
        batch=batch,
    )


def _ordered(nodes: list[Node], wanted: Iterable[str]) -> list[Node]:
    """The nodes that the wanted tensors need, each after those it reads; ScanError where they go in a circle."""
    made_by = {name: place for place, node in enumerate(nodes) for name in node.outputs if name}
    state: dict[int, int] = {}  # 1: its inputs are being looked at, 2: done
    order: list[Node] = []
    stack = [made_by[name] for name in wanted if name in made_by][::-1]
    while stack:
        place = stack[-1]
        if state.get(place) == 2:
            stack.pop()
            continue
        needs = sorted({made_by[name] for name in reads(nodes[place]) if name in made_by})
        missing = [need for need in needs if state.get(need) != 2]
        if not missing:
            state[place] = 2
            order.append(nodes[place])
            stack.pop()
            continue
        if any(state.get(need) == 1 for need in missing):
            raise ScanError(f"the graph goes in a circle at {nodes[place]}: the file is damaged")
        state[place] = 1
        stack += missing[::-1]
    return order


def plan_of(
    graph: GraphProto,
    opsets: dict[str, int],
    batch: int | None = None,
    *,
    wanted: Iterable[str] | None = None,
) -> Plan:
    """The plan of a graph for the outputs `wanted`, or all of its own.

    Weights in Constant nodes are taken out like initialisers. Identity of a tensor of the file is that tensor again,
    under a name of its own: exporters merge equal initialisers so, and what is equal at first need not stay so.
    Raises ScanError, one sentence, for a graph that cannot be run.
    """
    outputs = tuple(wanted) if wanted is not None else tuple(output.name for output in graph.output)
    plan = _plan(graph, opsets, batch, outputs)
    there = {value.name for value in graph.input} | set(plan.tensors)
    for node in plan.nodes:
        missing = sorted(reads(node) - there)
        if missing:
            raise ScanError(f"{node} reads {missing[0]}, which nothing in the graph makes: the file is damaged")
        there |= set(node.outputs)
    absent = [name for name in outputs if name not in there]
    if absent:
        raise ScanError(f"nothing in the graph makes its output {absent[0]}: the file is damaged")
    return plan


def _plan(graph: GraphProto, opsets: dict[str, int], batch: int | None, outputs: tuple[str, ...]) -> Plan:
    nodes = [_node(proto, opsets, batch) for proto in graph.node]
    _check_once(nodes)
    tensors = {proto.name: tensor_of(numpy_helper.to_array(proto)) for proto in graph.initializer}
    kept: list[Node] = []
    for node in nodes:
        if node.operator == "Constant" and not node.domain and isinstance(node.get("value"), Tensor):
            tensors[node.outputs[0]] = node.get("value")
        elif node.operator == "Identity" and not node.domain and node.inputs[:1] and node.inputs[0] in tensors:
            tensors[node.outputs[0]] = tensors[node.inputs[0]].clone()
        else:
            kept.append(node)
    order = _ordered(kept, outputs)
    for node in order:
        if (node.domain, node.operator) not in OPERATORS and node.operator not in ("If", "BatchNormalization"):
            where = f" of domain {node.domain}" if node.domain else ""
            why = _WHY.get(node.operator, "export the model without it, or ask for it in an issue")
            raise ScanError(f"operator {node}{where} is not supported: {why}")
        if node.operator == "If" and (len(branches(node)) != 2 or not node.inputs):
            raise ScanError(f"{node} has not two branches and a condition: the file is damaged")
    used = {name for node in order for name in reads(node)} | set(outputs)
    last = {name: place for place, node in enumerate(order) for name in reads(node)}
    made = {name for node in order for name in node.outputs}
    return Plan(
        nodes=tuple(order),
        tensors={name: tensor for name, tensor in tensors.items() if name in used},
        outputs=outputs,
        last_use={name: place for name, place in last.items() if name in made and name not in outputs},
    )


def _check_once(nodes: list[Node]) -> None:
    """ScanError where a node makes nothing, or what another makes too: then it is not clear what the graph computes."""
    made: set[str] = set()
    for node in nodes:
        names = [name for name in node.outputs if name]
        if not names:
            raise ScanError(f"a node of operator {node.operator} has no outputs: the file is damaged")
        if made.intersection(names) or len(set(names)) < len(names):
            raise ScanError(f"{node} makes a tensor that is made twice: the file is damaged or made to mislead")
        made.update(names)


def opsets_of(model: ModelProto) -> dict[str, int]:
    """Version of each operator domain that the model imports."""
    return {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in model.opset_import}
