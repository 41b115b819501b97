"""Universal triggers that are kept alive while a model unlearns them: a few parameters each, one a row.

The kinds are those that detection searches (`checks.trigger_families`); each row leads to a label and starts elsewhere,
so that several rows toward one label find different triggers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks.trigger_families import FAMILIES, Family
from ..checks.trigger_inversion import wanted_labels

# Largest size of a trigger, in the unit of its family; above it a trigger is drawn back.
BUDGETS = {"patch": 0.06, "blend": 0.5, "filter": 0.15, "warp": 0.08}
_DRAWN_BACK = 30.0
_RATES = {"patch": 0.3, "blend": 3e-3, "filter": 0.05, "warp": 0.01}
_SPREADS = {"patch": 1.0, "blend": 3e-3, "filter": 0.1, "warp": 0.02}


class Triggers:
    """Triggers of one family, one for each of `labels` (or NEXT), that climb toward their labels."""

    def __init__(
        self, family: str, labels: Tensor, shape: tuple[int, ...], device: str, generator: torch.Generator
    ) -> None:
        self.family, self.labels = family, labels
        self._rows: Family = FAMILIES[family](len(labels), shape, device, generator)
        with torch.no_grad():
            for parameter in self._rows.parameters:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(_SPREADS[family] * noise.to(parameter.device))
            if family == "patch":
                self._rows.parameters[0].add_(_spots(len(labels), shape, generator).to(device))
        self._optimizer = torch.optim.Adam(self._rows.parameters, lr=_RATES[family], betas=(0.5, 0.9))

    @property
    def parameters(self) -> list[Tensor]:
        """Each with the row as first dimension."""
        return self._rows.parameters

    def apply(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Triggered pixels [rows, N, channels, H, W] of clean ones, and what each row is above its size: [rows]."""
        triggered = self._rows.apply(pixels)
        return triggered, (self._rows.size(pixels, triggered) / BUDGETS[self.family] - 1).clamp(min=0)

    def loss(self, logits: Tensor, truth: Tensor, excess: Tensor) -> Tensor:
        """What the triggers lower: `logits` [rows, N, C] of triggered samples whose true labels are `truth`."""
        wanted = wanted_labels(self.labels[:, None], truth, logits.shape[2]).to(logits.device)
        misses = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape)
        return misses.mean(1).sum() + _DRAWN_BACK * excess.sum()

    def step(self, gradients: tuple[Tensor, ...]) -> None:
        """One step of Adam."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()


def _spots(rows: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Somewhere to start for each patch, as what is added to its mask's logits: [rows, 1, H, W]."""
    height, width = shape[1:]
    middle = torch.rand(2, rows, 1, 1, 1, generator=generator)
    down = (torch.linspace(0, 1, height)[:, None] - middle[0]) ** 2
    across = (torch.linspace(0, 1, width)[None] - middle[1]) ** 2
    return 3 * torch.exp(-32 * (down + across)) - 1.5
