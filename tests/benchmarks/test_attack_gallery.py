"""The gallery draws every attack, and the page shows every picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from ebyd_scan.benchmarks.attack_gallery import GALLERY, amplified_difference, draw, main, sample_pictures
from ebyd_scan.fixtures.attacks.badnets import BadNets
from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def originals() -> Any:
    return sample_pictures()


def test_three_different_pictures(originals: Any) -> None:
    assert originals.shape == (3, 32, 32, 3)
    assert originals.dtype == np.uint8
    assert originals.reshape(3, -1).std(axis=1).min() > 20
    assert (originals[2, ..., 0] == originals[2, ..., 2]).all()  # the digit is grey, the photographs are not
    assert (originals[:2, ..., 0] != originals[:2, ..., 2]).any()


def test_the_difference_is_grey_where_nothing_changed(originals: Any) -> None:
    difference, factor = amplified_difference(originals, BadNets(target=0).apply(originals))
    assert 0.5 <= factor < 0.6
    changed = (difference != 128).any(axis=3)
    assert changed.any(axis=(1, 2)).all()
    assert not changed[:, :28, :].any()


def test_a_faint_difference_is_enlarged() -> None:
    originals = np.full((1, 8, 8, 3), 100, dtype=np.uint8)
    triggered = originals.copy()
    triggered[:, :4] += 10
    difference, factor = amplified_difference(originals, triggered)
    assert factor == pytest.approx(12.7)
    assert (difference[:, :4] == 255).all()
    assert (difference[:, 4:] == 128).all()
    assert (amplified_difference(originals, originals)[0] == 128).all()


def test_a_sheet_holds_the_pictures(originals: Any) -> None:
    sheet = np.asarray(draw(BadNets(target=0), originals)[0])
    assert sheet.shape == (392, 392, 3)
    assert (sheet[:128:4, 132:260:4] == originals[1]).all()
    assert (sheet[132:260:4, 264::4] == BadNets(target=0).apply(originals)[2]).all()


def test_one_small_file_an_attack(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--out", str(tmp_path / "new")], catch_exceptions=False)
    assert result.exit_code == 0
    files = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert files == sorted(f"attack-{attack.name}.png" for attack in GALLERY)
    assert all(path.stat().st_size < 60_000 for path in (tmp_path / "new").iterdir())


@pytest.mark.parametrize("attack", GALLERY, ids=lambda attack: attack.name)
def test_the_page_shows_what_the_code_does(attack: Any, originals: Any) -> None:
    name = f"images/attack-{attack.name}.png"
    assert f"({name})" in (DOCS / "attacks.md").read_text(encoding="utf-8")
    shown, drawn = np.asarray(Image.open(DOCS / name)).astype(int), np.asarray(draw(attack, originals)[0]).astype(int)
    assert np.abs(shown - drawn).mean() < 2  # resizing may round otherwise in another Pillow


def test_the_page_names_every_attack_file() -> None:
    page = (DOCS / "attacks.md").read_text(encoding="utf-8")
    folder = DOCS.parent / "fixtures" / "attacks"
    helpers = {"__init__", "interface", "hardening"}
    for module in {path.stem for path in folder.glob("*.py")} - helpers:
        assert f"`{module}.py`" in page, module
