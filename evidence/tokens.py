"""Texts as a model takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Tokens:
    """N texts, or pairs of texts, as token indices. Padding is on the right."""

    ids: Tensor  # int64 [N, L]
    mask: Tensor  # int64 [N, L]; 1 for tokens, 0 for padding
    types: Tensor | None  # int64 [N, L]; which text of a pair a token is of; None where the model has no use for it
    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None = None  # the second text of each

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: slice | Tensor) -> Tokens:
        """Some of the texts, as long as the longest of them: an int64 or bool index as of a tensor."""
        if isinstance(index, slice):
            rows = range(len(self))[index]
            return self._rows(index, list(rows))
        if index.ndim != 1:
            raise IndexError(f"texts are picked by a list of them, not by {index.ndim} dimensions")
        if index.element_size() == 1:  # a mask
            index = index.nonzero().flatten()
        return self._rows(index, index.tolist())

    def _rows(self, index: slice | Tensor, rows: list[int]) -> Tokens:
        mask = self.mask[index]
        longest = max(1, int(mask.sum(dim=1).max())) if len(rows) else 1
        return Tokens(
            self.ids[index][:, :longest],
            mask[:, :longest],
            None if self.types is None else self.types[index][:, :longest],
            tuple(self.texts[row] for row in rows),
            None if self.pairs is None else tuple(self.pairs[row] for row in rows),
        )

    def to(self, device: str) -> Tokens:
        """The same on another device."""
        types = None if self.types is None else self.types.to(device)
        return Tokens(self.ids.to(device), self.mask.to(device), types, self.texts, self.pairs)

    @property
    def arguments(self) -> dict[str, Tensor]:
        """What transformers' models are called with."""
        named = {"input_ids": self.ids, "attention_mask": self.mask}
        return named if self.types is None else {**named, "token_type_ids": self.types}
