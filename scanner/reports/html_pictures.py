"""A recovered trigger's pictures as `data:` addresses, small enough for the page that they stand in."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from .figures import number
from .witness_picture import displayed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...evidence.recovered import RecoveredTrigger
    from ..handover import Handed
    from .html_names import Names

_TRIES = ((256, 5), (128, 4), (64, 3), (48, 2))  # longer side in pixels, samples; the last is always small enough
_COMPRESSED = 8  # no picture is expected to become smaller than by this much
_ENLARGED = 96  # pixels of the longer side below which a picture is shown with its pixels, not smoothed
_PARTS = {
    "pasted": "what is pasted, on grey",
    "mask": "where (mask)",
    "pattern": "what (pattern)",
    "perturbation": "what is added, around grey",
    "flow": "how far pixels move",
}


@dataclass(frozen=True)
class Picture:
    """A PNG, its size, and whether its pixels are to be seen as squares."""

    address: str
    width: int
    height: int
    pixels: bool


def pictures_of(handed: Handed, names: Names, room: int) -> dict[str, Any]:
    """Samples before and after, the difference, and the trigger's parts, in at most `room` characters of addresses.

    Large pictures are reduced, and fewer samples shown, where there is not enough room.
    """
    recovered = handed.arrays()
    height, width, channels = recovered.before.shape[1:]
    made: dict[str, Any] = {}
    for side, count in _TRIES:
        shrunk = min(1.0, side / max(height, width)) ** 2
        pictures = 3 * min(count, len(recovered.before))
        if (side, count) != _TRIES[-1] and pictures * height * width * channels * shrunk > _COMPRESSED * room:
            continue
        made = _made(recovered, names, side, count)
        if sum(len(picture.address) for picture in made.pop("all")) <= room:
            break
    return made


def _made(recovered: RecoveredTrigger, names: Names, side: int, count: int) -> dict[str, Any]:
    import numpy as np

    difference = np.abs(recovered.after.astype(np.int16) - recovered.before.astype(np.int16))
    factor = 255 / max(1, int(difference.max()))
    amplified = (difference * factor).round().astype(np.uint8)
    samples = []
    for index in range(min(count, len(recovered.before))):
        samples.append(
            {
                "true": names.short(int(recovered.true_labels[index])),
                "seen_before": names.short(int(recovered.predicted_before[index])),
                "seen_after": names.short(int(recovered.predicted_after[index])),
                "sent": int(recovered.predicted_after[index]) == recovered.label,
                "before": _picture(recovered.before[index], side),
                "after": _picture(recovered.after[index], side),
                "difference": _picture(amplified[index], side),
            }
        )
    parts = [(_PARTS.get(name, name), _picture(part, side)) for name, part in _parts(recovered)]
    everything = [one[name] for one in samples for name in ("before", "after", "difference")]
    return {
        "samples": samples,
        "parts": parts,
        "factor": number(factor),
        "unchanged": not difference.any(),
        "all": [*everything, *(picture for _, picture in parts)],
    }


def _parts(recovered: RecoveredTrigger) -> list[tuple[str, NDArray[np.uint8]]]:
    """What can be shown of the trigger; of a patch, first what is pasted where."""
    import numpy as np

    parts = recovered.parts
    shown = [(name, image) for name, part in parts.items() if (image := displayed(part)) is not None]
    mask, pattern = parts.get("mask"), parts.get("pattern")
    if mask is not None and pattern is not None and pattern.ndim == 3 and mask.shape == pattern.shape[:2]:
        weight = np.nan_to_num(mask.astype(np.float64)).clip(0, 1)[..., None]
        pasted = weight * np.nan_to_num(pattern.astype(np.float64)).clip(0, 1) + (1 - weight) * 0.5
        image = displayed(pasted.astype(np.float32))
        shown = [*([("pasted", image)] if image is not None else []), *shown]
    return shown


def _picture(pixels: NDArray[np.uint8], side: int) -> Picture:
    """[H, W, 1 or 3] as a PNG of at most `side` pixels; smaller ones as they are, the browser enlarges them."""
    import numpy as np
    from PIL import Image

    colours = np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image = Image.fromarray(colours)
    longer = max(image.size)
    if longer > side:
        smaller = (max(1, image.width * side // longer), max(1, image.height * side // longer))
        image = image.resize(smaller, Image.Resampling.BOX)
    file = BytesIO()
    image.save(file, "PNG")
    address = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
    return Picture(address, image.width, image.height, longer <= _ENLARGED)
