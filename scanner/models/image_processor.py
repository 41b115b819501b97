"""A Hugging Face folder's own image processor: how pictures become what its model takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...checks.folder_files import CONFIG, PREPROCESSORS, read_json
from ...evidence.errors import ScanError
from .huggingface import class_names_of, import_transformers, sentence

_LEVELS = (0, 128, 255)  # of the grey pictures from which the normalisation is read
_MAX_SIDE = 4096
_SIZES: Final = ("size", "crop_size", "pad_size")
# Any class of transformers that can be loaded from a folder could be named, models and their pickles among them.
_PROCESSOR: Final = re.compile(r"(?!Auto)\w+(ImageProcessor(Fast|Pil)?|FeatureExtractor)")


@dataclass(frozen=True)
class Preprocessing:
    """What the folder says about its pictures: channels, names of classes, scaling, normalisation of pixels in 0..1."""

    channels: int
    class_names: dict[int, str]
    mean: tuple[float, ...] | None = None  # None where the folder has no image processor
    std: tuple[float, ...] | None = None
    processor: Any = None
    folder: Path = Path()

    def prepare(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Scale and crop a picture, [H, W] or [H, W, C], as the processor does; what comes out is [H, W, C]."""
        picture = picture if picture.ndim == 3 else picture[:, :, None]
        with sentence(self.folder, "its image processor cannot be followed"):
            return _scaled(self.processor, picture)


def _scaled(processor: Any, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The processor without its arithmetic. EfficientNet's may normalise a second time, by a switch of its own."""
    again = {"include_top": False} if hasattr(processor, "include_top") else {}
    pixels = _run(processor, picture, do_rescale=False, do_normalize=False, **again)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _run(processor: Any, picture: NDArray[np.uint8], **switches: bool) -> NDArray[np.float64]:
    """[H, W, C] through the processor, channels last again."""
    output = processor(picture, input_data_format="channels_last", return_tensors="np", **switches)
    pixels = np.asarray(output["pixel_values"], dtype=np.float64)
    if pixels.ndim != 4 or len(pixels) != 1 or max(pixels.shape[2:]) > _MAX_SIDE:
        raise ScanError(f"it makes {list(pixels.shape)} of a picture, not [1, channels, height, width]")
    turned: NDArray[np.float64] = pixels[0].transpose(1, 2, 0)
    return turned


def _normalisation(processor: Any, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that the processor takes from pixels in 0..1, read from what it makes of grey."""
    seen = []
    for level in _LEVELS:
        made = _run(processor, np.full((48, 48, channels), level, dtype=np.uint8))
        seen.append(made[made.shape[0] // 2, made.shape[1] // 2])
    low, middle, high = seen
    gain = high - low
    if not (np.isfinite(low).all() and np.isfinite(gain).all() and (gain > 0).all()):
        raise ScanError("its mean or its standard deviation makes no sense")
    shape = (48, 72, channels)  # of another shape, so that what is padded or cropped is seen too
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    again = low + gain * (_scaled(processor, picture) / 255) - _run(processor, picture)
    if np.abs(low + gain * _LEVELS[1] / 255 - middle).max() > 1e-3 * gain.max() or np.abs(again / gain).max() > 1e-2:
        raise ScanError("it does more to pixels than to shift and to scale them")
    return tuple((-low / gain).tolist()), tuple((1 / gain).tolist())


def _check_named(folder: Path) -> None:
    """What the files ask for, before transformers looks for it."""
    for name in (CONFIG, *PREPROCESSORS):
        if not (folder / name).is_file():
            continue
        found = read_json(folder / name)
        nested = found.get("image_processor")
        for settings in (found, nested if isinstance(nested, dict) else {}):
            for key in ("image_processor_type", "feature_extractor_type"):
                if (wanted := settings.get(key)) and not _PROCESSOR.fullmatch(str(wanted)):
                    raise ScanError(
                        f"{folder / name} wants {str(wanted)[:80]!r}, which is no image processor: fetch it again"
                    )


def _check_sizes(processor: Any) -> None:
    """Before a picture of that size is made."""
    for name in _SIZES:
        sides = getattr(processor, name, None)
        numbers = (sides if isinstance(sides, Mapping) else getattr(sides, "__dict__", {"side": sides})).values()
        if any(isinstance(side, int | float) and side > _MAX_SIDE for side in numbers):
            raise ScanError(f"its {name} is more than {_MAX_SIDE} pixels")
    share = getattr(processor, "crop_pct", None)
    if share is not None and not (isinstance(share, int | float) and 0.1 <= share <= 10):
        raise ScanError("its crop_pct makes no sense")


def read_preprocessing(folder: Path, model: Path | None = None) -> Preprocessing:
    """What the folder says, and the one with the model, if it is another.

    Raises ScanError, one sentence, where it has a processor that cannot be followed.
    """
    settings = read_json((model or folder) / CONFIG)
    names = class_names_of(settings)
    plain = Preprocessing(1 if str(settings.get("num_channels")) == "1" else 3, names)
    if not any((folder / name).is_file() for name in PREPROCESSORS):
        return plain
    _check_named(folder)
    transformers = import_transformers()
    with sentence(folder, "its image processor cannot be read"):
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, backend="pil"
        )
    with sentence(folder, "its image processor cannot be followed"):
        try:
            _check_sizes(processor)
            mean, std = _normalisation(processor, plain.channels)
        except ScanError as error:
            raise ScanError(
                f"{folder}: its image processor cannot be followed ({error}): remove preprocessor_config.json and pass "
                "--size, --mean and --std"
            ) from None
    return Preprocessing(plain.channels, names, mean, std, processor, folder)
