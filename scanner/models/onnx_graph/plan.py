"""An ONNX graph in the form that is run: nodes in order, the tensors in it, and what goes in and comes out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

from torch import Tensor

from .node import Node


@dataclass(frozen=True)
class Plan:
    """Nodes in an order in which they can run, the tensors that the file holds, by name, and the names of the outputs.

    Nothing in it is changed once it is made, so that copies of a module share it.
    """

    nodes: tuple[Node, ...]
    tensors: dict[str, Tensor]
    outputs: tuple[str, ...]
    last_use: dict[str, int] = field(default_factory=dict)  # of what nodes make: the place of the last that reads it

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def branches(node: Node) -> list[Plan]:
    """The plans within an If, none in other nodes."""
    return [plan for name in ("then_branch", "else_branch") if (plan := node.get(name)) is not None]


def reads(node: Node) -> set[str]:
    """What a node takes, from its own inputs and from within its branches."""
    names = {name for name in node.inputs if name}
    for inner in branches(node):
        made = {name for other in inner.nodes for name in other.outputs} | set(inner.tensors)
        names |= {name for other in inner.nodes for name in reads(other)} - made
        names |= set(inner.outputs) - made
    return names


def as_written(plan: Plan) -> Plan:
    """The plan for batches of the size that its file was exported with: no shape in it is fitted to another."""
    return replace(plan, nodes=tuple(replace(node, batch=None) for node in plan.nodes))
