"""The least part of each picture that keeps the model's answer: small where a trigger alone decides.

Cognitive Distillation (Huang et al., ICLR 2023, "Distilling Cognitive Backdoor Patterns within an Image", arXiv
2301.10908, section 3.1, equations 1 and 2): a mask m in 0..1 minimises

    |f(x) - f(x m + (1 - m) delta)|_1 + alpha |m|_1 + beta TV(m)

where delta is a random colour a step, and the size of m tells how much of the picture the answer rests on. What differs
from the paper: the mask has a few cells a side instead of one a pixel, so that twenty steps are enough; both the
distance of the scores and the size are relative (to the model's usual scores and to the picture), so that one alpha
serves every model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..evidence.at_once import pictures_at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from ..evidence.classifier import Classifier

_START = 1.0  # where the masks start, before the sigmoid
_STEEP = 2.0  # of the sigmoid: masks come near to 0 and 1 in few steps
_RATE = 0.3
_BETAS = (0.1, 0.1)  # hardly any memory: the background is another one at every step


@dataclass(frozen=True)
class Distillation:
    """How masks are made."""

    steps: int = 20
    cells: int = 16  # of the mask, on each side; fewer where the picture has fewer pixels
    alpha: float = 2.0  # weight of the mask's size
    beta: float = 0.5  # weight of its total variation
    batch_size: int = 128  # less of large pictures, see at_once.py


def distil(
    classifier: Classifier,
    pixels: Tensor,
    scores: Tensor,
    how: Distillation,
    *,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Masks, float [N, 1, cells, cells] in 0..1 on the CPU, of `pixels` [N, channels, H, W] with `scores` [N, C].

    Raises RuntimeError where the model passes no gradient on to its input. The model is not changed.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    usual = (scores - scores.mean(dim=1, keepdim=True)).abs().sum(dim=1).mean().clamp(min=1e-6)
    at_once = pictures_at_once(pixels, how.batch_size)
    starts = range(0, len(pixels), at_once)
    masks = []
    for done, start in enumerate(starts, 1):
        end = start + at_once
        some, wanted = pixels[start:end].to(classifier.device), scores[start:end].to(classifier.device)
        masks.append(_masks(classifier, some, wanted / usual.to(some.device), float(usual), how, generator))
        progress(done, len(starts))
    return torch.cat(masks)


def sizes(masks: Tensor) -> Tensor:
    """The share, 0..1, of the picture that each mask keeps: float [N]."""
    return masks.flatten(1).mean(dim=1)


def _masks(
    classifier: Classifier, pixels: Tensor, wanted: Tensor, usual: float, how: Distillation, generator: torch.Generator
) -> Tensor:
    import torch

    count, channels, height, width = pixels.shape
    shape = (count, 1, min(how.cells, height), min(how.cells, width))
    raw = torch.full(shape, _START, device=pixels.device, requires_grad=True)
    optimizer = torch.optim.Adam([raw], _RATE, betas=_BETAS)
    for _ in range(how.steps):
        mask = (_STEEP * raw).sigmoid()
        background = torch.rand((count, channels, 1, 1), generator=generator).to(pixels.device)
        kept = spread(mask, height, width)
        answer = classifier.logits(pixels * kept + (1 - kept) * background) / usual
        distance = (answer - wanted).abs().sum(dim=1)
        loss = (distance + how.alpha * sizes(mask) + how.beta * _variation(mask)).sum()
        # Only the masks' gradient: that of the weights is neither needed nor to be left behind.
        (raw.grad,) = torch.autograd.grad(loss, raw)
        optimizer.step()
    return (_STEEP * raw).sigmoid().detach().cpu()


def spread(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask of cells at the size of the picture, float [N, 1, height, width]."""
    from torch.nn import functional

    if mask.shape[2:] == (height, width):
        return mask
    return functional.interpolate(mask, size=(height, width), mode="bilinear")


def _variation(mask: Tensor) -> Tensor:
    """Mean difference of neighbours, down plus across: float [N]; 0 where there is only one row or column."""
    down = (mask[:, :, 1:] - mask[:, :, :-1]).abs().flatten(1)
    across = (mask[:, :, :, 1:] - mask[:, :, :, :-1]).abs().flatten(1)
    return down.sum(dim=1) / max(1, down.shape[1]) + across.sum(dim=1) / max(1, across.shape[1])
