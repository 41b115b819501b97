"""Confusion fine-tuning: a few steps on random labels overwrite the clean task (EBYD, arXiv 2410.19427, sec. 3.2).

Random labels say nothing, so what fits them best is to say the same of every sample. On the way there the model
forgets the clean task, while a backdoor, which clean samples do not reach, is meant to stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from .common import CleanTaskStripper, Stripping, strip_by_gradient, trainable_parameters

if TYPE_CHECKING:
    from torch import Tensor


class ConfusionFineTuning(CleanTaskStripper):
    """SGD on random labels until the accuracy on the true ones has fallen to `stop_accuracy`."""

    id: ClassVar[str] = "confusion-fine-tuning"
    title: ClassVar[str] = "Confusion fine-tuning"
    activity: ClassVar[str] = "fine-tuning"

    def __init__(
        self,
        *,
        labels: Annotated[
            Literal["uniform", "redrawn", "fixed"],
            Field(
                description="random labels: drawn once, drawn anew each epoch, or uniform: the mean over all draws, "
                "which is every label at once with equal weight"
            ),
        ] = "uniform",
        learning_rate: Annotated[float, Field(gt=0, le=1, description="SGD learning rate")] = 0.003,
        momentum: Annotated[float, Field(ge=0, lt=1, description="SGD momentum")] = 0.9,
        batch_size: Annotated[int, Field(ge=2, le=4096, description="samples a step")] = 32,
        max_epochs: Annotated[int, Field(ge=1, le=1000, description="passes over the samples before giving up")] = 40,
        stop_accuracy: Annotated[
            float, Field(gt=0, lt=1, description="clean accuracy at which the clean task counts as stripped")
        ] = 0.2,
        clip_norm: Annotated[float, Field(gt=0, description="largest L2 norm of the gradient")] = 20.0,
    ) -> None:
        super().__init__()
        self.labels: Literal["uniform", "redrawn", "fixed"] = labels
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.stop_accuracy = stop_accuracy
        self.clip_norm = clip_norm

    def __repr__(self) -> str:
        return (
            f"ConfusionFineTuning(labels={self.labels!r}, learning_rate={self.learning_rate}, "
            f"stop_accuracy={self.stop_accuracy})"
        )

    def _strip(self, run: Stripping) -> tuple[bool, str]:
        import torch
        import torch.nn.functional as F

        parameters = trainable_parameters(run.exposed.module)
        optimizer = torch.optim.SGD(parameters, self.learning_rate, momentum=self.momentum)
        count, classes = len(run.samples.exposure), run.samples.num_classes
        drawn: dict[int, Tensor] = {}  # labels [N] by the epoch they were drawn in

        def random_labels(epoch: int) -> Tensor:
            if epoch not in drawn:
                drawn.clear()
                generator = torch.Generator().manual_seed((1_000_003 * run.seed + epoch) % 2**63)
                drawn[epoch] = torch.randint(classes, (count,), generator=generator)
            return drawn[epoch]

        def loss_of(logits: Tensor, index: Tensor, epoch: int) -> Tensor:
            if self.labels == "uniform":
                return -F.log_softmax(logits, 1).mean()
            labels = random_labels(epoch if self.labels == "redrawn" else 0)
            return F.cross_entropy(logits, labels[index].to(logits.device))

        def update() -> None:
            torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
            optimizer.step()

        return strip_by_gradient(
            run,
            loss_of,
            update,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            stop_accuracy=self.stop_accuracy,
        )
