"""Factors on channels, learned while the weights stay: what pruning by a learned mask stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exposers.channels import ChannelLayer, as_rows, by_channel

if TYPE_CHECKING:
    from torch import Tensor


class Factors:
    """One factor a channel on the weights [C, ...] and one on the biases [C] of layers, written into them."""

    def __init__(self, layers: list[ChannelLayer]) -> None:
        self._layers = [(layer, [p.detach().clone() for p in layer.parameters]) for layer in layers]
        self._sizes = [len(layer) for layer in layers]

    def write(self, weights: Tensor, biases: Tensor) -> None:
        """Multiply the original values by factors [all channels, layer by layer]."""
        import torch

        with torch.no_grad():
            parts = zip(self._layers, weights.split(self._sizes), biases.split(self._sizes), strict=True)
            for (layer, originals), weight, bias in parts:
                for parameter, original, factor in zip(layer.parameters, originals, (weight, bias), strict=False):
                    parameter.copy_(original * as_rows(factor.to(original), original))

    def slopes(self) -> tuple[Tensor, Tensor]:
        """The loss's derivatives in both factors [all channels], from the gradients in `.grad`, on the CPU."""
        import torch

        weights, biases = [], []
        for layer, originals in self._layers:
            own = [
                torch.zeros(len(layer)) if p.grad is None else by_channel(original * p.grad).cpu()
                for p, original in zip(layer.parameters, originals, strict=True)
            ]
            weights.append(own[0])
            biases.append(own[1] if len(own) > 1 else torch.zeros(len(layer)))
        return torch.cat(weights), torch.cat(biases)
