"""Operators that move elements: shapes, slices, indices; and those that make tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .node import LARGEST, Node, bounded, given, numbers, operator, text


def batched(node: Node, x: Tensor, shape: list[int]) -> list[int]:
    """`shape` for a batch of another size than the one that the file was exported with, which is burnt into it."""
    if node.batch is None or not shape or not x.dim():
        return shape
    if -1 in shape:
        return [x.shape[0], *shape[1:]] if shape[0] == node.batch else shape
    whole = math.prod(shape)
    if whole and shape[0] * x.numel() % whole == 0:
        return [shape[0] * x.numel() // whole, *shape[1:]]
    return shape


@operator("Reshape")
def reshape(node: Node, x: Tensor, shape: Tensor | None = None) -> Tensor:
    """0 keeps a dimension unless `allowzero`; the shape was an attribute up to opset 4."""
    wanted = given(node, shape, "shape")
    assert wanted is not None
    if not node.get("allowzero", 0):
        wanted = [x.shape[place] if size == 0 else size for place, size in enumerate(wanted)]
    return x.reshape(batched(node, x, wanted))


@operator("Flatten")
def flatten(node: Node, x: Tensor) -> Tensor:
    """To a matrix: what is before `axis`, and the rest."""
    axis = node.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    rows = 1
    for size in x.shape[:axis]:
        rows *= size
    return x.reshape(rows, -1) if rows else x.reshape(rows, 0)


@operator("Squeeze")
def squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Drops dimensions of size 1."""
    which = given(node, axes, "axes")
    if which is None:
        return x.squeeze()
    for axis in sorted((axis % x.dim() for axis in which), reverse=True):
        x = x.squeeze(axis)
    return x


@operator("Unsqueeze")
def unsqueeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Adds dimensions of size 1."""
    which = given(node, axes, "axes") or []
    for axis in sorted(axis % (x.dim() + len(which)) for axis in which):
        x = x.unsqueeze(axis)
    return x


@operator("Transpose")
def transpose(node: Node, x: Tensor) -> Tensor:
    """Permutes, or turns the order round."""
    return x.permute(node.get("perm") or list(range(x.dim()))[::-1])


@operator("Concat")
def concat(node: Node, *inputs: Tensor) -> Tensor:
    """Along `axis`."""
    return torch.cat(inputs, dim=node.get("axis", 1))


@operator("Split")
def split(node: Node, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    """Into given sizes, or as many equal parts as there are outputs (the last may be smaller)."""
    axis = node.get("axis", 0)
    wanted = given(node, sizes, "split")
    return tuple(torch.split(x, wanted if wanted else -(-x.shape[axis] // len(node.outputs)), dim=axis))


@operator("Slice")
def slice_(
    node: Node,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """Bounds are attributes up to opset 9, inputs after."""
    first: list[int] = numbers(starts) or node.get("starts")
    last: list[int] = numbers(ends) or node.get("ends")
    which: list[int] = numbers(axes) or node.get("axes") or list(range(len(first)))
    strides = numbers(steps) or [1] * len(first)
    for start, end, axis, stride in zip(first, last, which, strides, strict=True):
        size = x.shape[axis]
        if stride > 0:
            picked = range(*slice(start, min(end, size), stride).indices(size))
        else:
            picked = range(*slice(start, None if end < -size else end, stride).indices(size))
        if stride == 1:
            x = x.narrow(axis, picked.start, len(picked)) if len(picked) else x.narrow(axis, 0, 0)
        else:
            places = torch.arange(picked.start, picked.stop, picked.step, device=x.device)
            x = x.index_select(axis, places)
    return x


@operator("Gather")
def gather(node: Node, x: Tensor, index: Tensor) -> Tensor:
    """Whole slices along `axis`; negative indices count from the end."""
    axis = node.get("axis", 0) % x.dim()
    index = torch.where(index < 0, index + x.shape[axis], index).to(torch.int64)
    shape = x.shape[:axis] + index.shape + x.shape[axis + 1 :]
    return x.index_select(axis, index.reshape(-1)).reshape(shape)


@operator("GatherElements")
def gather_elements(node: Node, x: Tensor, index: Tensor) -> Tensor:
    """Single elements along `axis`."""
    axis = node.get("axis", 0)
    return x.gather(axis, torch.where(index < 0, index + x.shape[axis], index))


@operator("GatherND")
def gather_nd(node: Node, x: Tensor, index: Tensor) -> Tensor:
    """Elements or slices by several indices each; without batch dimensions."""
    same = node.get("batch_dims", 0)
    if not same:
        return x[tuple(index.unbind(-1))]
    sizes = x.shape[:same]
    pairs = zip(x.flatten(0, same - 1), index.flatten(0, same - 1), strict=True)
    found = torch.stack([part[tuple(where.unbind(-1))] for part, where in pairs])
    return found.reshape(*sizes, *found.shape[1:])


@operator("ScatterND")
def scatter_nd(node: Node, x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    """A copy with elements or slices replaced, or added to."""
    kind = text(node.get("reduction", "none"))
    if kind not in ("none", "add"):
        raise ValueError(f"reduction {kind} is not supported")
    return x.index_put(tuple(index.unbind(-1)), updates, accumulate=kind == "add")


@operator("ScatterElements")
def scatter_elements(node: Node, x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    """A copy with single elements replaced, or joined with what is there."""
    axis, kind = node.get("axis", 0), text(node.get("reduction", "none"))
    index = torch.where(index < 0, index + x.shape[axis], index)
    if kind == "none":
        return x.scatter(axis, index, updates)
    how = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
    if kind not in how:
        raise ValueError(f"reduction {kind} is not supported")
    return x.scatter_reduce(axis, index, updates, how[kind])


@operator("Expand")
def expand(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    """Broadcasts to a shape; a 1 there keeps what is there."""
    wanted = numbers(shape) or []
    bounded(*torch.broadcast_shapes(x.shape, [min(size, LARGEST + 1) for size in wanted]))
    return (
        x * torch.ones(wanted, dtype=x.dtype, device=x.device)
        if x.dtype != torch.bool
        else x & torch.ones(wanted, dtype=torch.bool, device=x.device)
    )


@operator("Tile")
def tile(node: Node, x: Tensor, repeats: Tensor) -> Tensor:
    """Repeats along each dimension."""
    times = numbers(repeats) or []
    if len(times) != x.dim():
        raise ValueError(f"it repeats {len(times)} dimensions of {x.dim()}")
    bounded(*times, *x.shape)
    return x.repeat(times)


@operator("Shape")
def shape(node: Node, x: Tensor) -> Tensor:
    """The sizes, from `start` to `end`; on the CPU, where shapes are computed."""
    return torch.tensor(list(x.shape)[node.get("start", 0) : node.get("end")], dtype=torch.int64)


@operator("Size")
def size(node: Node, x: Tensor) -> Tensor:
    """The number of elements."""
    return torch.tensor(x.numel(), dtype=torch.int64)


@operator("Constant")
def constant(node: Node) -> Tensor:
    """A tensor among the attributes, or one of plain numbers."""
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        value = node.get(name)
        if value is not None:
            return value if isinstance(value, Tensor) else torch.tensor(value)
    raise ValueError("a constant without a number in it")


@operator("ConstantOfShape")
def constant_of_shape(node: Node, shape: Tensor) -> Tensor:
    """One value everywhere."""
    value = node.get("value")
    value = torch.zeros(1) if value is None else value
    sizes = numbers(shape) or []
    bounded(*sizes)
    return value.reshape(()).expand(sizes).clone()


@operator("Range")
def arange(node: Node, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """Evenly spaced numbers."""
    first, last, step = start.item(), limit.item(), delta.item()
    if not all(map(math.isfinite, (first, last, step))) or not step:
        raise ValueError(f"no range goes from {first} to {last} by {step}")
    bounded(max(0, math.ceil((last - first) / step)))
    return torch.arange(first, max(first, last) if step > 0 else min(first, last), step, dtype=start.dtype)


@operator("NonZero")
def non_zero(node: Node, x: Tensor) -> Tensor:
    """Indices, a row a dimension."""
    return x.nonzero().T


@operator("OneHot")
def one_hot(node: Node, index: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    """`values` are off and on."""
    count = int(depth.reshape(-1)[0])
    bounded(*index.shape, count)
    off, on = values.unbind()
    places = torch.arange(count, device=index.device)
    hot = (torch.remainder(index, count).to(torch.int64)[..., None] == places).movedim(-1, node.get("axis", -1))
    return torch.where(hot, on, off)


@operator("Trilu")
def trilu(node: Node, x: Tensor, k: Tensor | None = None) -> Tensor:
    """The upper triangle, or the lower."""
    diagonal = 0 if k is None else int(k)
    return x.triu(diagonal) if node.get("upper", 1) else x.tril(diagonal)


@operator("EyeLike")
def eye_like(node: Node, x: Tensor) -> Tensor:
    """Ones on a diagonal."""
    return torch.ones_like(x).triu(node.get("k", 0)).tril(node.get("k", 0))


@operator("DepthToSpace")
def depth_to_space(node: Node, x: Tensor) -> Tensor:
    """Channels into blocks of pixels, in one of two orders."""
    count, channels, height, width = x.shape
    block = node.get("blocksize")
    if node.get("mode", "DCR") == "DCR":
        parts = x.reshape(count, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(count, channels // block**2, block, block, height, width).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(count, channels // block**2, height * block, width * block)


@operator("SpaceToDepth")
def space_to_depth(node: Node, x: Tensor) -> Tensor:
    """Blocks of pixels into channels."""
    count, channels, height, width = x.shape
    block = node.get("blocksize")
    parts = x.reshape(count, channels, height // block, block, width // block, block).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(count, channels * block**2, height // block, width // block)
