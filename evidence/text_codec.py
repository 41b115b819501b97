"""How texts become tokens and tokens words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .tokens import Tokens


class TextCodec(Protocol):
    """A model's own tokenizer."""

    @property
    def vocabulary(self) -> Sequence[str]:
        """The word or piece of each token index; "" where an index has none."""
        ...

    @property
    def special(self) -> frozenset[int]:
        """Tokens that mark and do not mean: padding, starts, separators, the unknown."""
        ...

    @property
    def padding(self) -> int:
        """The token that fills short texts."""
        ...

    @property
    def max_length(self) -> int:
        """Tokens of the longest text."""
        ...

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tokens:
        """Tokenised as for training, cut to what the model takes and padded."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text that these tokens are."""
        ...
