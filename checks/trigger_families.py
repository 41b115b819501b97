"""The kinds of trigger that inversion looks for, each a few parameters that change any picture the same way.

Each family holds one trigger a row, so that several labels are searched in one batch. Patch: mask and pattern, as
in Neural Cleanse (Wang et al. 2019, sec. IV-B). Blended: one smooth pattern added to the whole picture. Warp: a smooth
field of offsets, as in WaNet (Nguyen & Tran 2021, sec. 3.2). Filter: colours changed alike everywhere, as photo filters
do (Liu et al. 2019, ABS).
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Family(Protocol):
    """Rows of triggers of one kind; `parameters` have the row as first dimension."""

    parameters: list[Tensor]

    def __init__(self, rows: int, shape: tuple[int, ...], device: str, generator: torch.Generator) -> None: ...

    def apply(self, pixels: Tensor) -> Tensor:
        """Triggered pixels of pixels [rows, N, channels, H, W] in 0..1."""
        ...

    def size(self, pixels: Tensor, triggered: Tensor) -> Tensor:
        """How large each row's trigger is, [rows]; the unit is the family's."""
        ...

    def parts(self) -> dict[str, Tensor]:
        """What to show a person, by name, each [rows, ...]."""
        ...


class Patch:
    """`(1 - mask) * pixels + mask * pattern` through sigmoids; size: L1 of the mask in pixels."""

    rate, weight = 0.1, 1e-3

    def __init__(self, rows: int, shape: tuple[int, ...], device: str, generator: torch.Generator) -> None:
        channels, height, width = shape
        # One draw for all rows: the sizes of labels are compared, so all start alike.
        mask = torch.randn(1, 1, height, width, generator=generator) * 0.1 - 1.0
        pattern = torch.randn(1, channels, height, width, generator=generator) * 0.1
        self.parameters = [_rows(mask, rows, device), _rows(pattern, rows, device)]

    def apply(self, pixels: Tensor) -> Tensor:
        mask, pattern = (parameter.sigmoid()[:, None] for parameter in self.parameters)
        return pixels + mask * (pattern - pixels)

    def size(self, pixels: Tensor, triggered: Tensor) -> Tensor:
        return self.parameters[0].sigmoid().sum(dim=(1, 2, 3))

    def parts(self) -> dict[str, Tensor]:
        mask, pattern = (parameter.sigmoid() for parameter in self.parameters)
        return {"mask": mask[:, 0], "pattern": pattern.permute(0, 2, 3, 1)}


class Blended:
    """`clip(pixels + pattern)`, the pattern of low frequency; size: L2 of the pattern in units of 0..1.

    The pattern is a sum of the lowest 8x8 cosines a channel. With all frequencies ordinary labels are reached by
    universal perturbations that are smaller than a planted pattern; measured on the zoo's choosing half, the target's
    lead over them is larger without the high ones, for patterns of noise too.
    """

    rate, weight = 0.03, 1e-2
    cosines = 8

    def __init__(self, rows: int, shape: tuple[int, ...], device: str, generator: torch.Generator) -> None:
        channels, height, width = shape
        self.bases = (_cosines(height, self.cosines, device), _cosines(width, self.cosines, device))
        start = torch.randn(1, channels, *(len(basis) for basis in self.bases), generator=generator) * 0.02
        self.parameters = [_rows(start, rows, device)]

    def _pattern(self) -> Tensor:
        return torch.einsum("rckl,kh,lw->rchw", self.parameters[0], *self.bases)

    def apply(self, pixels: Tensor) -> Tensor:
        return (pixels + self._pattern()[:, None]).clamp(0, 1)

    def size(self, pixels: Tensor, triggered: Tensor) -> Tensor:
        return self.parameters[0].square().sum(dim=(1, 2, 3)).add(1e-12).sqrt()  # the cosines are orthonormal

    def parts(self) -> dict[str, Tensor]:
        return {"perturbation": self._pattern().permute(0, 2, 3, 1)}


class Warp:
    """Resamples by offsets on a 5x5 grid, smoothly enlarged; size: mean length of an offset in pixels."""

    rate, weight = 0.1, 1e-1
    grid = 5

    def __init__(self, rows: int, shape: tuple[int, ...], device: str, generator: torch.Generator) -> None:
        self.shape = shape
        start = torch.randn(1, 2, self.grid, self.grid, generator=generator) * 0.1
        self.parameters = [_rows(start, rows, device)]

    def _flow(self) -> Tensor:
        """Offsets (right, down) in pixels, [rows, 2, H, W]."""
        return F.interpolate(self.parameters[0], self.shape[1:], mode="bicubic", align_corners=True)

    def apply(self, pixels: Tensor) -> Tensor:
        rows, count = pixels.shape[:2]
        channels, height, width = self.shape
        flow = self._flow()
        scale = flow.new_tensor([2 / max(1, width - 1), 2 / max(1, height - 1)]).view(1, 2, 1, 1)
        ys = torch.linspace(-1, 1, height, device=flow.device)
        xs = torch.linspace(-1, 1, width, device=flow.device)
        identity = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], dim=-1)
        places = identity + (flow * scale).permute(0, 2, 3, 1)
        flat = pixels.reshape(rows * count, channels, height, width)
        grids = places[:, None].expand(rows, count, height, width, 2).reshape(rows * count, height, width, 2)
        warped = F.grid_sample(flat, grids, mode="bilinear", padding_mode="border", align_corners=True)
        return warped.view_as(pixels)

    def size(self, pixels: Tensor, triggered: Tensor) -> Tensor:
        return self._flow().square().sum(dim=1).add(1e-8).sqrt().mean(dim=(1, 2))

    def parts(self) -> dict[str, Tensor]:
        return {"flow": self._flow().permute(0, 2, 3, 1)}


class Filter:
    """A colour matrix, a curve and a shift a channel, the same everywhere; size: RMS change of the pixels."""

    rate, weight = 0.02, 1.0

    def __init__(self, rows: int, shape: tuple[int, ...], device: str, generator: torch.Generator) -> None:
        channels = shape[0]
        matrix = torch.randn(1, channels, channels, generator=generator) * 0.02
        curve, shift = (torch.randn(1, channels, 1, 1, generator=generator) * 0.02 for _ in range(2))
        self.parameters = [_rows(part, rows, device) for part in (matrix, curve, shift)]

    def apply(self, pixels: Tensor) -> Tensor:
        matrix, curve, shift = self.parameters
        mixed = pixels + torch.einsum("rij,rnjhw->rnihw", matrix, pixels)
        return (mixed + curve[:, None] * 4 * pixels * (1 - pixels) + shift[:, None]).clamp(0, 1)

    def size(self, pixels: Tensor, triggered: Tensor) -> Tensor:
        return (triggered - pixels).square().mean(dim=(1, 2, 3, 4)).add(1e-8).sqrt()

    def parts(self) -> dict[str, Tensor]:
        matrix, curve, shift = self.parameters
        return {"matrix": matrix, "curve": curve[:, :, 0, 0], "shift": shift[:, :, 0, 0]}


FAMILIES: dict[str, type[Patch] | type[Blended] | type[Warp] | type[Filter]] = {
    "patch": Patch,
    "blend": Blended,
    "warp": Warp,
    "filter": Filter,
}


def _cosines(length: int, count: int, device: str) -> Tensor:
    """The first `count` orthonormal cosines (DCT-II) over `length` pixels, [count, length]; fewer if it is shorter."""
    place = (torch.arange(length) + 0.5) * math.pi / length
    rows = [torch.cos(place * k) * math.sqrt((2 if k else 1) / length) for k in range(min(count, length))]
    return torch.stack(rows).to(device)


def _rows(start: Tensor, rows: int, device: str) -> Tensor:
    return start.expand(rows, *start.shape[1:]).clone().to(device).requires_grad_()
