"""Image formats and modes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ebyd_scan.evidence.samples import CleanSamples
from PIL import Image

Load = Callable[..., CleanSamples]
Write = Callable[..., Path]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".gif", ".tiff", ".JPG", ".jpeg", ".webp"])
def test_formats(tmp_path: Path, suffix: str, load: Load) -> None:
    pixels = np.full((8, 8, 3), 200, np.uint8)
    pixels[:, :, 0] = 100
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
        for index in range(2):
            Image.fromarray(pixels).save(tmp_path / name / f"{index}{suffix}")
    got = load(tmp_path, channels=3).exposure.pixels[0].mean(dim=(1, 2))
    assert got.tolist() == pytest.approx([100 / 255, 200 / 255, 200 / 255], abs=0.02)


GREY = np.linspace(0, 255, 64).reshape(8, 8).astype(np.uint8)
RGB = np.stack([GREY, GREY.T, 255 - GREY], axis=2)
MODES = {  # image, expected pixels [8, 8] or [8, 8, 3], largest difference in 0..255
    "palette": (Image.fromarray(RGB).quantize(64), RGB, 8),
    "alpha": (Image.fromarray(np.dstack([RGB, GREY])), RGB, 0),
    "cmyk": (Image.fromarray(RGB).convert("CMYK"), RGB, 1),
    "sixteen": (Image.fromarray(GREY.astype(np.uint16) * 257), GREY, 0),
    "integer": (Image.fromarray(GREY.astype(np.int32) * 257), GREY, 0),
    "float": (Image.fromarray(GREY.astype(np.float32) / 255), GREY, 0),
    "grey": (Image.fromarray(GREY), GREY, 0),
    "grey-alpha": (Image.fromarray(GREY).convert("LA"), GREY, 0),
    "bits": (Image.fromarray(GREY > 127), (GREY > 127) * np.uint8(255), 0),
}


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("palette", ".png"),
        ("palette", ".gif"),
        ("alpha", ".png"),
        ("cmyk", ".tiff"),
        ("sixteen", ".png"),
        ("sixteen", ".tiff"),
        ("integer", ".tiff"),
        ("float", ".tiff"),
        ("grey", ".png"),
        ("grey-alpha", ".png"),
        ("bits", ".png"),
    ],
)
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_modes(tmp_path: Path, load: Load, mode: str, suffix: str, channels: int | None) -> None:
    image, expected, difference = MODES[mode]
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
        for index in range(2):
            image.save(tmp_path / name / f"{index}{suffix}")
    got = load(tmp_path, channels=channels).exposure.pixels[0].permute(1, 2, 0).numpy() * 255
    if channels == 1 and expected.ndim == 3:
        expected = np.asarray(Image.fromarray(expected).convert("L"))
    expected = expected.reshape(8, 8, -1).astype(float)
    assert got.shape == (8, 8, channels or expected.shape[2])
    assert np.abs(got - expected).max() <= difference + 1e-3


def test_grey_and_colour_together_become_three_channels(tmp_path: Path, load: Load, write: Write, grey: Any) -> None:
    write(tmp_path, ["0"])
    write(tmp_path, ["1"], pixels=grey)
    assert load(tmp_path).exposure.pixels.shape[1] == 3
    assert load(tmp_path, channels=1).exposure.pixels.shape[1] == 1


def test_exif_orientation_is_not_applied(tmp_path: Path, load: Load, rgb: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
        for index in range(2):
            Image.fromarray(rgb[:4]).save(tmp_path / name / f"{index}.jpg", exif=exif)
    assert load(tmp_path).exposure.pixels.shape[2:] == (4, 8)
