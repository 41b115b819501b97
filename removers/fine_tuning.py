"""Fine-tuning on clean samples: what every other way of removing a backdoor is held against.

Liu et al. 2018 (arXiv 1805.12185, sec. III-C) tried it first, and saw that a backdoor may well survive it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from .common import CopyRemover, Repairing
from .losses import LOSS_DESCRIPTION, LOSSES, LossName
from .tuning import Training, on_labels, train


class FineTuning(CopyRemover):
    """SGD on the exposure samples and their labels."""

    id: ClassVar[str] = "fine-tuning"
    title: ClassVar[str] = "Fine-tuning"

    def __init__(
        self,
        *,
        epochs: Annotated[int, Field(ge=1, le=1000, description="passes over the samples")] = 20,
        learning_rate: Annotated[float, Field(gt=0, le=1, description="of SGD, at the start")] = 0.02,
        momentum: Annotated[float, Field(ge=0, lt=1, description="of SGD")] = 0.9,
        batch_size: Annotated[int, Field(ge=2, le=4096, description="samples a step")] = 32,
        shift: Annotated[
            float, Field(ge=0, le=0.5, description="pictures are moved by up to this share of their sides")
        ] = 0.1,
        loss: Annotated[LossName, Field(description=LOSS_DESCRIPTION)] = "cross-entropy",
    ) -> None:
        self.training = Training(
            epochs=epochs, learning_rate=learning_rate, momentum=momentum, batch_size=batch_size, shift=shift
        )
        self.loss: LossName = loss

    def __repr__(self) -> str:
        training = self.training
        return f"FineTuning(epochs={training.epochs}, learning_rate={training.learning_rate}, loss={self.loss!r})"

    def _repair(self, run: Repairing) -> str:
        train(run, self.training, on_labels(run.repaired, LOSSES[self.loss]))
        return f"trained on {len(run.part)} clean samples for {self.training.epochs} epochs"
