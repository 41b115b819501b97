"""Convolutions, pooling, normalisation, resizing: the layers of networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .node import Node, bounded, given, numbers, operator, text

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX: dict[int, Callable[..., Any]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _pads(node: Node, x: Tensor, kernel: list[int], strides: list[int], dilations: list[int]) -> list[tuple[int, int]]:
    """What is added (before, after) each spatial dimension; `auto_pad` as TensorFlow's SAME, the odd one at an end."""
    kind, spatial = text(node.get("auto_pad", "NOTSET")), len(kernel)
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        pads = []
        for size, taps, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
            total = max(0, (-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size)
            small, large = total // 2, total - total // 2
            pads.append((small, large) if kind == "SAME_UPPER" else (large, small))
        return pads
    given = [0] * 2 * spatial if kind == "VALID" else node.get("pads") or [0] * 2 * spatial
    return list(zip(given[:spatial], given[spatial:], strict=True))


def _bounded(x: Tensor, pads: list[tuple[int, int]]) -> None:
    """ValueError where padding makes it too large."""
    first = x.dim() - len(pads)
    grown = [size + before + after for size, (before, after) in zip(x.shape[first:], pads, strict=True)]
    bounded(*x.shape[:first], *grown)


def _pad(x: Tensor, pads: list[tuple[int, int]], value: float = 0.0) -> Tensor:
    flat = [amount for pair in reversed(pads) for amount in pair]
    _bounded(x, pads)
    return F.pad(x, flat, value=value) if any(flat) else x


@operator("Conv")
def conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Of one to three spatial dimensions; uneven padding is added before."""
    kernel = list(weight.shape[2:])
    ones = [1] * len(kernel)
    strides, dilations = node.get("strides") or ones, node.get("dilations") or ones
    pads = _pads(node, x, kernel, strides, dilations)
    even = all(before == after for before, after in pads)
    padding = [before for before, _ in pads] if even else 0
    _bounded(x, pads)
    x = x if even else _pad(x, pads)
    return _CONV[len(kernel)](x, weight, bias, strides, padding, dilations, node.get("group", 1))


@operator("ConvTranspose")
def conv_transpose(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """With explicit padding; what is to be cut off unevenly is cut off after."""
    kernel = list(weight.shape[2:])
    ones = [1] * len(kernel)
    strides, dilations = node.get("strides") or ones, node.get("dilations") or ones
    extra = node.get("output_padding") or [0] * len(kernel)
    pads = node.get("pads") or [0] * 2 * len(kernel)
    if node.get("output_shape") or text(node.get("auto_pad", "NOTSET")) not in ("NOTSET", "VALID"):
        raise ValueError("auto_pad and output_shape are not supported")
    steps = zip(x.shape[2:], strides, dilations, kernel, extra, strict=True)
    sizes = [(size - 1) * stride + dilation * (taps - 1) + 1 + more for size, stride, dilation, taps, more in steps]
    bounded(len(x), weight.shape[1] * node.get("group", 1), *sizes)
    full = _TRANSPOSED[len(kernel)](x, weight, bias, strides, 0, extra, node.get("group", 1), dilations)
    for axis, (before, after) in enumerate(zip(pads[: len(kernel)], pads[len(kernel) :], strict=True), 2):
        full = full.narrow(axis, before, full.shape[axis] - before - after)
    return full


def _pool_shape(node: Node, x: Tensor) -> tuple[list[int], list[int], list[int], list[tuple[int, int]]]:
    kernel = list(node.get("kernel_shape"))
    strides = node.get("strides") or [1] * len(kernel)
    dilations = node.get("dilations") or [1] * len(kernel)
    pads = _pads(node, x, kernel, strides, dilations)
    if node.get("ceil_mode", 0):  # enough at the end for windows that begin inside
        for place, (before, after) in enumerate(pads):
            taps, stride = (kernel[place] - 1) * dilations[place] + 1, strides[place]
            size = x.shape[place + 2] + before + after
            windows = -(-(size - taps) // stride) + 1
            if (windows - 1) * stride >= x.shape[place + 2] + before:
                windows -= 1
            pads[place] = (before, after + max(0, (windows - 1) * stride + taps - size))
    return kernel, strides, dilations, pads


@operator("MaxPool")
def max_pool(node: Node, x: Tensor) -> Tensor:
    """What is padded never wins. The places of the largest are not given."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise ValueError("the second output is not supported")
    kernel, strides, dilations, pads = _pool_shape(node, x)
    x = _pad(x, pads, -torch.inf)
    pooled: Tensor = _MAX[len(kernel)](x, kernel, strides, 0, dilations)
    return pooled


@operator("AveragePool")
def average_pool(node: Node, x: Tensor) -> Tensor:
    """What is padded counts only if the node says so."""
    kernel, strides, dilations, pads = _pool_shape(node, x)
    if any(dilation != 1 for dilation in dilations):
        raise ValueError("dilations are not supported")
    total = _AVERAGE[len(kernel)](_pad(x, pads), kernel, strides)
    inside = torch.ones_like(x[:1, :1])
    if node.get("count_include_pad", 0):
        given = node.get("pads") or [0] * 2 * len(kernel)
        inner = list(zip(given[: len(kernel)], given[len(kernel) :], strict=True))
        outer = [(0, after - kept) for (_, after), (_, kept) in zip(pads, inner, strict=True)]
        inside = _pad(_pad(inside, inner, 1.0), outer) if "pads" in node.attributes else _pad(inside, pads, 1.0)
    else:
        inside = _pad(inside, pads)
    return total / _AVERAGE[len(kernel)](inside, kernel, strides)


@operator("GlobalAveragePool")
def global_average_pool(node: Node, x: Tensor) -> Tensor:
    """Over all spatial dimensions."""
    return x.mean(dim=list(range(2, x.dim())), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(node: Node, x: Tensor) -> Tensor:
    """Over all spatial dimensions."""
    return x.amax(dim=list(range(2, x.dim())), keepdim=True)


def batch_normalization(
    node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, *, training: bool
) -> Tensor:
    """With the statistics of the file; in training with the batch's, which move the others in place."""
    momentum = 1 - node.get("momentum", 0.9)
    return F.batch_norm(x, mean, variance, scale, bias, training, momentum, node.get("epsilon", 1e-5))


@operator("InstanceNormalization")
def instance_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Of each channel of each sample."""
    return F.instance_norm(x, None, None, scale, bias, eps=node.get("epsilon", 1e-5))


@operator("LayerNormalization")
def layer_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """Over the dimensions from `axis` on."""
    return F.layer_norm(x, x.shape[node.get("axis", -1) :], scale, bias, node.get("epsilon", 1e-5))


@operator("RMSNormalization")
def rms_normalization(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    """By the root mean square over the dimensions from `axis` on."""
    return F.rms_norm(x, x.shape[node.get("axis", -1) :], scale, node.get("epsilon", 1e-5))


@operator("GroupNormalization")
def group_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Scale and bias were one a group in opset 18, one a channel since 21."""
    groups = node.get("num_groups")
    if len(scale) != x.shape[1]:
        scale, bias = (part.repeat_interleave(x.shape[1] // groups) for part in (scale, bias))
    return F.group_norm(x, groups, scale, bias, node.get("epsilon", 1e-5))


@operator("MeanVarianceNormalization")
def mean_variance_normalization(node: Node, x: Tensor) -> Tensor:
    """To mean 0 and variance 1 over `axes`."""
    axes = node.get("axes") or [0, 2, 3]
    centred = x - x.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True).sqrt() + 1e-9)


@operator("LRN")
def local_response_normalization(node: Node, x: Tensor) -> Tensor:
    """Over neighbouring channels."""
    return F.local_response_norm(
        x, node.get("size"), node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    )


@operator("LpNormalization")
def lp_normalization(node: Node, x: Tensor) -> Tensor:
    """Divided by its L1 or L2 norm along `axis`."""
    return F.normalize(x, p=node.get("p", 2), dim=node.get("axis", -1), eps=0.0)


@operator("Pad")
def pad(
    node: Node, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    """Adds or (below zero) cuts; amounts are attributes up to opset 10, inputs after."""
    amounts_given = given(node, pads, "pads")
    assert amounts_given is not None
    which = numbers(axes) if axes is not None else list(range(x.dim()))
    assert which is not None
    amounts = [(0, 0)] * x.dim()
    for axis, before, after in zip(which, amounts_given[: len(which)], amounts_given[len(which) :], strict=True):
        amounts[axis] = (before, after)
    mode = text(node.get("mode", "constant"))
    if mode == "constant":
        fill = float(value) if value is not None and value.numel() else node.get("value", 0.0)
        return _pad(x, amounts, fill)
    names = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    spatial = amounts[2:] if x.dim() > 2 else amounts
    if mode not in names or (x.dim() > 2 and any(any(pair) for pair in amounts[:2])):
        raise ValueError(f"mode {mode} on these dimensions is not supported")
    return F.pad(x, [amount for pair in reversed(spatial) for amount in pair], mode=names[mode])
