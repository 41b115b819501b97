"""What a classifier answers, batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..evidence.classifier import Classifier
    from ..evidence.tokens import Tokens


def predicted(classifier: Classifier, inputs: Tensor | Tokens, batch_size: int = 256) -> Tensor:
    """Predicted classes, int64 [N], on the CPU."""
    import torch

    with torch.no_grad():
        parts = [
            classifier.logits(inputs[start : start + batch_size].to(classifier.device)).argmax(dim=1).cpu()
            for start in range(0, len(inputs), batch_size)
        ]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)
