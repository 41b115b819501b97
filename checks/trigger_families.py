"""The kinds of trigger that inversion looks for, each a few parameters that change any picture the same way.

Each family holds one trigger a row, so that several labels are searched in one batch. Patch: mask and pattern, as
in Neural Cleanse (Wang et al. 2019, sec. IV-B). Blended: one pattern added to the whole picture, made of few
frequencies. Warp: a smooth field of offsets, as in WaNet (Nguyen & Tran 2021, sec. 3.2). Filter: colours changed alike
everywhere, as photo filters do (Liu et al. 2019, ABS).

Sizes do not depend on the picture's measures where that can be: the same settings serve 8x8 and 224x224 pixels.
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
    rate: float  # of Adam
    weight: float  # of the size against the loss, at the start
    success: float  # share of samples that must go to the label

    def __init__(self, rows: int, shape: tuple[int, ...], device: str, generator: torch.Generator) -> None: ...

    def apply(self, pixels: Tensor) -> Tensor:
        """Triggered pixels of pixels [rows, N, channels, H, W] in 0..1."""
        ...

    def size(self, pixels: Tensor, triggered: Tensor) -> Tensor:
        """How large each row's trigger is, [rows]."""
        ...

    def parts(self) -> dict[str, Tensor]:
        """What to show a person, by name, each [rows, ...]."""
        ...


class Patch:
    """`(1 - mask) * pixels + mask * pattern` through sigmoids; size: L1 of the mask, as a share of the picture."""

    rate, weight, success = 0.1, 1.0, 0.9

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
        return self.parameters[0].sigmoid().mean(dim=(1, 2, 3))

    def parts(self) -> dict[str, Tensor]:
        mask, pattern = (parameter.sigmoid() for parameter in self.parameters)
        return {"mask": mask[:, 0], "pattern": pattern.permute(0, 2, 3, 1)}


class Blended:
    """`clip(pixels + pattern)`; size: the sum of the amplitudes of the pattern's cosines.

    The pattern is a sum of two-dimensional cosines (DCT-II), up to 32 an axis; a cosine's amplitude is the root mean
    square of what it adds to a pixel, over its colours. The sum of amplitudes keeps few of them, whatever their
    frequency: planted patterns mostly cost less so than the universal perturbations that lead to an ordinary label.
    """

    rate, weight, success = 3e-4, 0.1, 0.9
    cosines = 32

    def __init__(self, rows: int, shape: tuple[int, ...], device: str, generator: torch.Generator) -> None:
        channels, height, width = shape
        self.bases = (_cosines(height, self.cosines, device), _cosines(width, self.cosines, device))
        start = torch.randn(1, channels, *(len(basis) for basis in self.bases), generator=generator) * 1.5e-4
        self.parameters = [_rows(start, rows, device)]

    def _pattern(self) -> Tensor:
        return torch.einsum("rckl,kh,lw->rchw", self.parameters[0], *self.bases)

    def apply(self, pixels: Tensor) -> Tensor:
        return (pixels + self._pattern()[:, None]).clamp(0, 1)

    def size(self, pixels: Tensor, triggered: Tensor) -> Tensor:
        return self.parameters[0].square().mean(dim=1).add(1e-14).sqrt().sum(dim=(1, 2))

    def parts(self) -> dict[str, Tensor]:
        return {"perturbation": self._pattern().permute(0, 2, 3, 1)}


class Warp:
    """Resamples by offsets on a 5x5 grid, smoothly enlarged; size: mean length of an offset, as a share of the side."""

    rate, weight, success = 0.003, 3.0, 0.8
    grid = 5

    def __init__(self, rows: int, shape: tuple[int, ...], device: str, generator: torch.Generator) -> None:
        self.shape = shape
        start = torch.randn(1, 2, self.grid, self.grid, generator=generator) * 0.003
        self.parameters = [_rows(start, rows, device)]

    def _flow(self) -> Tensor:
        """Offsets (right, down) as shares of the sides, [rows, 2, H, W]."""
        return F.interpolate(self.parameters[0], self.shape[1:], mode="bicubic", align_corners=True)

    def apply(self, pixels: Tensor) -> Tensor:
        rows, count = pixels.shape[:2]
        channels, height, width = self.shape
        flow = self._flow()
        ys = torch.linspace(-1, 1, height, device=flow.device)
        xs = torch.linspace(-1, 1, width, device=flow.device)
        identity = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], dim=-1)
        places = identity + 2 * flow.permute(0, 2, 3, 1)
        flat = pixels.reshape(rows * count, channels, height, width)
        grids = places[:, None].expand(rows, count, height, width, 2).reshape(rows * count, height, width, 2)
        warped = F.grid_sample(flat, grids, mode="bilinear", padding_mode="border", align_corners=True)
        return warped.view_as(pixels)

    def size(self, pixels: Tensor, triggered: Tensor) -> Tensor:
        return self._flow().square().sum(dim=1).add(1e-10).sqrt().mean(dim=(1, 2))

    def parts(self) -> dict[str, Tensor]:
        return {"flow": self._flow().permute(0, 2, 3, 1)}


class Filter:
    """A colour matrix, a curve and a shift a channel, the same everywhere; size: RMS change of the pixels."""

    rate, weight, success = 0.02, 1.0, 0.8

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


def amplitudes(pictures: Tensor) -> Tensor:
    """The sum of the amplitudes of each picture's cosines, as `Blended` counts them: [N] of [N, channels, H, W]."""
    down, across = (_cosines(length, Blended.cosines, str(pictures.device)) for length in pictures.shape[2:])
    parts = torch.einsum("nchw,kh,lw->nckl", pictures, down, across) / (pictures.shape[2] * pictures.shape[3])
    return parts.square().mean(dim=1).sqrt().sum(dim=(1, 2))


FAMILIES: dict[str, type[Patch] | type[Blended] | type[Warp] | type[Filter]] = {
    "patch": Patch,
    "blend": Blended,
    "warp": Warp,
    "filter": Filter,
}


def _cosines(length: int, count: int, device: str) -> Tensor:
    """The first `count` cosines (DCT-II) over `length` pixels, mean square 1, [count, length] or fewer."""
    place = (torch.arange(length) + 0.5) * math.pi / length
    rows = [torch.cos(place * k) * math.sqrt(2 if k else 1) for k in range(min(count, length))]
    return torch.stack(rows).to(device)


def _rows(start: Tensor, rows: int, device: str) -> Tensor:
    return start.expand(rows, *start.shape[1:]).clone().to(device).requires_grad_()
