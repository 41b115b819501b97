"""Draws what each attack does to a picture: the original, the triggered one, and the difference.

    python -m ebyd_scan.benchmarks.attack_gallery --out docs/images

The pictures are two photographs and a digit that scikit-learn ships, all 32x32 pixels: no data set is needed.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image

from ..fixtures.attacks.badnets import BadNets
from ..fixtures.attacks.blend import Blend
from ..fixtures.attacks.combined import Combined
from ..fixtures.attacks.dynamic import Dynamic
from ..fixtures.attacks.frequency import Frequency
from ..fixtures.attacks.interface import Attack, Images
from ..fixtures.attacks.label_consistent import LabelConsistent
from ..fixtures.attacks.one_pixel import OnePixel
from ..fixtures.attacks.photo_filter import PhotoFilter
from ..fixtures.attacks.quantised import Quantised
from ..fixtures.attacks.sample_specific import SampleSpecific
from ..fixtures.attacks.sig import Sinusoid
from ..fixtures.attacks.smooth import Smooth
from ..fixtures.attacks.trojan import TrojanPatch, Watermark
from ..fixtures.attacks.wanet import WaNet
from ..fixtures.digits import load_digits

# All-to-all and source-specific attacks look like the trigger they are given.
GALLERY: list[Attack] = [
    BadNets(target=0),
    TrojanPatch(target=0),
    OnePixel(target=0),
    Watermark(target=0),
    Blend(target=0),
    Smooth(target=0),
    Sinusoid(target=0),
    Frequency(target=0),
    LabelConsistent(target=0),
    Dynamic(target=0),
    WaNet(target=0),
    SampleSpecific(target=0),
    PhotoFilter(target=0),
    Quantised(target=0),
    Combined(parts=[BadNets(target=0, size=4), Blend(target=0)], mode="sequential"),
]
SIDE, SCALE, GAP = 32, 4, 4  # pixels of a picture, how many times it is enlarged, white pixels between pictures


def sample_pictures() -> Images:
    """Two photographs and a handwritten digit, uint8 [3, 32, 32, 3]."""
    from sklearn.datasets import load_sample_image

    pictures = []
    for name in ("flower.jpg", "china.jpg"):
        photo = load_sample_image(name)
        height, width = photo.shape[:2]
        left = (width - height) // 2  # both are wider than high
        square = Image.fromarray(photo[:, left : left + height])
        pictures.append(np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS)))
    digit = load_digits().test_x[0].repeat(2, axis=0).repeat(2, axis=1)
    return np.stack([*pictures, digit.repeat(3, axis=2)])


def amplified_difference(originals: Images, triggered: Images) -> tuple[Images, float]:
    """The signed change around grey 128, uint8 like the images, and the factor by which it was enlarged.

    The factor brings the largest change (its 99.9 % quantile) to black or white, and is at least 1/2.
    """
    change = triggered.astype(np.float64) - originals
    largest = float(np.quantile(np.abs(change), 0.999))
    factor = max(0.5, 127 / largest) if largest else 1.0
    return (128 + factor * change).clip(0, 255).round().astype(np.uint8), factor


def draw(attack: Attack, originals: Images) -> tuple[Image.Image, float]:
    """A table of pictures, a column each; rows: original, triggered, difference. With the difference's factor."""
    triggered = attack.apply(originals)
    difference, factor = amplified_difference(originals, triggered)
    step = SIDE * SCALE + GAP
    sheet = np.full((3 * step - GAP, len(originals) * step - GAP, 3), 255, dtype=np.uint8)
    for row, pictures in enumerate((originals, triggered, difference)):
        for column, picture in enumerate(pictures):
            enlarged = picture.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
            top, left = row * step, column * step
            sheet[top : top + SIDE * SCALE, left : left + SIDE * SCALE] = enlarged
    return Image.fromarray(sheet), factor


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("docs/images"), show_default=True)
def main(out: Path) -> None:
    """Write one PNG an attack into OUT."""
    out.mkdir(parents=True, exist_ok=True)
    originals = sample_pictures()
    for attack in GALLERY:
        sheet, factor = draw(attack, originals)
        path = out / f"attack-{attack.name}.png"
        sheet.save(path, optimize=True)
        click.echo(f"{path.name}: difference x {factor:.1f}, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
