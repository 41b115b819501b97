"""Witness files: all figures in the .npz, a picture that shows what it should, nobody else's file touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.evidence.errors import ScanError
from ebyd_scan.evidence.result import ScanResult, Verdict

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")
from ebyd_scan.evidence.recovered import RecoveredTrigger  # noqa: E402
from ebyd_scan.scanner.handover import Handed, hand_over  # noqa: E402
from ebyd_scan.scanner.reports.witness_files import write_witness  # noqa: E402
from ebyd_scan.scanner.reports.witness_picture import to_png  # noqa: E402

RED, BLUE = (200, 30, 30), (20, 20, 180)


def _recovered(shape: tuple[int, int, int, int] = (3, 8, 8, 3), **changes: Any) -> RecoveredTrigger:
    """Plain red (or dark) samples; the trigger makes their lower right quarter blue (or light)."""
    before = np.zeros(shape, np.uint8)
    before[...] = RED if shape[3] == 3 else 40
    after = before.copy()
    after[:, shape[1] // 2 :, shape[2] // 2 :] = BLUE if shape[3] == 3 else 250
    mask = np.zeros(shape[1:3], np.float32)
    mask[shape[1] // 2 :, shape[2] // 2 :] = 1
    values: dict[str, Any] = {
        "family": "patch",
        "label": 3,
        "label_name": "cat",
        "attack_success_rate": 0.95,
        "samples": 222,
        "size": 16.0,
        "before": before,
        "after": after,
        "true_labels": np.arange(shape[0]),
        "predicted_before": np.arange(shape[0]),
        "predicted_after": np.full(shape[0], 3),
        "parts": {"mask": mask},
        **changes,
    }
    return RecoveredTrigger(**values)


def _handed(recovered: RecoveredTrigger, names: tuple[str, ...] = ("plane", "car", "bird", "cat")) -> Handed:
    form, pieces = hand_over(recovered, names)
    handed = Handed(form)
    for piece in pieces:
        handed.add(piece)
    return handed


@pytest.fixture
def result(result_of: Callable[..., ScanResult]) -> ScanResult:
    return result_of(Verdict.FAILED)


def test_the_npz_holds_every_field(result: ScanResult, tmp_path: Path) -> None:
    sent = _recovered()
    data, picture = write_witness(_handed(sent), result, tmp_path / "deep" / "folder")
    stem = Path(result.model.path).stem
    assert (data.name, picture.name) == (f"{stem}-3-patch.npz", f"{stem}-3-patch.png")
    with np.load(data, allow_pickle=False) as held:
        for name in ("before", "after", "true_labels", "predicted_before", "predicted_after"):
            assert (held[name] == getattr(sent, name)).all()
        assert held["part_mask"].tolist() == sent.parts["mask"].tolist()
        assert (str(held["family"]), int(held["label"]), str(held["label_name"])) == ("patch", 3, "cat")
        assert (float(held["attack_success_rate"]), int(held["samples"]), float(held["size"])) == (0.95, 222, 16.0)
        metadata = json.loads(str(held["metadata"]))
    assert metadata["model"]["sha256"] == result.model.sha256
    assert metadata["class_names"] == {"0": "plane", "1": "car", "2": "bird", "3": "cat"}
    assert sorted(path.name for path in data.parent.iterdir()) == [data.name, picture.name]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_shows_samples_difference_and_mask(channels: int) -> None:
    recovered = _recovered((2, 8, 8, channels))
    picture = Image.open(BytesIO(to_png(recovered, {}, "model.pt", "me")))
    seen = np.asarray(picture.convert("RGB")).astype(int)
    plain, stamped = (RED, BLUE) if channels == 3 else ((40,) * 3, (250,) * 3)
    cell = 14 * 8  # the sample's side times a whole number

    def area(colour: tuple[int, ...]) -> int:
        return int((seen == colour).all(axis=2).sum())

    text = 200  # pixels of smoothed letters that happen to have the same grey
    assert 0 <= area(plain) - (2 * cell**2 + 2 * cell**2 * 3 // 4) < text  # without, and three quarters with it
    assert 0 <= area(stamped) - 2 * cell**2 // 4 < text
    brightest = np.abs(np.array(stamped) - plain)
    amplified = tuple((brightest * (255 / brightest.max())).round().astype(int))
    assert area(amplified) >= 2 * cell**2 // 4
    assert picture.text["Software"] == "me"


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ((1, 1, 1, 1), {}),
        ((5, 300, 20, 3), {"perturbation": np.full((300, 20, 3), -0.5)}),
        ((5, 3, 700, 1), {"flow": np.ones((3, 700, 2)), "mask": np.zeros((3, 700))}),
        ((2, 6, 6, 3), {"nan": np.full((6, 6), np.nan), "vector": np.ones(5), "four": np.ones((2, 2, 2, 4))}),
        ((1, 6, 6, 3), {name: np.full((6, 6), 1e30) for name in "abcdefg"}),
    ],
    ids=str,
)
def test_pictures_of_any_size(shape: Any, parts: dict[str, Any]) -> None:
    picture = Image.open(BytesIO(to_png(_recovered(shape, parts=parts), {0: "x" * 900}, "m\n\x1b" * 80, "me")))
    picture.load()
    assert 400 <= picture.width <= 1500
    assert picture.height <= 2500


def test_names_that_no_font_has(result: ScanResult, tmp_path: Path) -> None:
    odd = result.model_copy(update={"model": result.model.model_copy(update={"path": "a/.模 型\n;.pt"})})
    handed = _handed(_recovered(label_name="\x00\ud800猫"), ("\x1b[31m", "猫", "\n", "\x00"))
    data, _ = write_witness(handed, odd, tmp_path)
    assert data.parent == tmp_path
    assert data.name == "模_型__-3-patch.npz"
    with np.load(data, allow_pickle=False) as held:
        assert str(held["label_name"]) == "\x00?猫"


def test_ours_are_replaced_and_nobody_elses(result: ScanResult, tmp_path: Path) -> None:
    data, picture = write_witness(_handed(_recovered()), result, tmp_path)
    old = data.read_bytes(), picture.read_bytes()
    write_witness(_handed(_recovered(size=7.0)), result, tmp_path)
    assert data.read_bytes() != old[0]
    for path in (data, picture):
        kept = path.read_bytes()
        path.write_bytes(b"somebody's own")
        with pytest.raises(ScanError, match="is no witness that ebyd-scan wrote"):
            write_witness(_handed(_recovered(size=8.0)), result, tmp_path)
        assert path.read_bytes() == b"somebody's own"
        path.write_bytes(kept)
    elsewhere = tmp_path / "elsewhere"
    data.rename(elsewhere)
    data.symlink_to(elsewhere)
    with pytest.raises(ScanError, match="is no witness"):
        write_witness(_handed(_recovered()), result, tmp_path)
    assert data.is_symlink()


def test_nothing_half_written_stays(result: ScanResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ScanError, match="No space left on device"):
        write_witness(_handed(_recovered()), result, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(result: ScanResult, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ScanError, match="the witness cannot be written"):
        write_witness(_handed(_recovered()), result, tmp_path / "file" / "folder")
