"""Sharpness-aware fine-tuning (FT-SAM, Zhu et al. 2023, arXiv 2304.11823, sec. 3.3).

Each gradient is taken where the weights, moved a little in proportion to their size, do worst (SAM, Foret et al. 2021,
arXiv 2010.01412, in the scale-free form of Kwon et al. 2021, arXiv 2102.11600). That changes large weights most, and
those of a backdoor's neurons tend to be large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ..exposers.common import trainable_parameters
from .common import CopyRemover, Repairing
from .losses import LOSS_DESCRIPTION, LOSSES, LossName
from .tuning import Training, on_labels, train

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .tuning import Inputs


class SharpnessAwareTuning(CopyRemover):
    """SGD with the gradient of the worst weights nearby."""

    id: ClassVar[str] = "sharpness-aware"
    title: ClassVar[str] = "Sharpness-aware fine-tuning"

    def __init__(
        self,
        *,
        epochs: Annotated[int, Field(ge=1, le=1000, description="passes over the samples")] = 20,
        learning_rate: Annotated[float, Field(gt=0, le=1, description="of SGD, at the start")] = 0.02,
        radius: Annotated[float, Field(gt=0, le=100, description="how far the worst weights are looked for")] = 1.0,
        adaptive: Annotated[bool, Field(description="weights move in proportion to their size")] = True,
        batch_size: Annotated[int, Field(ge=2, le=4096, description="samples a step")] = 32,
        shift: Annotated[
            float, Field(ge=0, le=0.5, description="pictures are moved by up to this share of their sides")
        ] = 0.1,
        loss: Annotated[LossName, Field(description=LOSS_DESCRIPTION)] = "cross-entropy",
    ) -> None:
        self.training = Training(epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, shift=shift)
        self.radius = radius
        self.adaptive = adaptive
        self.loss: LossName = loss

    def __repr__(self) -> str:
        return (
            f"SharpnessAwareTuning(epochs={self.training.epochs}, radius={self.radius}, adaptive={self.adaptive}, "
            f"loss={self.loss!r})"
        )

    def _repair(self, run: Repairing) -> str:
        import torch

        module = run.repaired.module
        parameters = trainable_parameters(module)
        at_weights = on_labels(run.repaired, LOSSES[self.loss])

        def backward(inputs: Inputs, labels: Tensor) -> float:
            loss = at_weights(inputs, labels)
            kept = [parameter.detach().clone() for parameter in parameters]
            with torch.no_grad():
                self._climb(parameters)
            module.zero_grad(set_to_none=True)
            at_weights(inputs, labels)
            with torch.no_grad():
                for parameter, value in zip(parameters, kept, strict=True):
                    parameter.copy_(value)
            return loss

        train(run, self.training, backward)
        return f"trained on {len(run.part)} clean samples for {self.training.epochs} epochs, radius {self.radius:g}"

    def _climb(self, parameters: list[nn.Parameter]) -> None:
        """To the worst weights within the radius, to first order; gradients are in `.grad`."""
        import torch

        moved = [
            (p, p.abs() if self.adaptive else torch.ones_like(p), p.grad) for p in parameters if p.grad is not None
        ]
        if not moved:
            return
        norm = torch.stack([(scale * slope).norm() for _, scale, slope in moved]).norm()
        for parameter, scale, slope in moved:
            parameter.add_(scale.square() * slope * (self.radius / (norm + 1e-12)))
