"""Outputs of layers inside a network, caught by hooks where hooks can be had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def watching(module: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """The last tensor that each named layer gave, in the order they were given; TorchScript has no hooks."""
    import torch

    seen: dict[str, Tensor] = {}
    hooks: list[Any] = []
    for name in names:

        def hook(part: Any, inputs: Any, output: Any, name: str = name) -> None:
            if isinstance(output, torch.Tensor):
                seen.pop(name, None)
                seen[name] = output

        with suppress(AttributeError, RuntimeError):
            hooks.append(module.get_submodule(name).register_forward_hook(hook))
    try:
        yield seen
    finally:
        for registered in hooks:
            registered.remove()


def positive_means(layer: nn.Module, output: Tensor, channels: int) -> Tensor | None:
    """Mean positive output [C] a channel; None where no dimension holds the channels."""
    from torch import nn

    places = (output.ndim - 1, 1) if isinstance(layer, (nn.Linear, nn.LayerNorm)) or output.ndim == 3 else (1,)
    for place in places:
        if output.ndim > place and output.shape[place] == channels:
            return output.detach().relu().movedim(place, 0).flatten(1).mean(1).cpu()
    return None
