"""Losses against labels, by name: cross-entropy, and one that does not follow wrong labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

LossName = Literal["cross-entropy", "active-passive"]
LOSS_DESCRIPTION = "cross-entropy, or active-passive, which follows wrong labels less"

_LOG_OF_ZERO = -4.0  # of a label's probability where it is not the sample's (Wang et al. 2019, arXiv 1908.06112)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of scores [N, C] against labels [N]."""
    import torch.nn.functional as F

    return F.cross_entropy(logits, labels)


def active_passive(logits: Tensor, labels: Tensor) -> Tensor:
    """Normalised plus reverse cross-entropy, mean over [N] (Ma et al. 2020, arXiv 2006.13554, sec. 4).

    Both are bounded, so a sample with a wrong label pulls no more than one with a right label.
    """
    log_p = logits.log_softmax(dim=1)
    own = log_p.gather(1, labels[:, None])[:, 0]
    normalised = own / log_p.sum(dim=1)
    reverse = _LOG_OF_ZERO * (own.exp() - 1)
    return (normalised + reverse).mean()


LOSSES: dict[LossName, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": cross_entropy,
    "active-passive": active_passive,
}
