"""Neural attention distillation (NAD, Li et al. 2021, arXiv 2101.05930, sec. 3).

A fine-tuned copy is the teacher. The model is tuned on the same samples while its attention, the mean square over the
channels of what a layer gives, is drawn to the teacher's.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ..exposers.common import training_mode
from .common import CopyRemover, NotApplicable, Repairing
from .features import watching
from .losses import LOSS_DESCRIPTION, LOSSES, LossName
from .tuning import Training, on_labels, train

if TYPE_CHECKING:
    from torch import Tensor

    from ..evidence.classifier import Classifier
    from .tuning import Inputs


class AttentionDistillation(CopyRemover):
    """Fine-tuning that follows the attention of a teacher, itself fine-tuned."""

    id: ClassVar[str] = "nad"
    title: ClassVar[str] = "Attention distillation"

    def __init__(
        self,
        *,
        teacher_epochs: Annotated[int, Field(ge=1, le=1000, description="passes over the samples, teacher")] = 10,
        epochs: Annotated[int, Field(ge=1, le=1000, description="passes over the samples, model")] = 20,
        weight: Annotated[float, Field(ge=0, le=1e6, description="of the distance of attentions in the loss")] = 10.0,
        layers: Annotated[
            int, Field(ge=1, le=100, description="how many resolutions are distilled, the last ones")
        ] = 3,
        learning_rate: Annotated[float, Field(gt=0, le=1, description="of SGD, at the start")] = 0.02,
        batch_size: Annotated[int, Field(ge=2, le=4096, description="samples a step")] = 32,
        shift: Annotated[
            float, Field(ge=0, le=0.5, description="pictures are moved by up to this share of their sides")
        ] = 0.1,
        loss: Annotated[LossName, Field(description=LOSS_DESCRIPTION)] = "cross-entropy",
    ) -> None:
        self.training = Training(epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, shift=shift)
        self.teacher_epochs = teacher_epochs
        self.weight = weight
        self.layers = layers
        self.loss: LossName = loss

    def __repr__(self) -> str:
        return (
            f"AttentionDistillation(teacher_epochs={self.teacher_epochs}, epochs={self.training.epochs}, "
            f"weight={self.weight}, layers={self.layers}, loss={self.loss!r})"
        )

    def _repair(self, run: Repairing) -> str:
        from dataclasses import replace

        import torch

        student, loss_of = run.repaired, LOSSES[self.loss]
        teacher = run.original.with_module(copy.deepcopy(run.original.module))
        names = _stages(run, teacher)[-self.layers :]
        training = replace(self.training, epochs=self.teacher_epochs)
        train(run, training, on_labels(teacher, loss_of), classifier=teacher, stage="teacher")
        teacher.module.eval()

        def backward(inputs: Inputs, labels: Tensor) -> float:
            with torch.no_grad(), watching(teacher.module, names) as wanted:
                teacher.logits(inputs)
            with watching(student.module, names) as given:
                loss = loss_of(student.logits(inputs), labels)
            distances = [
                (_attention(given[name]) - _attention(wanted[name])).square().sum(dim=1).mean() for name in names
            ]
            loss = loss + self.weight * torch.stack(distances).sum()
            loss.backward()
            return float(loss.item())

        train(run, self.training, backward)
        run.metrics["layers"] = ", ".join(names)[:200]
        return (
            f"trained on {len(run.part)} clean samples for {self.training.epochs} epochs, with the attention of a "
            f"teacher of {self.teacher_epochs} epochs in {len(names)} layers"
        )


def _attention(output: Tensor) -> Tensor:
    """Mean square over the channels, by place, of norm 1 a sample: [N, places]."""
    import torch.nn.functional as F

    channels = 1 if output.ndim == 4 else 2
    return F.normalize(output.square().mean(dim=channels).flatten(1), dim=1)


def _stages(run: Repairing, classifier: Classifier) -> list[str]:
    """The last layer of each resolution, by name, in the order they are called. Raises NotApplicable.

    A layer counts that gives [N, channels, H, W], or [N, places, channels] as transformers do.
    """
    import torch
    from torch import nn

    module = classifier.module
    training_mode(module)
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    parts = {name: part for name, part in module.named_modules() if name}
    with torch.no_grad(), watching(module, parts) as seen:
        classifier.logits(run.part.inputs[:2].to(classifier.device))
        for name, buffer in module.named_buffers():
            buffer.copy_(kept[name])
    # What convolutions give is [N, channels, H, W] for sure; others may have the channels last.
    sizes = {seen[name].shape[2:] for name, part in parts.items() if name in seen and isinstance(part, nn.Conv2d)}
    last: dict[int, str] = {}
    for name, output in seen.items():
        if output.ndim == 3 or (output.ndim == 4 and output.shape[2:] in sizes):
            places = output.shape[1] if output.ndim == 3 else output.shape[2:].numel()
            if places > 1:
                last.pop(places, None)
                last[places] = name
    if not last:
        raise NotApplicable("no feature maps can be watched in this graph")
    return list(last.values())
