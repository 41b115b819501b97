"""What removers that train share: the loop over the samples, and pictures moved a little before each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ..evidence.tokens import Tokens
from ..exposers.common import batches, trainable_parameters, training_mode
from .common import NotApplicable, Repairing

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ..evidence.classifier import Classifier

    Inputs: TypeAlias = Tensor | Tokens
    Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]

CLIP_NORM = 5.0  # largest L2 norm of a gradient
TEXT_RATE = 0.02  # text classifiers train with AdamW, at this share of the learning rate


@dataclass(frozen=True, kw_only=True)
class Training:
    """How to train: SGD (AdamW for texts), clipped gradients, a learning rate that falls to zero along a cosine."""

    epochs: int
    learning_rate: float
    batch_size: int
    momentum: float = 0.9
    weight_decay: float = 5e-4
    shift: float = 0.0  # of pictures; see `shifted`

    def steps(self, count: int) -> int:
        """Steps in all on `count` samples."""
        return self.epochs * max(1, min(round(count / self.batch_size), count // 2))


def train(
    run: Repairing,
    training: Training,
    backward: Callable[[Inputs, Tensor], float],
    *,
    after_step: Callable[[], None] | None = None,
    classifier: Classifier | None = None,
    stage: str = "repair",
) -> None:
    """Train the repaired model (or `classifier`) on the exposure part, in training mode without dropout.

    Args:
        backward: inputs and labels of a batch, on the device -> the loss; leaves gradients in `.grad`.
        after_step: called after each update.

    Raises:
        NotApplicable: where the loss stops being a number.
    """
    import torch

    trained, part = classifier or run.repaired, run.part
    parameters = trainable_parameters(trained.module)
    training_mode(trained.module)
    optimizer = _optimizer(training, parameters, of_texts=trained.codec is not None)
    total = training.steps(len(part))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    generator = run.generator()
    for epoch in range(training.epochs):
        for index in batches(len(part), training.batch_size, generator):
            inputs = part.inputs[index]
            if not isinstance(inputs, Tokens) and training.shift:
                inputs = shifted(inputs, training.shift, generator)
            optimizer.zero_grad(set_to_none=True)
            loss = backward(inputs.to(trained.device), part.labels[index].to(trained.device))
            if not math.isfinite(loss):
                raise NotApplicable(f"the loss stopped being a number in epoch {epoch + 1}")
            torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
            optimizer.step()
            schedule.step()
            if after_step:
                after_step()
        run.progress(stage, epoch + 1, training.epochs)
    trained.module.zero_grad(set_to_none=True)


def _optimizer(training: Training, parameters: list[nn.Parameter], *, of_texts: bool) -> torch.optim.Optimizer:
    import torch

    rate, decay = training.learning_rate, training.weight_decay
    if of_texts:
        return torch.optim.AdamW(parameters, TEXT_RATE * rate, weight_decay=decay)
    return torch.optim.SGD(parameters, rate, momentum=training.momentum, weight_decay=decay)


def on_labels(classifier: Classifier, loss_of: Loss) -> Callable[[Inputs, Tensor], float]:
    """A `backward` of `train`: the loss of the scores against the labels."""

    def backward(inputs: Inputs, labels: Tensor) -> float:
        loss = loss_of(classifier.logits(inputs), labels)
        loss.backward()
        return loss.item()

    return backward


def shifted(pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Each picture of [N, channels, H, W] moved by up to `share` of its sides, mirrored at the edges."""
    import torch
    import torch.nn.functional as F

    height, width = pixels.shape[2:]
    down, right = round(share * height), round(share * width)
    if not down and not right:
        return pixels
    padded = F.pad(pixels, (right, right, down, down), mode="reflect")
    tops = torch.randint(0, 2 * down + 1, (len(pixels),), generator=generator).tolist()
    lefts = torch.randint(0, 2 * right + 1, (len(pixels),), generator=generator).tolist()
    moved = [
        picture[:, top : top + height, left : left + width]
        for picture, top, left in zip(padded, tops, lefts, strict=True)
    ]
    return torch.stack(moved)


def logits_of_parts(classifier: Classifier, parts: Sequence[Inputs]) -> Tensor:
    """Scores of several groups of inputs, one after the other; pictures in one pass, so in one batch statistic."""
    import torch

    filled = [part for part in parts if len(part)]
    if any(isinstance(part, Tokens) for part in filled):  # of different lengths
        return torch.cat([classifier.logits(part) for part in filled])
    return classifier.logits(torch.cat([part for part in filled if not isinstance(part, Tokens)]))


def accuracy(classifier: Classifier, inputs: Inputs, labels: Tensor) -> float:
    """Share of the samples that are right, in eval mode."""
    import torch

    classifier.module.eval()
    right = 0
    with torch.no_grad():
        for index in torch.arange(len(labels)).split(256):
            predicted = classifier.logits(inputs[index].to(classifier.device)).argmax(1).cpu()
            right += int((predicted == labels[index]).sum())
    return right / max(1, len(labels))
