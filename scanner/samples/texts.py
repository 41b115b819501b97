"""Clean texts from a table, as the model's own tokenizer makes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...evidence.errors import UsageError
from ...evidence.samples import CleanSamples, SamplePart
from ..request import TextOptions
from .counts import check_counts, check_labels
from .split import choose, split
from .text_table import read_texts

if TYPE_CHECKING:
    from ...evidence.text_codec import TextCodec


def load_text_samples(
    path: Path,
    codec: TextCodec,
    *,
    options: TextOptions,
    class_names: Mapping[int, str],
    seed: int,
    held_out: float,
    min_per_class: int,
    max_count: int,
) -> CleanSamples:
    """Read labelled texts, choose at most `max_count` of them as evenly as there are, and hold a share out.

    Raises UsageError if there is no such file or column, ScanError if the samples are unfit.
    """
    if not path.exists():
        raise UsageError(f"{path}: there is no such file; give the clean texts with --samples")
    table = read_texts(
        path,
        class_names=class_names,
        text_column=options.column,
        pair_column=options.pair_column,
        label_column=options.label_column,
    )
    check_labels(path, table.labels, table.names)
    check_counts(path, table.labels, table.names, min_per_class, max_count)

    import torch

    rng = np.random.default_rng(seed)
    chosen = choose(table.labels, max_count, rng)
    parts: list[SamplePart] = []
    for rows in split(table.labels[chosen], held_out, rng):
        picked = chosen[rows]
        texts = [table.texts[row] for row in picked]
        pairs = [table.pairs[row] for row in picked] if table.pairs is not None else None
        lines = tuple(f"{table.unit} {table.lines[row]}" for row in picked)
        parts.append(SamplePart(codec.encode(texts, pairs), torch.from_numpy(table.labels[picked]), lines))
    total = max(int(table.labels.max()), *table.names, 0) + 1
    return CleanSamples(
        path=path,
        sha256=table.sha256,
        num_classes=total,
        class_names=tuple(table.names.get(index, str(index)) for index in range(total)),
        exposure=parts[0],
        held_out=parts[1],
    )
