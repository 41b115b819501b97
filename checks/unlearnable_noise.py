"""Noise that was added to make samples useless: it tells the classes apart by itself, which natural detail does not.

Error-minimising noise (Huang et al. 2021, "Unlearnable Examples", arXiv 2101.04898, equation 1), whether one pattern a
class or one a sample, works as a shortcut: the perturbations alone are almost linearly separable (Yu et al. 2022,
"Availability Attacks Create Shortcuts", arXiv 2111.00898, section 3). Here the fine detail of each picture, what is
left after a blur, stands in for the perturbation, and a linear classifier on it is held against one on the blurred
picture, which shows how well the classes separate without any noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_FOLDS = 5
_RIDGE = 1.0  # of the linear classifier, in units of the mean squared length of the samples
_SIDE = 64  # larger pictures are cut to their middle: averaging them down would take the noise out
_BLUR = 3


@dataclass(frozen=True)
class Separation:
    """Cross-validated shares, 0..1, of samples that a linear classifier puts into the class that they are labelled."""

    detail: float  # from the fine detail
    coarse: float  # from what is left without it
    chance: float  # the share of the largest class
    samples: int

    @property
    def gain(self) -> float:
        """By how much detail tells the classes apart better than blurred pictures."""
        return self.detail - self.coarse

    @property
    def error(self) -> float:
        """Standard error of the gain, as if the two were independent."""
        return math.sqrt(sum(share * (1 - share) for share in (self.detail, self.coarse)) / self.samples)


def separation(pixels: Tensor, labels: Tensor, *, seed: int) -> Separation | None:
    """How well detail and blurred pictures tell the labels apart; None where nothing can be cross-validated.

    `pixels`: float [N, channels, H, W] in 0..1; `labels`: int64 [N]. Needs two classes of five samples or more, and
    pictures of at least 4 x 4.
    """
    import torch
    from torch.nn import functional

    counts = labels.bincount()
    kept = (counts >= _FOLDS)[labels]
    if min(pixels.shape[2:]) < _BLUR + 1 or int((counts >= _FOLDS).sum()) < 2:
        return None
    pixels, labels = _middle(pixels.float().cpu())[kept], labels[kept]
    channels = pixels.shape[1]
    kernel = torch.full((channels, 1, _BLUR, _BLUR), 1 / _BLUR**2)
    padded = functional.pad(pixels, (_BLUR // 2,) * 4, mode="replicate")
    coarse = functional.conv2d(padded, kernel, groups=channels)
    folds = _folds(labels, seed)
    return Separation(
        detail=_accuracy((pixels - coarse).flatten(1), labels, folds),
        coarse=_accuracy(coarse.flatten(1), labels, folds),
        chance=float(labels.bincount().max()) / len(labels),
        samples=len(labels),
    )


def _middle(pixels: Tensor) -> Tensor:
    height, width = pixels.shape[2:]
    top, left = max(0, height - _SIDE) // 2, max(0, width - _SIDE) // 2
    return pixels[:, :, top : top + _SIDE, left : left + _SIDE]


def _folds(labels: Tensor, seed: int) -> Tensor:
    """A fold for each sample, int64 [N], with every class spread over all of them."""
    import torch

    folds = torch.zeros_like(labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    for label in labels.unique().tolist():
        mine = order[labels[order] == label]
        folds[mine] = torch.arange(len(mine)) % _FOLDS
    return folds


def _accuracy(features: Tensor, labels: Tensor, folds: Tensor) -> float:
    """Of ridge regression onto the one-hot labels, in its dual form: N x N, however many features there are."""
    import torch
    from torch.nn import functional

    classes = labels.unique(return_inverse=True)[1]
    targets = functional.one_hot(classes).double()
    features = features - features.mean(dim=0)
    products = (features @ features.T).double()
    products /= products.diagonal().mean().clamp(min=1e-12)
    correct = 0
    for fold in range(_FOLDS):
        test = folds == fold
        train = ~test
        offset = targets[train].mean(dim=0)
        system = products[train][:, train] + _RIDGE * torch.eye(int(train.sum()), dtype=torch.double)
        weights = torch.linalg.solve(system, targets[train] - offset)
        guessed = (products[test][:, train] @ weights).argmax(dim=1)
        correct += int((guessed == classes[test]).sum())
    return correct / len(labels)
