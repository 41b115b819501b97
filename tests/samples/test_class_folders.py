"""Which class a folder stands for, and every way in which classes.txt can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ebyd_scan.evidence.errors import ScanError
from ebyd_scan.evidence.samples import CleanSamples

Load = Callable[..., CleanSamples]
Write = Callable[..., Path]


def classes_by_mark(samples: CleanSamples) -> dict[int, int]:
    """From the place that was written into the first pixel to the label."""
    found: dict[int, int] = {}
    for part in (samples.exposure, samples.held_out):
        for pixels, label in zip(part.pixels, part.labels, strict=True):
            found[round(float(pixels[0, 0, 0]) * 25.5)] = int(label)
    return found


def test_folders_by_name_count_in_sorted_order(tmp_path: Path, load: Load, write: Write) -> None:
    samples = load(write(tmp_path, ["dog", "Zebra", "cat"]))
    assert samples.class_names == ("Zebra", "cat", "dog")
    assert classes_by_mark(samples) == {0: 2, 1: 0, 2: 1}
    assert samples.num_classes == 3 and len(samples) == 6
    assert samples.exposure.pixels.dtype == torch.float32 and samples.exposure.labels.dtype == torch.int64
    assert samples.exposure.pixels.shape == (3, 3, 8, 8)


@pytest.mark.parametrize(("names", "labels"), [(["10", "2", "0"], [10, 2, 0]), (["00", "01", "07"], [0, 1, 7])])
def test_folders_by_index_are_their_index(
    tmp_path: Path, names: list[str], labels: list[int], load: Load, write: Write
) -> None:
    samples = load(write(tmp_path, names))
    assert classes_by_mark(samples) == dict(enumerate(labels))
    assert samples.num_classes == max(labels) + 1
    assert samples.class_names == tuple(str(i) for i in range(max(labels) + 1))


@pytest.mark.parametrize(
    "text",
    ["dog\ncat\nzebra\n", "\ufeffdog\r\ncat\r\nzebra\r\n\r\n", "cat\t1\ndog\t0\nzebra\t2", "zebra,2\ndog, 0\ncat 1\n"],
)
def test_classes_txt_decides(tmp_path: Path, text: str, load: Load, write: Write) -> None:
    write(tmp_path, ["cat", "dog", "zebra"])
    (tmp_path / "classes.txt").write_text(text, encoding="utf-8", newline="")
    samples = load(tmp_path)
    assert samples.class_names == ("dog", "cat", "zebra")
    assert classes_by_mark(samples) == {0: 1, 1: 0, 2: 2}


def test_a_given_classes_file_goes_before_the_one_inside(tmp_path: Path, load: Load, write: Write) -> None:
    root = write(tmp_path / "set", ["cat", "dog"])
    (root / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "mine.txt").write_text("dog\ncat\n")
    assert load(root).class_names == ("cat", "dog")
    assert load(root, classes_file=tmp_path / "mine.txt").class_names == ("dog", "cat")


def test_classes_txt_names_numbered_folders(tmp_path: Path, load: Load, write: Write) -> None:
    write(tmp_path, ["1", "0"])
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    samples = load(tmp_path)
    assert samples.class_names == ("cat", "dog")
    assert classes_by_mark(samples) == {0: 1, 1: 0}


def test_names_that_end_in_a_number_are_names_if_the_folders_say_so(tmp_path: Path, load: Load, write: Write) -> None:
    write(tmp_path, ["gate 1", "gate 2"])
    (tmp_path / "classes.txt").write_text("gate 2\ngate 1\n")
    assert classes_by_mark(load(tmp_path)) == {0: 1, 1: 0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat\n", r"classes.txt: class folder 'dog' is on none of its 1 lines"),
        ("cat\ndog\ncat\n", r"classes.txt, line 3: class 'cat' stands on line 1 already"),
        ("cat 0\ndog 0\n", r"classes.txt, line 2: index 0 stands there twice"),
        ("cat 0\ncat 1\n", r"classes.txt, line 2: class 'cat' stands there twice"),
        ("cat 0\ndog -1\n", r"classes.txt, line 2: -1 is not a class index"),
        ("cat 0\ndog 99999999999\n", r"classes.txt, line 2: 99999999999 is not a class index"),
        ("cat 0\ndog one\n", r"classes.txt, line 2: 'dog one' has no class index"),
        ("cat\n\ndog\n", r"classes.txt, line 2: is blank"),
        ("", r"is on none of its 0 lines"),
    ],
)
def test_a_wrong_classes_txt_names_the_line(tmp_path: Path, text: str, message: str, load: Load, write: Write) -> None:
    write(tmp_path, ["cat", "dog"])
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(ScanError, match=message):
        load(tmp_path)


def test_a_classes_txt_that_is_no_text(tmp_path: Path, load: Load, write: Write) -> None:
    write(tmp_path, ["cat", "dog"])
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScanError, match="cannot be read"):
        load(tmp_path)


def test_a_class_of_classes_txt_without_a_folder_is_named(tmp_path: Path, load: Load, write: Write) -> None:
    write(tmp_path, ["cat", "dog"])
    (tmp_path / "classes.txt").write_text("cat\ndog\nhorse\n")
    with pytest.raises(ScanError, match=r"too few samples of class 2 'horse' \(0\)"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0", "1", "cat"], r"\('0', '1'\) and by name \('cat'\) are mixed; rename them, or say in classes.txt"),
        (["1", "01", "2"], "folders '01' and '1' are the same class"),
    ],
)
def test_ambiguous_folder_names(tmp_path: Path, names: list[str], message: str, load: Load, write: Write) -> None:
    with pytest.raises(ScanError, match=message):
        load(write(tmp_path, names))
