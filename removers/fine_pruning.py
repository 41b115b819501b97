"""Fine-pruning (Liu et al. 2018, arXiv 1805.12185, sec. III): dormant channels are pruned, then the rest is tuned.

A backdoor uses channels of the last layers that clean samples leave idle. Fine-tuning brings back what the pruning
cost, and reaches backdoors that share their channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ..exposers.channels import ChannelLayer
from .common import CopyRemover, NotApplicable, Repairing
from .features import positive_means, watching
from .losses import LOSS_DESCRIPTION, LOSSES, LossName
from .pruning import layers_of, prune_in_order, switch_off
from .tuning import Training, on_labels, train

if TYPE_CHECKING:
    from torch import Tensor


class FinePruning(CopyRemover):
    """Prunes the least active channels of the last layers while accuracy holds, then fine-tunes."""

    id: ClassVar[str] = "fine-pruning"
    title: ClassVar[str] = "Fine-pruning"

    def __init__(
        self,
        *,
        layers: Annotated[int, Field(ge=1, le=1000, description="how many of the last layers are pruned")] = 1,
        max_drop: Annotated[float, Field(ge=0, le=1, description="accuracy that pruning may cost")] = 0.04,
        epochs: Annotated[int, Field(ge=1, le=1000, description="passes of fine-tuning after it")] = 20,
        learning_rate: Annotated[float, Field(gt=0, le=1, description="of SGD, at the start")] = 0.02,
        batch_size: Annotated[int, Field(ge=2, le=4096, description="samples a step")] = 32,
        shift: Annotated[
            float, Field(ge=0, le=0.5, description="pictures are moved by up to this share of their sides")
        ] = 0.1,
        loss: Annotated[LossName, Field(description=LOSS_DESCRIPTION)] = "cross-entropy",
    ) -> None:
        self.training = Training(epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, shift=shift)
        self.layers = layers
        self.max_drop = max_drop
        self.loss: LossName = loss

    def __repr__(self) -> str:
        return (
            f"FinePruning(layers={self.layers}, max_drop={self.max_drop}, epochs={self.training.epochs}, "
            f"loss={self.loss!r})"
        )

    def _repair(self, run: Repairing) -> str:
        layers = layers_of(run.repaired.module)[-self.layers :]
        gone = prune_in_order(run, layers, _activity(run, layers).argsort(), self.max_drop)
        train(
            run,
            self.training,
            on_labels(run.repaired, LOSSES[self.loss]),
            after_step=lambda: switch_off(layers, gone),
        )
        return (
            f"pruned {int(gone.sum())} of {len(gone)} channels of the last {len(layers)} layers, then trained on "
            f"{len(run.part)} clean samples for {self.training.epochs} epochs"
        )


def _activity(run: Repairing, layers: list[ChannelLayer]) -> Tensor:
    """Mean positive output of every channel over the samples, in units of its layer's mean: layers differ in scale."""
    import torch

    module, inputs = run.repaired.module, run.part.inputs
    sums: dict[str, Tensor] = {}
    with torch.no_grad(), watching(module, [layer.name for layer in layers]) as seen:
        for index in torch.arange(len(inputs)).split(256):
            run.repaired.logits(inputs[index].to(run.repaired.device))
            for layer in layers:
                means = None
                if layer.name in seen:
                    means = positive_means(module.get_submodule(layer.name), seen[layer.name], len(layer))
                if means is None:
                    raise NotApplicable("activations inside this graph cannot be watched")
                sums[layer.name] = sums.get(layer.name, torch.zeros_like(means)) + len(index) * means
    return torch.cat([sums[layer.name] / sums[layer.name].mean().clamp(min=1e-12) for layer in layers])
