"""One image file's bytes to pixels."""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# EPS would start Ghostscript on a file of unknown origin; the others are formats that Pillow can only name.
_REFUSED = {"EPS", "BUFR", "GRIB", "HDF5", "MPEG", "WMF"}
_GREY = {"1", "L", "LA", "La", "I", "F"}


class UnreadableImage(Exception):
    """The bytes are no image, or a broken one; the message says why."""


@cache
def formats() -> tuple[str, ...]:
    """Names of the image formats that are read."""
    Image.init()
    return tuple(name for name in Image.ID if name not in _REFUSED)


@cache
def _suffixes() -> frozenset[str]:
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats())


def has_image_suffix(name: str) -> bool:
    """Whether the file name ends as images do; such a file has to be readable."""
    formats()
    return PurePath(name).suffix.lower() in _suffixes()


def is_image(file: Path) -> bool:
    """Whether the file's first bytes are an image's, whatever its name."""
    try:
        with Image.open(file, formats=formats()):
            return True
    except Exception:  # Pillow's plugins raise whatever a strange file leads them to
        return False


def decode(data: bytes, channels: int | None, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Return the pixels of the first frame, [H, W] for greyscale or [H, W, 3] for RGB.

    `channels` 1 or 3 converts; None leaves greyscale greyscale and makes RGB of all else. `size` (height, width)
    resizes, bilinear with antialiasing and without regard to the aspect ratio. As in torchvision, an EXIF
    orientation is not applied and an alpha channel is dropped. 16-bit greyscale is rounded to 8 bits.
    Raises UnreadableImage.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=formats()) as image:
                image.load()
                grey = image.mode in _GREY or image.mode.startswith("I;16")
                wanted = {None: "L" if grey else "RGB", 1: "L", 3: "RGB"}[channels]
                picture = _eight_bits(image).convert(wanted)
            if size is not None and picture.size != (size[1], size[0]):
                picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            return np.asarray(picture)
    except UnreadableImage:
        raise
    except Exception as error:  # Pillow's plugins raise whatever a broken file leads them to
        raise UnreadableImage(str(error) or type(error).__name__) from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale the modes that Pillow's own conversion would clip."""
    if not (image.mode in {"I", "F"} or image.mode.startswith("I;16")):
        return image
    values = np.asarray(image).astype(np.float64)
    top = 1.0 if image.mode == "F" else 65535.0
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > top:
        raise UnreadableImage(f"its values are not in 0..{top:.0f}")
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))
