"""Operators that sum, compare or order along dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .node import OPERATORS, Node, given, operator

Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(dim=axis, keepdim=keep)
    return x


_REDUCTIONS: dict[str, Reduction] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": lambda x, axes, keep: x.square().sum(axes, keep).sqrt(),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keep),
    "ReduceProd": _product,
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keep),
}


def _enter() -> None:
    def reduction(function: Reduction) -> Callable[..., Tensor]:
        def reduce(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
            which = given(node, axes, "axes")
            if not which:
                if node.get("noop_with_empty_axes", 0):
                    return x
                which = list(range(x.dim()))
            which = [axis % x.dim() for axis in which]
            return function(x, which, bool(node.get("keepdims", 1))) if which else x

        return reduce

    OPERATORS.update({("", name): reduction(function) for name, function in _REDUCTIONS.items()})


_enter()


def _extreme(node: Node, x: Tensor, find: Callable[..., Tensor]) -> Tensor:
    axis, keep = node.get("axis", 0) % x.dim(), bool(node.get("keepdims", 1))
    if not node.get("select_last_index", 0):
        first: Tensor = find(x, dim=axis, keepdim=keep)
        return first
    last: Tensor = find(x.flip(axis), dim=axis, keepdim=keep)
    return torch.sub(torch.full_like(last, x.shape[axis] - 1), last)


@operator("ArgMax")
def arg_max(node: Node, x: Tensor) -> Tensor:
    """The place of the largest, the first or the last of equals."""
    return _extreme(node, x, torch.argmax)


@operator("ArgMin")
def arg_min(node: Node, x: Tensor) -> Tensor:
    """The place of the smallest, the first or the last of equals."""
    return _extreme(node, x, torch.argmin)


@operator("TopK")
def top_k(node: Node, x: Tensor, k: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The largest or smallest with their places; `k` was an attribute up to opset 9."""
    count = int(k.reshape(-1)[0]) if k is not None else node.get("k")
    values, places = x.topk(count, dim=node.get("axis", -1), largest=bool(node.get("largest", 1)))
    return values, places


@operator("CumSum")
def cumulative_sum(node: Node, x: Tensor, axis: Tensor) -> Tensor:
    """From the front or the back, with or without the element itself."""
    along = int(axis.reshape(-1)[0])
    x = x.flip(along) if node.get("reverse", 0) else x
    total = x.cumsum(along) - x if node.get("exclusive", 0) else x.cumsum(along)
    return total.flip(along) if node.get("reverse", 0) else total


def _over_last(node: Node, x: Tensor, function: Callable[..., Tensor]) -> Tensor:
    if node.opset >= 13:
        return function(x, dim=node.get("axis", -1))
    axis = node.get("axis", 1) % x.dim()  # up to opset 12 everything from the axis on is one dimension
    return function(x.flatten(axis), dim=axis).view_as(x)


@operator("Softmax")
def softmax(node: Node, x: Tensor) -> Tensor:
    """Probabilities."""
    return _over_last(node, x, torch.softmax)


@operator("LogSoftmax")
def log_softmax(node: Node, x: Tensor) -> Tensor:
    """Their logarithms."""
    return _over_last(node, x, torch.log_softmax)


@operator("Hardmax")
def hardmax(node: Node, x: Tensor) -> Tensor:
    """One at the largest."""

    def pick(values: Tensor, dim: int) -> Tensor:
        return torch.zeros_like(values).scatter(dim, values.argmax(dim, keepdim=True), 1)

    return _over_last(node, x, pick)


@operator("Einsum")
def einsum(node: Node, *inputs: Tensor) -> Tensor:
    """Sums of products by an equation."""
    equation: Any = node.get("equation")
    return torch.einsum(equation.decode() if isinstance(equation, bytes) else equation, *inputs)


@operator("MatMul")
def matmul(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """Of matrices, with broadcasting."""
    return torch.matmul(a, b)


@operator("Gemm")
def gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """`alpha * a @ b + beta * c`, either transposed."""
    a = a.T if node.get("transA", 0) else a
    b = b.T if node.get("transB", 0) else b
    product: Tensor = (a @ b) * node.get("alpha", 1.0)
    return product if c is None else torch.add(product, c * node.get("beta", 1.0))


@operator("LinearClassifier", domain="ai.onnx.ml")
def linear_classifier(node: Node, x: Tensor) -> tuple[Tensor, Tensor]:
    """Of scikit-learn's linear models: the label's place, and scores before any transformation."""
    classes = len(node.get("classlabels_ints") or node.get("classlabels_strings") or [])
    weights = torch.as_tensor(node.get("coefficients"), dtype=x.dtype, device=x.device).view(-1, x.shape[1])
    scores = x @ weights.T + torch.as_tensor(node.get("intercepts"), dtype=x.dtype, device=x.device)
    kind = node.get("post_transform", "NONE")
    if len(weights) == 1 and classes == 2:  # onnxruntime takes such a score for a probability, or for the log of odds
        scores = torch.cat([-scores if kind == "LOGISTIC" else 1 - scores, scores], dim=1)
        kind = "NONE" if kind == "SOFTMAX" else kind
    if kind == "SOFTMAX":
        scores = scores.softmax(dim=1)
    elif kind == "LOGISTIC":
        scores = scores.sigmoid()
    elif kind != "NONE":
        raise ValueError(f"post_transform {kind} is not supported")
    return scores.argmax(dim=1), scores


@operator("Normalizer", domain="ai.onnx.ml")
def normalizer(node: Node, x: Tensor) -> Tensor:
    """Rows divided by their norm."""
    kind = node.get("norm", "MAX")
    norm = x.amax(1) if kind == "MAX" else torch.linalg.vector_norm(x, 1 if kind == "L1" else 2, dim=1)
    return x / torch.where(norm == 0, torch.ones_like(norm), norm)[:, None]


@operator("ArrayFeatureExtractor", domain="ai.onnx.ml")
def array_feature_extractor(node: Node, x: Tensor, places: Tensor) -> Tensor:
    """Columns by their places."""
    return x.index_select(-1, places.reshape(-1)).reshape(*(x.shape[:-1] or (1,)), -1)


@operator("Scaler", domain="ai.onnx.ml")
def scaler(node: Node, x: Tensor) -> Tensor:
    """`(x - offset) * scale`."""
    offset, scale = (torch.as_tensor(node.get(name), dtype=x.dtype, device=x.device) for name in ("offset", "scale"))
    return (x - offset) * scale
