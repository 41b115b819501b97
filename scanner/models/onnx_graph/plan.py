"""An ONNX graph in the form that is run: nodes in order, the tensors in it, and what goes in and comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from torch import Tensor

from .node import Node


@dataclass(frozen=True)
class Plan:
    """Nodes in an order in which they can run, the tensors that the file holds, by name, and the names of the outputs.

    `constants` tells those that were in Constant nodes and not among the initialisers. Nothing in it is changed once it
    is made, so that copies of a module share it.
    """

    nodes: tuple[Node, ...]
    tensors: dict[str, Tensor]
    constants: frozenset[str]
    outputs: tuple[str, ...]
    last_use: dict[str, int] = field(default_factory=dict)  # of what nodes make: the place of the last that reads it

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self
