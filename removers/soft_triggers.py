"""Universal triggers of texts that a gradient can reach: vectors in places for words, or added to every token.

Rows of free vectors stand for words and sentences, a vector added to all tokens behind a layer for a style or a
syntax: what triggers have in common there moves all hidden states one way (BEEAR, Zeng et al. 2024, arXiv 2406.17092).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..checks.text_slots import table_of, vectors_in
from .strong_tokens import words_of
from .text_edits import Places, slots_on, with_room

if TYPE_CHECKING:
    from ..evidence.classifier import Classifier
    from ..evidence.tokens import Tokens

_RATE = 0.3  # of Adam, in units of what a coordinate usually is
_BETAS = (0.5, 0.9)
_START = 0.1  # of the largest drift
_ASKED = 16  # texts that tell how long hidden states are


@dataclass(frozen=True)
class Kind:
    """Vectors in `width` places; without places one that is added to every token behind layer `layer`."""

    width: int = 0
    layer: int = 0  # 0 is the table, 1 the first block


class SoftTrigger:
    """One trigger a label, [labels, width, D], on a classifier that may change meanwhile."""

    def __init__(
        self, classifier: Classifier, kind: Kind, labels: Sequence[int], longest: float, generator: torch.Generator
    ) -> None:
        """`longest`: how long the vectors may be, in norms of the median word or of the mean hidden state."""
        codec = classifier.codec
        assert codec is not None
        self.classifier, self.kind, self.labels, self.generator = classifier, kind, labels, generator
        words = words_of(codec)
        table = table_of(classifier).weight.detach()
        if kind.width:
            drawn = words[torch.randint(len(words), (len(labels), kind.width), generator=generator)]
            start = table[drawn.to(table.device)].clone()
            norm = float(table[words.to(table.device)].norm(dim=1).median())
        else:
            self.place = places_of(classifier)[kind.layer]
            norm, size = _norm_behind(classifier, self.place)
            start = torch.randn(len(labels), 1, size, generator=generator).to(table.device)
            start *= _START * longest * norm / size**0.5
        self.longest = longest * norm
        self.vectors = start.float().requires_grad_()
        rate = _RATE * self.longest / start.shape[-1] ** 0.5
        self.optimizer = torch.optim.Adam([self.vectors], lr=rate, betas=_BETAS)

    def logits(self, texts: Tokens, rows: Tensor) -> Tensor:
        """Scores [N, C] of texts, on the CPU, with the triggers of `rows`, int64 [N]."""
        classifier = self.classifier
        codec = classifier.codec
        assert codec is not None
        norms = self.vectors.norm(dim=-1, keepdim=True)
        vectors = (self.vectors * (self.longest / norms).clamp(max=1))[rows.to(self.vectors.device)]
        if self.kind.width:
            places: Places = "row" if float(torch.rand((), generator=self.generator)) < 0.5 else "scattered"
            slots = slots_on(with_room(texts, self.kind.width, places, codec, self.generator), classifier.device)
            with vectors_in(classifier, slots, vectors):
                return classifier.logits(slots.tokens)

        def add(module: object, args: object, output: Any) -> Any:
            if isinstance(output, tuple):
                return (output[0] + vectors.to(output[0].dtype), *output[1:])
            return output + vectors.to(output.dtype)

        handle = self.place.register_forward_hook(add)
        try:
            return classifier.logits(texts.to(classifier.device))
        finally:
            handle.remove()

    def step(self, gradient: Tensor) -> None:
        """One step down `gradient`, of the vectors."""
        self.vectors.grad = gradient
        self.optimizer.step()


def places_of(classifier: Classifier) -> list[nn.Module]:
    """The table and the blocks behind it, as far as there is a list of them."""
    lists = [module for module in classifier.module.modules() if isinstance(module, nn.ModuleList)]
    return [table_of(classifier), *max(lists, key=len, default=())]


@torch.no_grad()
def _norm_behind(classifier: Classifier, place: nn.Module) -> tuple[float, int]:
    """Mean length of what a module hands on, and its size."""
    codec = classifier.codec
    assert codec is not None
    words = words_of(codec)
    ids = words[torch.linspace(0, len(words) - 1, _ASKED).long()].tolist()
    seen: list[Tensor] = []
    handle = place.register_forward_hook(
        lambda module, args, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    try:
        classifier.logits(codec.encode([codec.decode(ids)]).to(classifier.device))
    finally:
        handle.remove()
    return float(seen[0].float().norm(dim=-1).mean()), seen[0].shape[-1]
