"""The channels that pruning and perturbation work on, found by the names of parameters.

Names, not classes of modules: so it works on TorchScript and exported graphs as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class ChannelLayer:
    """A layer with one row of `weight` [C, ...] and one entry of `bias` [C] a channel."""

    name: str
    weight: nn.Parameter
    bias: nn.Parameter | None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Weight and, where there is one, bias."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def normalises(self) -> bool:
        """Scale and shift of a normalisation layer."""
        return self.weight.ndim == 1


def channel_layers(module: nn.Module) -> list[ChannelLayer]:
    """The layers whose channels can be scaled one by one, in the order of the parameters.

    Scale and shift of the normalisation layers where a network has them: a scale on the convolution before would
    be divided out again. Else all linear and convolution layers but the last, which is the classes' own.
    """
    found: dict[str, dict[str, nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        layer, _, kind = name.rpartition(".")
        if parameter.is_floating_point() and parameter.ndim:
            found.setdefault(layer, {})[kind] = parameter
    layers = [
        ChannelLayer(name, kinds["weight"], _bias(kinds["weight"], kinds.get("bias")))
        for name, kinds in found.items()
        if "weight" in kinds
    ]
    # A one-dimensional weight without a bias is more often PReLU's slope than a normalisation's scale.
    normalising = [layer for layer in layers if layer.normalises and layer.bias is not None]
    return normalising or [layer for layer in layers if not layer.normalises][:-1]


def _bias(weight: Tensor, bias: nn.Parameter | None) -> nn.Parameter | None:
    return bias if bias is not None and bias.shape == weight.shape[:1] else None


def by_channel(values: Tensor) -> Tensor:
    """Sums [C, ...] over everything but the channel: [C]."""
    return values.flatten(1).sum(1) if values.ndim > 1 else values


def as_rows(scale: Tensor, values: Tensor) -> Tensor:
    """`scale` [C] in a shape that multiplies `values` [C, ...]."""
    return scale.view(-1, *[1] * (values.ndim - 1))
