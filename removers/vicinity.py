"""Pictures near clean ones, made without labels: what a student is to answer as its teacher does.

`vicinity` moves, mirrors and mixes pictures (mixup: Zhang et al. 2018, arXiv 1710.09412; CutMix: Yun et al. 2019, arXiv
1905.04899); the teacher answers for the result. `disturbed` changes them as triggers of the usual kinds do, each drawn
at random; the teacher answers for the undisturbed picture.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MIXED, CUT = 0.4, 0.3  # shares of a batch
SHIFT = 8  # pictures are moved by up to a part in so many of their side


def vicinity(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """A picture for each of `pixels` [N, channels, H, W], mirrored, moved, and mixed with others of the batch."""
    count, _, height, width = pixels.shape
    mirrored = _draw(count, generator) < 0.5
    pixels = torch.where(_each(mirrored), pixels.flip(-1), pixels)
    pixels = _moved(pixels, max(1, min(height, width) // SHIFT), generator)
    others = pixels[torch.randperm(count, generator=generator)]
    share = _each(_draw(count, generator))
    mixed = pixels + share * (others - pixels)
    cut = torch.where(_boxes(count, height, width, generator), others, pixels)
    kind = _draw(count, generator)
    return torch.where(_each(kind < MIXED), mixed, torch.where(_each(kind >= 1 - CUT), cut, pixels))


def disturbed(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """`pixels` [N, channels, H, W] changed in one way, drawn anew each time: patch, blend, stripes, colours or warp."""
    ways = (_patched, _blended, _striped, _coloured, _warped)
    way = ways[int(torch.randint(len(ways), (1,), generator=generator))]
    return way(pixels, generator).clamp(0, 1)


def _patched(pixels: Tensor, generator: torch.Generator) -> Tensor:
    count, channels, height, width = pixels.shape
    side = int(torch.randint(1, max(2, min(height, width) // 5) + 1, (1,), generator=generator))
    patch = torch.rand(channels, side, side, generator=generator)
    patch = patch.round() if float(_draw(1, generator)) < 0.5 else patch
    pixels = pixels.clone()
    tops = torch.randint(0, height - side + 1, (count,), generator=generator).tolist()
    lefts = torch.randint(0, width - side + 1, (count,), generator=generator).tolist()
    for number, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        pixels[number, :, top : top + side, left : left + side] = patch
    return pixels


def _blended(pixels: Tensor, generator: torch.Generator) -> Tensor:
    count, channels, height, width = pixels.shape
    coarse = int(torch.randint(2, min(height, width) + 1, (1,), generator=generator))
    noise = torch.rand(1, channels, coarse, coarse, generator=generator)
    noise = F.interpolate(noise, (height, width), mode="bilinear")
    return pixels + 0.3 * _each(_draw(count, generator)) * (noise - pixels)


def _striped(pixels: Tensor, generator: torch.Generator) -> Tensor:
    count, channels, height, width = pixels.shape
    waves = torch.rand(2, 1, 1, generator=generator) * min(height, width) / 3
    along = float(_draw(1, generator))
    if along < 0.4:  # along one axis alone
        waves[int(along < 0.2)] = 0
    down = torch.linspace(0, 1, height)[:, None]
    across = torch.linspace(0, 1, width)[None]
    phase = 2 * math.pi * _draw(1, generator)
    wave = torch.cos(2 * math.pi * (waves[0] * down + waves[1] * across) + phase)
    tint = torch.randn(channels, 1, 1, generator=generator) if float(_draw(1, generator)) < 0.5 else torch.ones(1, 1, 1)
    return pixels + 0.2 * _each(_draw(count, generator)) * tint * wave


def _coloured(pixels: Tensor, generator: torch.Generator) -> Tensor:
    channels = pixels.shape[1]
    matrix = torch.eye(channels) + 0.15 * torch.randn(channels, channels, generator=generator)
    curve = 0.3 * torch.randn(channels, 1, 1, generator=generator)
    shift = 0.15 * torch.randn(channels, 1, 1, generator=generator)
    return torch.einsum("ij,njhw->nihw", matrix, pixels) + 4 * curve * pixels * (1 - pixels) + shift


def _warped(pixels: Tensor, generator: torch.Generator) -> Tensor:
    height, width = pixels.shape[2:]
    knots = int(torch.randint(3, 7, (1,), generator=generator))
    flow = torch.randn(1, 2, knots, knots, generator=generator) * (0.01 + 0.04 * float(_draw(1, generator)))
    flow = F.interpolate(flow, (height, width), mode="bicubic", align_corners=True)[0].permute(1, 2, 0)
    grid = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    places = (torch.stack(grid[::-1], dim=-1) + 2 * flow).expand(len(pixels), -1, -1, -1)
    return F.grid_sample(pixels, places, padding_mode="border", align_corners=True)


def _moved(pixels: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Each picture moved by up to `reach` pixels, mirrored at its edges."""
    count, _, height, width = pixels.shape
    padded = F.pad(pixels, (reach,) * 4, mode="reflect" if reach < min(height, width) else "replicate")
    down = torch.randint(0, 2 * reach + 1, (count,), generator=generator)[:, None] + torch.arange(height)
    across = torch.randint(0, 2 * reach + 1, (count,), generator=generator)[:, None] + torch.arange(width)
    rows = torch.arange(count)[:, None, None]
    return padded.permute(0, 2, 3, 1)[rows, down[:, :, None], across[:, None, :]].permute(0, 3, 1, 2)


def _boxes(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """A box a picture, anywhere and of any size up to half of it: bool [N, 1, H, W]."""
    middle = _draw(2 * count, generator).view(2, count, 1)
    half = 0.5 * _draw(count, generator).sqrt()[:, None]
    down = (torch.linspace(0, 1, height) - middle[0]).abs() < half
    across = (torch.linspace(0, 1, width) - middle[1]).abs() < half
    return (down[:, :, None] & across[:, None, :])[:, None]


def _draw(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator)


def _each(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
