"""What removers that prune share: channels switched off in an order, for as long as accuracy allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exposers.channels import ChannelLayer, channel_layers
from .common import NotApplicable, Repairing
from .tuning import accuracy

if TYPE_CHECKING:
    from torch import Tensor, nn

LOOKS = 50  # accuracy is read at most so often


def layers_of(module: nn.Module) -> list[ChannelLayer]:
    """The layers with channels. Raises NotApplicable where there are none."""
    layers = channel_layers(module)
    if not layers:
        raise NotApplicable("the model has no layer whose channels could be pruned")
    return layers


def switch_off(layers: list[ChannelLayer], gone: Tensor) -> None:
    """Zero weight and bias of the channels that the mask [all channels, layer by layer] names."""
    import torch

    with torch.no_grad():
        for layer, part in zip(layers, gone.split([len(layer) for layer in layers]), strict=True):
            for parameter in layer.parameters:
                parameter[part.to(parameter.device)] = 0


def prune_in_order(run: Repairing, layers: list[ChannelLayer], order: Tensor, max_drop: float) -> Tensor:
    """Prune channels of the repaired model in `order` until accuracy has fallen by `max_drop`, less the last ones.

    Args:
        layers: of the repaired model.
        order: indices into all channels of `layers`, layer by layer; channels that it leaves out stay.

    Returns:
        The mask of pruned channels.
    """
    import torch

    part, count = run.part, sum(map(len, layers))
    gone = torch.zeros(count, dtype=torch.bool)
    lowest = accuracy(run.original, part.inputs, part.labels) - max_drop
    kept = [[parameter.detach().clone() for parameter in layer.parameters] for layer in layers]
    steps = order.tensor_split(min(LOOKS, len(order))) if len(order) else ()
    for done, chosen in enumerate(steps):
        tried = gone.clone()
        tried[chosen] = True
        switch_off(layers, tried)
        run.progress("prune", done + 1, len(steps))
        if accuracy(run.repaired, part.inputs, part.labels) < lowest:
            break
        gone = tried
    run.progress("prune", len(steps), len(steps))
    with torch.no_grad():
        for layer, values in zip(layers, kept, strict=True):
            for parameter, value in zip(layer.parameters, values, strict=True):
                parameter.copy_(value)
    switch_off(layers, gone)
    run.metrics["pruned_share"] = float(gone.float().mean())
    return gone
