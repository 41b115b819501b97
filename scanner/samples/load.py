"""Clean samples from disk: one format a file, `load_samples` picks the one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...evidence.errors import UsageError
from ...evidence.samples import CleanSamples, SamplePart
from .counts import check_against_classes, check_counts, check_labels
from .folder import FolderSource
from .npz import NpzSource
from .prepare import prepared
from .source import Indices, Prepare, Source
from .split import choose, split


def load_samples(
    path: Path,
    *,
    num_classes: int | None,
    classes_file: Path | None = None,
    size: tuple[int, int] | None,
    channels: int | None,
    seed: int,
    held_out: float,
    min_per_class: int,
    max_count: int,
    class_names: Mapping[int, str] | None = None,
    prepare: Prepare | None = None,
) -> CleanSamples:
    """Read labelled samples from a folder of class folders or an .npz file, and split them.

    `num_classes` is the model's, None where it is not known yet (then call `check_against_model` later).
    `size` is (height, width) to resize to; `channels` is 1 or 3 to convert to, None takes the samples'.
    `class_names` are the model's own by index: class folders that are called so stand for these. `prepare` is the
    model's own way to scale and crop, taken where no `size` is given.
    At most `max_count` samples are used, as many of each class as of the others; only those are decoded. A share
    `held_out` of every class is held out. The same seed chooses the same samples.
    Raises UsageError if a path does not exist or a number makes no sense, ScanError if the samples are unfit.
    """
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder; give the clean samples with --samples")
    if classes_file is not None and not classes_file.is_file():
        raise UsageError(f"{classes_file}: there is no such file; give a classes.txt")
    if channels not in (None, 1, 3):
        raise UsageError(f"samples have 1 or 3 channels, not {channels}")
    if size is not None and min(size) < 1:
        raise UsageError(f"samples cannot be resized to {size[0]}x{size[1]} pixels")
    if not 0 < held_out < 1:
        raise UsageError(f"the held-out share must lie between 0 and 1, not {held_out}")
    source: Source
    if path.is_dir():
        source = FolderSource(
            path,
            classes_file=classes_file,
            size=size,
            channels=channels,
            class_names=class_names or {},
            prepare=None if size else prepare,
        )
    elif path.suffix.lower() == ".npz":
        if classes_file is not None:
            raise UsageError(f"{classes_file}: goes with a folder; in {path.name} save the names as array 'classes'")
        source = NpzSource(path, size=size, channels=channels)
    else:
        raise UsageError(f"{path}: is neither a folder of class folders nor an .npz file")
    labels, names = source.labels, source.names
    check_labels(path, labels, names)
    if num_classes is not None:
        check_against_classes(path, labels, names, num_classes)
    check_counts(path, labels, names, min_per_class, max_count)

    import torch

    rng = np.random.default_rng(seed)
    chosen = choose(labels, max_count, rng)
    exposure, held = split(labels[chosen], held_out, rng)
    pixels, sha256 = source.read(chosen)
    if prepare and isinstance(source, NpzSource) and size is None:
        pixels = prepared(pixels, prepare)
    targets = torch.from_numpy(labels[chosen])

    def part(rows: Indices) -> SamplePart:
        places = torch.from_numpy(rows)
        return SamplePart(pixels[places], targets[places], tuple(source.name(place) for place in chosen[rows].tolist()))

    total = max(int(labels.max()), *names, 0) + 1
    return CleanSamples(
        path=path,
        sha256=sha256,
        num_classes=total,
        class_names=tuple(names.get(index, str(index)) for index in range(total)),
        exposure=part(exposure),
        held_out=part(held),
    )


def check_against_model(samples: CleanSamples, num_classes: int) -> CleanSamples:
    """Return the samples if they cover the model's classes, all of them and no others.

    Raises ScanError if a sample's label is none of the model's classes or a class of the model has no sample.
    """
    labels = np.concatenate([samples.exposure.labels.numpy(), samples.held_out.labels.numpy()])
    check_against_classes(samples.path, labels, dict(enumerate(samples.class_names)), num_classes)
    return samples
