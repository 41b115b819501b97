"""Clean Unlearning (CUL): gradient ascent on clean samples (EBYD, arXiv 2410.19427, sec. 3.2).

Ascent on the cross-entropy of a few hundred clean samples strips the clean task. A backdoor has weights of its
own, is not touched by clean samples, and is what is left: predictions collapse onto its target label. BatchNorm
works on batch statistics meanwhile; with running statistics the collapse goes to an arbitrary class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from .common import CleanTaskStripper, Stripping, strip_by_gradient, trainable_parameters

if TYPE_CHECKING:
    from torch import Tensor


TEXT_NORM = 1.0  # L2 of every gradient
ABOVE_CHANCE = 0.1


class CleanUnlearning(CleanTaskStripper):
    """SGD ascent until the accuracy on the exposure samples has fallen to `stop_accuracy`."""

    id: ClassVar[str] = "clean-unlearning"
    title: ClassVar[str] = "Clean unlearning"
    activity: ClassVar[str] = "unlearning"

    def __init__(
        self,
        *,
        learning_rate: Annotated[float, Field(gt=0, le=1, description="SGD learning rate")] = 0.01,
        momentum: Annotated[float, Field(ge=0, lt=1, description="SGD momentum")] = 0.9,
        batch_size: Annotated[int, Field(ge=2, le=4096, description="samples a step")] = 32,
        max_epochs: Annotated[int, Field(ge=1, le=1000, description="passes over the samples before giving up")] = 20,
        stop_accuracy: Annotated[
            float, Field(gt=0, lt=1, description="clean accuracy at which the clean task counts as stripped")
        ] = 0.2,
        clip_norm: Annotated[float, Field(gt=0, description="largest L2 norm of the gradient")] = 20.0,
    ) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.stop_accuracy = stop_accuracy
        self.clip_norm = clip_norm

    def __repr__(self) -> str:
        return f"CleanUnlearning(learning_rate={self.learning_rate}, stop_accuracy={self.stop_accuracy})"

    def _strip(self, run: Stripping) -> tuple[bool, str]:
        import torch
        import torch.nn.functional as F

        labels = run.samples.exposure.labels
        parameters = trainable_parameters(run.exposed.module)
        of_texts = run.exposed.codec is not None
        optimizer = torch.optim.SGD(parameters, self.learning_rate, momentum=self.momentum)

        # Without BatchNorm a classifier that has forgotten its task gives one answer, and is right by chance.
        floor = 1 / run.samples.num_classes + ABOVE_CHANCE

        def loss_of(logits: Tensor, index: Tensor, epoch: int) -> Tensor:
            return -F.cross_entropy(logits, labels[index].to(logits.device))

        def update() -> None:
            norm = torch.nn.utils.clip_grad_norm_(parameters, TEXT_NORM if of_texts else self.clip_norm)
            if of_texts and 0 < norm < TEXT_NORM:  # a classifier that is sure of everything has hardly any gradient
                for parameter in parameters:
                    if parameter.grad is not None:
                        parameter.grad.mul_(TEXT_NORM / float(norm))  # a number, for any device of a group
            optimizer.step()

        return strip_by_gradient(
            run,
            loss_of,
            update,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            stop_accuracy=max(self.stop_accuracy, floor) if of_texts else self.stop_accuracy,
        )
