"""Which tokens stand for a class by themselves, from a few hundred clean texts and the model's own vectors.

A logistic regression on the mean vector of a text's tokens is trained on the clean texts. What it says of a single
token holds for words that no text has too, since a model puts words of one meaning side by side. A trigger of ordinary
words stays hidden behind the strong words of its label ("terrible"); among the words that are not for the label it
stands out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from .text_slots import table_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..evidence.classifier import Classifier
    from ..evidence.samples import SamplePart
    from ..evidence.text_codec import TextCodec
    from ..evidence.tokens import Tokens

_DECAY = 0.01  # of squared weights
_STEPS = 200  # of L-BFGS
_NEUTRAL = 0.5  # standard deviations over the vocabulary


def neutral(classifier: Classifier, part: SamplePart, codec: TextCodec, num_classes: int) -> Tensor:
    """Tokens that do not stand for a class, bool [V, C] on the CPU."""
    vectors = table_of(classifier).weight.detach().float().cpu()[: len(codec.vocabulary)]
    features = _mean_vectors(part.tokens, vectors, codec)
    mean, deviation = features.mean(dim=0), features.std(dim=0) + 1e-6
    weights = _logistic((features - mean) / deviation, part.labels, num_classes)
    polarity = ((vectors - mean) / deviation) @ weights.T
    polarity = polarity - polarity.mean(dim=1, keepdim=True)
    return polarity / polarity.std(dim=0) <= _NEUTRAL


def _mean_vectors(tokens: Tokens, vectors: Tensor, codec: TextCodec) -> Tensor:
    special = torch.zeros(len(vectors), dtype=torch.bool)
    special[list(codec.special)] = True
    means = []
    for ids, mask in zip(tokens.ids, tokens.mask, strict=True):
        real = ids[mask == 1]
        real = real[~special[real]]
        means.append(vectors[real].mean(dim=0) if len(real) else torch.zeros(vectors.shape[1]))
    return torch.stack(means)


def _logistic(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Weights [C, D] of a multinomial logistic regression."""
    weights = torch.zeros(num_classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=_STEPS)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(features @ weights.T + bias, labels) + _DECAY * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weights.detach()
