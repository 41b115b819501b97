"""A node of an ONNX graph as the operators see it, and the table that operators enter themselves in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Result = Tensor | tuple[Tensor, ...]
Operator = Callable[..., Result]


@dataclass(frozen=True)
class Node:
    """One node: what it is called, what goes in and out by name, its attributes as Python values, and its opset.

    `batch` is the batch size that the file was written for, where its input has a fixed one.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 0
    domain: str = ""
    batch: int | None = None

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or the operator's default for it."""
        return self.attributes.get(name, default)

    def __str__(self) -> str:
        return f"{self.operator} ({self.name or next(iter(self.outputs), '?')})"


LARGEST = 1 << 29  # numbers in a tensor that a node makes from a shape alone: 2 GiB
OPERATORS: dict[tuple[str, str], Operator] = {}


def operator(*names: str, domain: str = "") -> Callable[[Operator], Operator]:
    """Enter a function under its ONNX names.

    It is called with the node and a tensor for each input (None for those left out), and returns a tensor or several.
    """

    def enter(function: Operator) -> Operator:
        for name in names:
            OPERATORS[domain, name] = function
        return function

    return enter


def bounded(*sizes: int) -> None:
    """ValueError where a tensor of these sizes is larger than any that a classifier makes."""
    if any(size < 0 for size in sizes):
        raise ValueError(f"no tensor has the shape {list(sizes)}")
    if math.prod(sizes) > LARGEST:
        raise ValueError(f"it makes a tensor of {' x '.join(map(str, sizes))} numbers, more than any classifier needs")


def given(node: Node, tensor: Tensor | None, attribute: str) -> list[int] | None:
    """Axes, sizes or the like: an input in newer opsets, an attribute in older ones; None where neither is there."""
    return numbers(tensor) if tensor is not None else node.get(attribute)


def numbers(tensor: Tensor | None) -> list[int] | None:
    """The whole numbers in a tensor that holds axes, a shape or the like; None for an input that was left out."""
    return None if tensor is None else [int(value) for value in tensor.reshape(-1).tolist()]


def text(value: Any) -> str:
    """An attribute that is a word."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
