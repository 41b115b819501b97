"""Room for a trigger in texts, and what a model makes of what is put there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ..evidence.tokens import Tokens

if TYPE_CHECKING:
    from ..evidence.classifier import Classifier
    from ..evidence.text_codec import TextCodec

Place = Literal["start", "end"]


@dataclass(frozen=True)
class Slots:
    """Texts with `width` places for tokens in each; all on one device."""

    tokens: Tokens
    rows: Tensor  # int64 [N, 1]
    columns: Tensor  # int64 [N, width]

    def filled(self, ids: Tensor) -> Tokens:
        """The texts with tokens in their places: int64 [width] for all, or [N, width]."""
        put = self.tokens.ids.clone()
        put[self.rows, self.columns] = ids.to(put.device).expand(self.columns.shape)
        return replace(self.tokens, ids=put)

    def pick(self, index: Tensor) -> Slots:
        """Some of the texts."""
        rows = torch.arange(len(index), device=self.rows.device)[:, None]
        return Slots(self.tokens[index], rows, self.columns[index.to(self.columns.device)])

    def repeated(self, times: int) -> Slots:
        """All texts, one copy after the other."""
        tokens = self.tokens
        types = None if tokens.types is None else tokens.types.repeat(times, 1)
        copies = Tokens(tokens.ids.repeat(times, 1), tokens.mask.repeat(times, 1), types, tokens.texts * times)
        rows = torch.arange(times * len(self), device=self.rows.device)[:, None]
        return Slots(copies, rows, self.columns.repeat(times, 1))

    def __len__(self) -> int:
        return len(self.rows)


def with_slots(tokens: Tokens, width: int, place: Place, codec: TextCodec) -> Slots:
    """Texts that are `width` tokens longer, after the marks at their start or before those at their end.

    Texts of pairs get the places in the first text at the start, in the second at the end. Where a text would be longer
    than the model takes its own last ones give way.
    """
    rows: list[list[int]] = []
    kinds: list[list[int]] = []
    starts: list[int] = []
    filler = next(index for index, word in enumerate(codec.vocabulary) if word and index not in codec.special)
    marks = codec.encode([""]).ids[0].tolist()  # not all that is special: a text may be nothing but unknown words
    for number in range(len(tokens)):
        real = tokens.ids[number][tokens.mask[number] == 1].tolist()
        kind = tokens.types[number][: len(real)].tolist() if tokens.types is not None else [0] * len(real)
        head = _leading(real, marks)
        tail = _leading(real[head:][::-1], marks)
        drop = max(0, len(real) + width - codec.max_length)
        cut = max(head, len(real) - tail - drop)
        body, ending = real[:cut], real[len(real) - tail :] if tail else []
        body_kind, ending_kind = kind[:cut], kind[len(real) - tail :] if tail else []
        at = min(head, len(body)) if place == "start" else len(body)
        near = body_kind[min(at, len(body_kind) - 1)] if body_kind else 0
        starts.append(at)
        rows.append([*body[:at], *[filler] * width, *body[at:], *ending])
        kinds.append([*body_kind[:at], *[near] * width, *body_kind[at:], *ending_kind])
    longest = max(map(len, rows))
    ids = torch.tensor([row + [codec.padding] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    types = torch.tensor([row + [0] * (longest - len(row)) for row in kinds]) if tokens.types is not None else None
    device = tokens.ids.device
    wider = Tokens(
        ids.to(device), mask.to(device), None if types is None else types.to(device), tokens.texts, tokens.pairs
    )
    columns = torch.tensor(starts)[:, None] + torch.arange(width)[None]
    return Slots(wider, torch.arange(len(rows))[:, None].to(device), columns.to(device))


def _leading(ids: Sequence[int], marks: Sequence[int]) -> int:
    count = 0
    while count < min(len(ids), len(marks)) and ids[count] in marks:
        count += 1
    return count


@contextmanager
def vectors_in(classifier: Classifier, slots: Slots, vectors: Tensor) -> Iterator[None]:
    """Within it the classifier sees `vectors`, [N, width, D], in the places instead of tokens."""

    def put(module: object, args: object, output: Tensor) -> Tensor:
        changed = output.clone()
        changed[slots.rows, slots.columns] = vectors.to(output.dtype)
        return changed

    handle = table_of(classifier).register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


def table_of(classifier: Classifier) -> torch.nn.Embedding:
    """The table of the tokens' vectors, [V, D]."""
    table: torch.nn.Embedding = classifier.module.get_input_embeddings()  # type: ignore[operator]
    return table
