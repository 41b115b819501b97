"""What a classifier answers, batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..evidence.at_once import pictures_at_once

if TYPE_CHECKING:
    from torch import Tensor

    from ..evidence.classifier import Classifier
    from ..evidence.tokens import Tokens


def predicted(classifier: Classifier, inputs: Tensor | Tokens, batch_size: int = 256) -> Tensor:
    """Predicted classes, int64 [N], on the CPU; less than `batch_size` large pictures at once."""
    import torch

    if isinstance(inputs, torch.Tensor):
        batch_size = pictures_at_once(inputs, batch_size)
    with torch.no_grad():
        parts = [
            classifier.logits(inputs[start : start + batch_size].to(classifier.device)).argmax(dim=1).cpu()
            for start in range(0, len(inputs), batch_size)
        ]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)
