"""Operators that resize pictures."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .node import Node, bounded, numbers, operator, text

_ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round_prefer_floor": lambda value: torch.ceil(value - 0.5),
    "round_prefer_ceil": lambda value: torch.floor(value + 0.5),
}


@operator("Resize", "Upsample")
def resize(
    node: Node, x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None
) -> Tensor:
    """Nearest, linear or cubic, with the coordinates that torch knows."""
    if node.operator == "Upsample" or node.opset < 11:
        scales = roi if roi is not None else torch.tensor(node.get("scales"))
    mode = text(node.get("mode", "nearest"))
    transform = text(node.get("coordinate_transformation_mode", "half_pixel"))
    if node.operator == "Upsample" or node.opset < 11:
        transform = "asymmetric"
    if sizes is not None and sizes.numel():
        wanted = (numbers(sizes) or [])[-(x.dim() - 2) :] if sizes.numel() >= x.dim() else numbers(sizes) or []
    else:
        assert scales is not None
        factors = scales.tolist()[-(x.dim() - 2) :]
        wanted = [int(size * factor) for size, factor in zip(x.shape[2:], factors, strict=True)]
    bounded(*x.shape[:2], *wanted)
    if mode == "nearest":
        return _nearest(x, wanted, transform, text(node.get("nearest_mode", "round_prefer_floor")))
    if mode == "linear" and transform == "asymmetric":
        return _linear(x, wanted)
    if transform not in ("half_pixel", "pytorch_half_pixel", "align_corners") or x.dim() != 4:
        raise ValueError(f"{mode} with {transform} is not supported")
    kind = {"linear": "bilinear", "cubic": "bicubic"}[mode]
    corners = transform == "align_corners"
    return F.interpolate(x, wanted, mode=kind, align_corners=corners, antialias=bool(node.get("antialias", 0)))


def _linear(x: Tensor, wanted: list[int]) -> Tensor:
    """Corners at zero, as TensorFlow and the first versions of the operator have it."""
    for axis, target in enumerate(wanted, 2):
        source = x.shape[axis]
        place = torch.arange(target, device=x.device) * (source / target)
        low = place.floor().to(torch.int64).clamp(max=source - 1)
        share = (place - low).clamp(max=1).view(-1, *[1] * (x.dim() - axis - 1))
        x = x.index_select(axis, low) * (1 - share) + x.index_select(axis, (low + 1).clamp(max=source - 1)) * share
    return x


def _nearest(x: Tensor, wanted: list[int], transform: str, rounding: str) -> Tensor:
    for axis, target in enumerate(wanted, 2):
        source = x.shape[axis]
        place = torch.arange(target, dtype=torch.float64)
        if transform in ("half_pixel", "pytorch_half_pixel"):
            where = (place + 0.5) * source / target - 0.5
        elif transform == "align_corners":
            where = place * (source - 1) / max(1, target - 1)
        elif transform == "asymmetric":
            where = place * source / target
        else:
            raise ValueError(f"nearest with {transform} is not supported")
        rounded = _ROUNDINGS[rounding](where)
        x = x.index_select(axis, rounded.clamp(0, source - 1).to(torch.int64).to(x.device))
    return x


@operator("GridSample")
def grid_sample(node: Node, x: Tensor, grid: Tensor) -> Tensor:
    """At the places that `grid` gives, -1 to 1."""
    mode = text(node.get("mode", "linear"))
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    padding = text(node.get("padding_mode", "zeros"))
    return F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=bool(node.get("align_corners", 0)))
