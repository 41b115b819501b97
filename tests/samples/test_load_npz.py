"""`.npz` files: layouts, types, and every way in which they can be wrong or hostile."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ebyd_scan.evidence.errors import ScanError, UsageError
from ebyd_scan.evidence.samples import CleanSamples
from ebyd_scan.scanner.samples import npz, npz_header

Load = Callable[..., CleanSamples]
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
Y = np.arange(12) % 3
SCALED = X.transpose(0, 3, 1, 2).astype(np.float32) / 255


def save(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "samples.npz"
    np.savez(path, **arrays)
    return path


def everything(samples: CleanSamples) -> set[tuple[int, bytes]]:
    """Labels with their pixels, rounded to 8 bits, in no order."""
    return {
        (int(label), (pixels * 255).round().to(torch.uint8).numpy().tobytes())
        for part in (samples.exposure, samples.held_out)
        for pixels, label in zip(part.pixels, part.labels, strict=True)
    }


EXPECTED = {(int(y), x.transpose(2, 0, 1).tobytes()) for x, y in zip(X, Y, strict=True)}


@pytest.mark.parametrize(
    "x",
    [
        X,
        np.asfortranarray(X),
        SCALED,
        SCALED.astype(np.float64),
        SCALED.astype(">f4"),
        np.asfortranarray(SCALED),
    ],
    ids=["uint8", "fortran", "float32", "float64", "big-endian", "fortran-float"],
)
@pytest.mark.parametrize("dtype", ["int64", "uint8", ">i4"])
def test_layouts(tmp_path: Path, x: Any, dtype: str, load: Load) -> None:
    samples = load(save(tmp_path, x=x, y=Y.astype(dtype)))
    assert everything(samples) == EXPECTED
    assert samples.exposure.pixels.shape == (6, 3, 6, 5)
    assert samples.exposure.pixels.dtype == torch.float32 and samples.exposure.labels.dtype == torch.int64
    assert samples.class_names == ("0", "1", "2")


def test_compressed_and_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Load) -> None:
    np.savez_compressed(tmp_path / "s.npz", x=X, y=Y)
    monkeypatch.setattr(npz, "_CHUNK", 5 * 90)
    assert everything(load(tmp_path / "s.npz")) == EXPECTED
    few = load(tmp_path / "s.npz", max_count=6)
    assert everything(few) < EXPECTED and len(few) == 6


@pytest.mark.parametrize("x", [X[..., 0], X[..., :1], SCALED[:, 0], SCALED[:, :1], SCALED[:, 0].astype(np.float16)])
def test_greyscale(tmp_path: Path, x: Any, load: Load) -> None:
    path = save(tmp_path, x=x, y=Y)
    assert load(path).exposure.pixels.shape == (6, 1, 6, 5)
    assert load(path, channels=3).exposure.pixels.shape == (6, 3, 6, 5)


def test_colour_to_grey_and_another_size(tmp_path: Path, load: Load) -> None:
    path = save(tmp_path, x=np.full((12, 6, 6, 3), 51, np.uint8), y=Y)
    pixels = load(path, channels=1, size=(4, 3)).exposure.pixels
    assert pixels.shape == (6, 1, 4, 3)
    assert pixels.numpy() == pytest.approx(0.2, abs=1e-5)


def test_class_names(tmp_path: Path, load: Load) -> None:
    samples = load(save(tmp_path, x=X, y=Y, classes=np.array(["cat", "dog", "owl"])))
    assert samples.class_names == ("cat", "dog", "owl")


def test_digest_is_the_files(tmp_path: Path, load: Load) -> None:
    import hashlib

    path = save(tmp_path, x=X, y=Y)
    assert load(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_halves_do_not_depend_on_anything_but_the_seed(tmp_path: Path, load: Load) -> None:
    path = save(tmp_path, x=X, y=Y)
    first, again, other = load(path), load(path), load(path, seed=1)
    assert torch.equal(first.exposure.pixels, again.exposure.pixels)
    assert not torch.equal(first.exposure.pixels, other.exposure.pixels)


def test_every_sample_is_called_by_its_index(tmp_path: Path, load: Load) -> None:
    x = np.arange(12, dtype=np.uint8)[:, None, None].repeat(4, axis=1).repeat(4, axis=2)
    samples = load(save(tmp_path, x=x, y=np.arange(12) % 3), max_count=9)
    for part in (samples.exposure, samples.held_out):
        shades = (part.pixels[:, 0, 0, 0] * 255).round().int().tolist()
        assert part.names == tuple(f"x[{shade}]" for shade in shades)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X, "y": Y}, "has no array 'x', only 'X', 'y'; rename 'X' to it"),
        (
            {"images": X, "y": Y},
            r"has no array 'x', only 'images', 'y'; save with np.savez\(file, x=images, y=labels\)",
        ),
        ({"x": X, "y_test": Y}, "has no array 'y', only 'x', 'y_test'; rename 'y_test' to it"),
        ({"x": np.array([None, {}]), "y": Y[:2]}, "x holds Python objects"),
        ({"x": X, "y": np.array([object()] * 12)}, "y holds Python objects"),
        ({"x": np.zeros(12, [("a", "u1")]), "y": Y}, "x holds Python objects or records"),
        ({"x": X.astype(np.int64), "y": Y}, "x is int64; save pixels as uint8"),
        ({"x": X[:, 0, 0], "y": Y}, r"x has shape \(12, 3\); save"),
        ({"x": np.uint8(3), "y": Y}, r"x has shape \(\); save"),
        ({"x": X[:, :0], "y": Y}, "images without pixels"),
        ({"x": X.transpose(0, 3, 1, 2), "y": Y}, r"not NHWC; save x.transpose\(0, 2, 3, 1\)"),
        ({"x": SCALED.transpose(0, 2, 3, 1), "y": Y}, r"not NCHW; save x.transpose\(0, 3, 1, 2\)"),
        ({"x": X.repeat(2, axis=3)[..., :4], "y": Y}, "x has 4 channels"),
        ({"x": SCALED * 4 - 2, "y": Y}, r"looks already normalised; save raw pixels in 0\.\.1 .* --mean and --std"),
        ({"x": SCALED * 255, "y": Y}, "divide by 255, or save uint8"),
        ({"x": np.where(SCALED > 0.9, np.nan, SCALED), "y": Y}, "not finite"),
        ({"x": np.where(SCALED > 0.9, np.inf, SCALED), "y": Y}, "not finite"),
        ({"x": X, "y": Y[:-1]}, "x has 12 samples but y has 11"),
        ({"x": X, "y": Y.astype(float)}, "y is float64, not integer"),
        ({"x": X, "y": Y > 0}, "y is bool, not integer"),
        ({"x": X, "y": np.eye(3, dtype=int)[Y]}, r"y has shape \(12, 3\); save one class index a sample"),
        ({"x": X, "y": Y - 1}, "y holds -1, which is not a class index"),
        ({"x": X, "y": Y.astype(np.uint64) + 2**63}, "y holds 9223372036854775810, which is not a class index"),
        ({"x": X[:0], "y": Y[:0]}, "no samples in it"),
        ({"x": X, "y": Y * 0}, "all 12 samples are of class 0"),
        ({"x": X, "y": Y, "classes": np.arange(3)}, "classes is int64 of shape"),
        ({"x": X, "y": Y, "classes": np.array(["a", "b"])}, "y holds 2 but classes names only 2"),
        ({"x": X, "y": Y, "classes": np.array(["a", "b", "a"])}, "classes names 'a' twice"),
        ({"x": X, "y": Y, "classes": np.array(list("abcd"))}, r"too few samples of class 3 'd' \(0\)"),
    ],
)
def test_unfit_arrays_are_told(tmp_path: Path, arrays: dict[str, Any], message: str, load: Load) -> None:
    with pytest.raises(ScanError, match=message) as caught:
        load(save(tmp_path, **arrays))
    assert not isinstance(caught.value, UsageError)
    assert "samples.npz" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_classes_of_the_model_are_named(tmp_path: Path, load: Load) -> None:
    with pytest.raises(ScanError, match="no samples of class 3; clean unlearning needs samples of all 4 classes"):
        load(save(tmp_path, x=X, y=Y), num_classes=4)


def test_a_classes_file_goes_with_folders_only(tmp_path: Path, load: Load) -> None:
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    with pytest.raises(UsageError, match="save the names as array 'classes'"):
        load(save(tmp_path, x=X, y=Y), classes_file=tmp_path / "classes.txt")


@pytest.mark.parametrize("keep", [0, 10, 700, 1500])
def test_truncated_files(tmp_path: Path, keep: int, load: Load) -> None:
    path = save(tmp_path, x=X, y=Y)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ScanError, match=r"is no readable \.npz file"):
        load(path)


def test_a_flipped_byte_is_noticed(tmp_path: Path, load: Load) -> None:
    path = save(tmp_path, x=X, y=Y)
    data = bytearray(path.read_bytes())
    at = data.index(X.tobytes()[:50])
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(ScanError, match=r"is no readable \.npz file"):
        load(path)


def _array(header: str, data: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def _zip(tmp_path: Path, members: list[tuple[str, bytes]]) -> Path:
    path = tmp_path / "hostile.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def _plain(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (_array("{'descr': '|u1', 'fortran_order': False, 'shape': (12, 100000, 100000, 3)}"), "more than 4 GiB"),
        (_array("{'descr': '|u1', 'fortran_order': False, 'shape': (12, 6, 5, 3)}", b"x"), "truncated or tampered"),
        (_array("{'descr': '|u1', 'fortran_order': False, 'shape': (-12, 6, 5, 3)}"), "claims the shape"),
        (_array("{'descr': '|u1', 'fortran_order': False, 'shape': (12, 6"), "header of x cannot be read"),
        (_array("{'descr': '|O', 'fortran_order': False, 'shape': (12,)}", b"cos\nsystem\n"), "Python objects"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "header of x cannot be read"),
        (b"\x93NUMPY\x07\x00", "header of x cannot be read"),
        (_array("(" * 9000), "header of x cannot be read"),
        (_array("{'descr': '|u1', 'fortran_order': False, 'shape': (2**99,)}"), "header of x cannot be read"),
        (b"junk", "header of x cannot be read"),
        (b"", "header of x cannot be read"),
    ],
    ids=[
        "bomb",
        "short",
        "negative",
        "cut",
        "objects",
        "long-header",
        "version",
        "deep",
        "expression",
        "junk",
        "empty",
    ],
)
def test_hostile_headers(tmp_path: Path, x: bytes, message: str, load: Load) -> None:
    with pytest.raises(ScanError, match=message):
        load(_zip(tmp_path, [("x.npy", x), ("y.npy", _plain(Y))]))


def test_a_member_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Load
) -> None:
    monkeypatch.setattr(npz_header, "MAX_BYTES", 100)
    with pytest.raises(ScanError, match="unpacks to more than"):
        load(save(tmp_path, x=X, y=Y))


def test_too_much_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Load) -> None:
    monkeypatch.setattr(npz, "MAX_BYTES", 100)
    with pytest.raises(ScanError, match=r"12 samples need more than 0 GiB of memory"):
        load(save(tmp_path, x=X, y=Y))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_is_there_twice_is_refused(tmp_path: Path, load: Load) -> None:
    with pytest.raises(ScanError, match="holds the array 'x' twice"):
        load(_zip(tmp_path, [("x.npy", _plain(X)), ("x.npy", _plain(X)), ("y.npy", _plain(Y))]))


def test_other_arrays_are_never_unpacked(tmp_path: Path, load: Load) -> None:
    members = [("x.npy", _plain(X)), ("y.npy", _plain(Y)), ("extra.npy", b"junk"), ("readme.txt", b"hello")]
    assert len(load(_zip(tmp_path, members))) == 12
