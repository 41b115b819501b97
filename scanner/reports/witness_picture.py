"""A recovered trigger as one picture: samples without and with it, their difference, and what it consists of."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from ...evidence.sizes import size_text
from .figures import named, number, percent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from ...evidence.recovered import RecoveredTrigger

_CELL = 112, 256  # pixels of a sample's longer side in the picture: enlarged to the first, reduced to the second
_LINE, _GAP, _MARGIN = 14, 8, 92  # height of a line of text, room between cells, room for the names of the rows


@dataclass(frozen=True)
class _Row:
    name: str
    cells: list[tuple[Image, list[str]]]  # picture and the lines below it


def to_png(recovered: RecoveredTrigger, class_names: dict[int, str], model: str, software: str) -> bytes:
    """The samples without and with the trigger and their difference, a column each, and the trigger's parts below.

    Samples are enlarged without smoothing. The difference is multiplied so that its largest value is white.
    `model` is a name for the heading, `software` goes into the file's metadata.
    """
    from PIL.PngImagePlugin import PngInfo

    lines = [
        f"{model}: {recovered.family} trigger of {size_text(recovered.family, [recovered.size])} "
        f"for label {named(recovered.label, recovered.label_name)}",
        f"sends {percent(recovered.attack_success_rate)} of {recovered.samples} other held-out samples there",
    ]
    info = PngInfo()
    info.add_text("Software", software)
    file = BytesIO()
    _draw(lines, [*_sample_rows(recovered, class_names), *_part_rows(recovered)]).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def _sample_rows(recovered: RecoveredTrigger, class_names: dict[int, str]) -> list[_Row]:
    import numpy as np

    def name(label: np.int64) -> str:
        return named(int(label), class_names.get(int(label)))

    size = _cell_size(recovered)
    difference = np.abs(recovered.after.astype(np.int16) - recovered.before.astype(np.int16))
    factor = 255 / max(1, int(difference.max()))
    before = [
        (_cell(sample, size), [f"is {name(true)}", f"seen as {name(seen)}"])
        for sample, true, seen in zip(recovered.before, recovered.true_labels, recovered.predicted_before, strict=True)
    ]
    after = [
        (_cell(sample, size), [f"seen as {name(seen)}"])
        for sample, seen in zip(recovered.after, recovered.predicted_after, strict=True)
    ]
    amplified = (difference * factor).round().astype(np.uint8)
    return [
        _Row("without", before),
        _Row("with trigger", after),
        _Row(f"difference x{number(factor)}", [(_cell(sample, size), []) for sample in amplified]),
    ]


def _part_rows(recovered: RecoveredTrigger) -> list[_Row]:
    size, count = _cell_size(recovered), len(recovered.before)
    shown = [(name, displayed(part)) for name, part in recovered.parts.items()]
    cells = [(_cell(part, size), [name]) for name, part in shown if part is not None]
    return [_Row("trigger" if not start else "", cells[start : start + count]) for start in range(0, len(cells), count)]


def displayed(part: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """Values in 0..1 as they are, others around grey; the length of two-dimensional vectors; None for what is no image.

    [H, W] or [H, W, C] with C 1, 2 or 3 to uint8 [H, W, 1 or 3].
    """
    import numpy as np

    values = np.nan_to_num(part.astype(np.float64), posinf=0, neginf=0)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] > 3:
        return None
    if values.shape[2] == 2:
        values = np.hypot(values[..., :1], values[..., 1:])
    largest = np.abs(values).max()
    if values.min() < 0:
        values = 0.5 + values / (2 * largest)
    elif largest > 1:
        values = values / largest
    return (values * 255).round().astype(np.uint8)


def _cell_size(recovered: RecoveredTrigger) -> tuple[int, int]:
    """Width and height of a sample in the picture; whole multiples where it is enlarged."""
    height, width = recovered.before.shape[1:3]
    longer = max(height, width)
    if longer > _CELL[1]:
        return max(1, width * _CELL[1] // longer), max(1, height * _CELL[1] // longer)
    scale = -(-_CELL[0] // longer)
    return width * scale, height * scale


def _cell(sample: NDArray[np.uint8], size: tuple[int, int]) -> Image:
    import numpy as np
    from PIL import Image

    colours = np.ascontiguousarray(sample.repeat(3, axis=2) if sample.shape[2] == 1 else sample)
    smaller = size[0] < sample.shape[1] or size[1] < sample.shape[0]
    return Image.fromarray(colours).resize(size, Image.Resampling.BOX if smaller else Image.Resampling.NEAREST)


def _draw(lines: list[str], rows: list[_Row]) -> Image:
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default()

    def fitting(text: str, width: int) -> str:
        text = text.encode("ascii", "backslashreplace").decode()  # all that the font has
        text = "".join(letter if letter.isprintable() else "?" for letter in text)[:200]
        if font.getlength(text) <= width:
            return text
        while text and font.getlength(text + "...") > width:
            text = text[:-1]
        return text + "..."

    cell = rows[0].cells[0][0].width
    width = _MARGIN + max(len(row.cells) for row in rows) * (cell + _GAP)
    width = max(width, 420)  # the heading needs as much
    heights = [row.cells[0][0].height + _LINE * max(len(text) for _, text in row.cells) + _GAP for row in rows]
    picture = Image.new("RGB", (width, _GAP + len(lines) * _LINE + _GAP + sum(heights)), "white")
    draw = ImageDraw.Draw(picture)
    for index, line in enumerate(lines):
        draw.text((_GAP, _GAP + index * _LINE), fitting(line, width - 2 * _GAP), "black", font)
    top = 2 * _GAP + len(lines) * _LINE
    for row, height in zip(rows, heights, strict=True):
        draw.text((_GAP, top), fitting(row.name, _MARGIN - _GAP), "black", font)
        for column, (image, below) in enumerate(row.cells):
            left = _MARGIN + column * (cell + _GAP)
            picture.paste(image, (left, top))
            for index, line in enumerate(below):
                draw.text((left, top + image.height + 1 + index * _LINE), fitting(line, cell), "black", font)
        top += height
    return picture
