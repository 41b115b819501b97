"""What the tests of the sample formats share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ebyd_scan.evidence.samples import CleanSamples
from ebyd_scan.scanner.samples.load import load_samples
from ebyd_scan.scanner.samples.text_table import TextTable, read_texts
from PIL import Image

GREY = np.linspace(0, 255, 64).reshape(8, 8).astype(np.uint8)


@pytest.fixture
def grey() -> Any:
    """A gradient, uint8 [8, 8]."""
    return GREY.copy()


@pytest.fixture
def rgb() -> Any:
    """Three different gradients, uint8 [8, 8, 3]."""
    return np.stack([GREY, GREY.T, 255 - GREY], axis=2)


@pytest.fixture
def load() -> Callable[..., CleanSamples]:
    """`load_samples` with settings that small sets meet."""

    def load(path: Path, **changes: Any) -> CleanSamples:
        settings: dict[str, Any] = {
            "num_classes": None,
            "size": None,
            "channels": None,
            "seed": 0,
            "held_out": 0.5,
            "min_per_class": 2,
            "max_count": 1000,
        }
        return load_samples(path, **(settings | changes))

    return load


@pytest.fixture
def write(rgb: Any) -> Callable[..., Path]:
    """Writes class folders with images; the class shows in the first pixel as 10 times its place."""

    def write(root: Path, names: list[str], count: int = 2, pixels: Any = rgb, suffix: str = ".png") -> Path:
        for place, name in enumerate(names):
            (root / name).mkdir(parents=True)
            for index in range(count):
                marked = np.array(pixels)
                marked[0, 0] = 10 * place
                Image.fromarray(marked).save(root / name / f"{index}{suffix}")
        return root

    return write


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., TextTable]:
    """Write the content into a file of this name, read it."""

    def read(name: str, content: str | bytes, **options: Any) -> TextTable:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_texts(path, **options)

    return read
