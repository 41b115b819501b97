"""A Hugging Face folder's own image processor: how pictures become what its model takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...checks.folder_files import CONFIG, PREPROCESSORS, read_json
from ...evidence.errors import ScanError
from .huggingface import import_transformers, sentence

_LEVELS = (0, 128, 255)  # of the grey pictures from which the normalisation is read
_MAX_SIDE = 4096


@dataclass(frozen=True)
class Preprocessing:
    """What the folder says about its pictures: channels, names of classes, scaling, normalisation of pixels in 0..1."""

    channels: int
    class_names: dict[int, str]
    mean: tuple[float, ...] | None = None  # None where the folder has no image processor
    std: tuple[float, ...] | None = None
    processor: Any = None

    def prepare(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Scale and crop a picture, [H, W] or [H, W, C], as the processor does; what comes out is [H, W, C]."""
        picture = picture if picture.ndim == 3 else picture[:, :, None]
        pixels = _run(self.processor, picture, do_rescale=False, do_normalize=False)
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
    if (gain <= 0).any() or np.abs(low + gain * _LEVELS[1] / 255 - middle).max() > 1e-3 * gain.max():
        raise ScanError("it does more to pixels than to shift and to scale them")
    return tuple((-low / gain).tolist()), tuple((1 / gain).tolist())


def read_preprocessing(folder: Path) -> Preprocessing:
    """What the folder says. Raises ScanError, one sentence, where it has a processor that cannot be followed."""
    settings = read_json(folder / CONFIG)
    channels = settings.get("num_channels", 3)
    labels = settings.get("id2label")
    names = {int(key): str(name) for key, name in labels.items() if key.isdigit()} if isinstance(labels, dict) else {}
    plain = Preprocessing(channels if channels in (1, 3) else 3, names)
    if not any((folder / name).is_file() for name in PREPROCESSORS):
        return plain
    transformers = import_transformers()
    with sentence(folder, "its image processor cannot be read"):
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, backend="pil"
        )
    with sentence(folder, "its image processor cannot be followed"):
        try:
            mean, std = _normalisation(processor, plain.channels)
        except ScanError as error:
            raise ScanError(
                f"{folder}: its image processor cannot be followed ({error}): remove preprocessor_config.json and pass "
                "--size, --mean and --std"
            ) from None
    return Preprocessing(plain.channels, names, mean, std, processor)
