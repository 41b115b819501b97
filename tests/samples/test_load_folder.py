"""Folders of class folders: what counts as a sample, and every way in which a folder can be wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from ebyd_scan.evidence.errors import ScanError, UsageError
from ebyd_scan.evidence.samples import CleanSamples
from ebyd_scan.scanner.samples import folder, image
from ebyd_scan.scanner.samples.load import check_against_model
from PIL import Image

Load = Callable[..., CleanSamples]
Write = Callable[..., Path]


def test_different_sizes_need_a_size(tmp_path: Path, load: Load, write: Write, rgb: Any) -> None:
    write(tmp_path, ["0"])
    write(tmp_path, ["1"], pixels=rgb[:, :4])
    with pytest.raises(ScanError, match=r"'0/0.png' is 8x8 and '1/0.png' 4x8; give the model's input size with --size"):
        load(tmp_path)
    assert load(tmp_path, size=(6, 5)).exposure.pixels.shape[2:] == (6, 5)


def test_unreadable_images_are_named_and_counted(tmp_path: Path, load: Load, write: Write) -> None:
    write(tmp_path, ["0", "1"], count=6)
    whole = (tmp_path / "0" / "0.png").read_bytes()
    (tmp_path / "0" / "0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "0" / "1.png").write_bytes(b"")
    (tmp_path / "1" / "2.png").write_bytes(b"not an image")
    (tmp_path / "1" / "3.png").write_bytes(whole[:20])
    with pytest.raises(
        ScanError, match=r"4 of 12 images cannot be read: '0/0.png' \(.*'0/1.png'.*'1/2.png'.* and 1 more"
    ):
        load(tmp_path)


def test_decompression_bombs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Load, write: Write
) -> None:
    write(tmp_path, ["0", "1"])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    with pytest.raises(ScanError, match="decompression bomb"):
        load(tmp_path)


def test_too_much_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Load, write: Write) -> None:
    monkeypatch.setattr(folder, "MAX_BYTES", 1000)
    with pytest.raises(ScanError, match="give the model's input size with --size, or fewer images"):
        load(write(tmp_path, ["0", "1"]))


def test_values_out_of_range_are_refused(tmp_path: Path, load: Load, grey: Any) -> None:
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
        for index in range(2):
            Image.fromarray(grey.astype(np.float32)).save(tmp_path / name / f"{index}.tiff")
    with pytest.raises(ScanError, match=r"its values are not in 0\.\.1"):
        load(tmp_path)


def test_litter_is_ignored_and_nested_images_count(tmp_path: Path, load: Load, write: Write) -> None:
    write(tmp_path, ["a", "b"])
    clean = load(tmp_path)
    for litter in ("Thumbs.db", ".DS_Store", "._0.png", "notes.txt", "labels.csv"):
        (tmp_path / "a" / litter).write_bytes(b"litter, litter, litter")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "README.md").write_text("two classes")
    littered = load(tmp_path)
    assert (len(littered), littered.sha256, littered.class_names) == (4, clean.sha256, ("a", "b"))
    (tmp_path / "a" / "more").mkdir()
    (tmp_path / "a" / "0.png").rename(tmp_path / "a" / "more" / "0.png")
    (tmp_path / "a" / "1.png").rename(tmp_path / "a" / "without_suffix")
    assert len(load(tmp_path)) == 4


def test_every_sample_is_called_by_its_file(tmp_path: Path, load: Load, write: Write) -> None:
    write(tmp_path, ["a", "b"], count=4)
    (tmp_path / "a" / "more").mkdir()
    (tmp_path / "a" / "0.png").rename(tmp_path / "a" / "more" / "0.png")
    try:
        (tmp_path / "b" / "0.png").rename(tmp_path / "b" / os.fsdecode(b"\xff.png"))
        odd = r"b/\xff.png"
    except OSError:  # file systems that take no such names
        odd = "b/0.png"
    samples = load(tmp_path, max_count=6)
    for part in (samples.exposure, samples.held_out):
        assert len(part.names) == len(part)
        # the first pixel tells the class
        marks = (part.pixels[:, 0, 0, 0] * 255).round().tolist()
        assert [name[0] for name in part.names] == ["a" if mark == 0 else "b" for mark in marks]
    known = {f"{name}/{index}.png" for name in "ab" for index in range(1, 4)} | {"a/more/0.png", odd}
    every = samples.exposure.names + samples.held_out.names
    assert len(set(every)) == 6 and set(every) <= known
    (tmp_path / "b" / r"\xff.png").write_bytes((tmp_path / "b" / "1.png").read_bytes())  # is called like it reads
    whole = load(tmp_path)
    names = whole.exposure.names + whole.held_out.names
    assert odd in names and len(names) == len(set(names)) == 9


def test_links_out_of_the_folder_are_refused(tmp_path: Path, load: Load, write: Write) -> None:
    root = write(tmp_path / "set", ["a", "b"])
    secret = write(tmp_path / "other", ["c"])
    (root / "a" / "2.png").symlink_to(root / "a" / "1.png")
    assert len(load(root)) == 5
    (root / "a" / "3.png").symlink_to(secret / "c" / "0.png")
    with pytest.raises(ScanError, match=r"'3.png' is a link out of the folder"):
        load(root)
    (root / "a" / "3.png").unlink()
    (root / "c").symlink_to(secret / "c")
    with pytest.raises(ScanError, match=r"'c' is a link out of the folder or to a folder"):
        load(root)
    (root / "c").unlink()
    (root / "a" / "loop.png").symlink_to("loop.png")
    with pytest.raises(ScanError, match=r"'loop.png' is a link"):
        load(root)


def test_only_chosen_images_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Load, write: Write
) -> None:
    write(tmp_path, ["a", "b"], count=20)
    decode = Mock(wraps=image.decode)
    monkeypatch.setattr("ebyd_scan.scanner.samples.folder.decode", decode)
    samples = load(tmp_path, max_count=8)
    assert decode.call_count == len(samples) == 8
    assert samples.sha256 == load(tmp_path, max_count=6, seed=1).sha256


def test_the_digest_covers_names_contents_and_classes(tmp_path: Path, load: Load, write: Write, rgb: Any) -> None:
    digests = [load(write(tmp_path, ["a", "b"])).sha256]
    (tmp_path / "a" / "0.png").rename(tmp_path / "a" / "x.png")
    digests.append(load(tmp_path).sha256)
    Image.fromarray(rgb[::-1]).save(tmp_path / "a" / "x.png")
    digests.append(load(tmp_path).sha256)
    (tmp_path / "classes.txt").write_text("b\na\n")
    digests.append(load(tmp_path).sha256)
    assert len(set(digests)) == 4 and all(len(digest) == 64 for digest in digests)


def test_empty_folders(tmp_path: Path, load: Load, rgb: Any) -> None:
    with pytest.raises(ScanError, match="holds nothing; put the images of each class into a folder of its own"):
        load(tmp_path)
    Image.fromarray(rgb).save(tmp_path / "0.png")
    with pytest.raises(ScanError, match="holds images but no class folders"):
        load(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(ScanError, match="no samples in it"):
        load(tmp_path)


def test_one_class_is_not_enough(tmp_path: Path, load: Load, write: Write) -> None:
    with pytest.raises(ScanError, match="all 2 samples are of class 0 'a'"):
        load(write(tmp_path, ["a"]))


def test_too_few_of_a_class(tmp_path: Path, load: Load, write: Write) -> None:
    write(tmp_path, ["a", "b"], count=5)
    write(tmp_path, ["c"], count=3)
    (tmp_path / "d").mkdir()
    with pytest.raises(
        ScanError, match=r"too few samples of class 2 'c' \(3\), 3 'd' \(0\); at least 5 of every class"
    ):
        load(tmp_path, min_per_class=5)


@pytest.mark.parametrize(
    ("names", "num_classes", "message"),
    [
        (
            ["0", "1", "5"],
            10,
            r"no samples of class 2, 3, 4, 6, 7 and 2 more; clean unlearning needs .* all 10 classes",
        ),
        (["0", "1", "5"], 5, r"has 5 classes \(0 to 4\) but there are samples of class 5; give the samples this model"),
        (["1", "2", "3"], 3, r"samples of class 3; the samples seem to count classes from 1"),
        (["cat", "dog", "owl"], 2, r"samples of class 2 'owl'"),
    ],
)
def test_classes_must_be_the_models(
    tmp_path: Path, names: list[str], num_classes: int, message: str, load: Load, write: Write
) -> None:
    write(tmp_path, names)
    with pytest.raises(ScanError, match=message):
        load(tmp_path, num_classes=num_classes)
    samples = load(tmp_path)
    with pytest.raises(ScanError, match=message):
        check_against_model(samples, num_classes)


def test_samples_that_cover_the_model_come_back(tmp_path: Path, load: Load, write: Write) -> None:
    samples = load(write(tmp_path, ["a", "b"]), num_classes=2)
    assert check_against_model(samples, 2).class_names == ("a", "b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 4}, "1 or 3 channels, not 4"),
        ({"size": (0, 8)}, "cannot be resized to 0x8"),
        ({"held_out": 1.0}, "between 0 and 1, not 1.0"),
        ({"max_count": 3}, "at most 3 samples are too few for 2 classes with 2 each: allow 4 or more"),
        ({"classes_file": Path("/nowhere/classes.txt")}, "there is no such file; give a classes.txt"),
    ],
)
def test_wrong_settings_are_usage_errors(
    tmp_path: Path, changes: dict[str, Any], message: str, load: Load, write: Write
) -> None:
    write(tmp_path, ["a", "b"])
    with pytest.raises(UsageError, match=message):
        load(tmp_path, **changes)


def test_paths_that_are_no_samples_are_usage_errors(tmp_path: Path, load: Load) -> None:
    with pytest.raises(UsageError, match="there is no such file or folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "samples.tar").write_bytes(b"tar")
    with pytest.raises(UsageError, match=r"neither a folder of class folders nor an \.npz file"):
        load(tmp_path / "samples.tar")
