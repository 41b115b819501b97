"""An .npz file with images `x`, labels `y` and, if wanted, class names `classes`."""

from __future__ import annotations

import hashlib
import io
import lzma
import math
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ...evidence.errors import ScanError
from .npz_header import Header, read_header
from .source import MAX_BYTES, MAX_CLASSES, Indices, listed

if TYPE_CHECKING:
    from torch import Tensor

# What zipfile and its decompressors raise; RuntimeError stands for an encrypted member.
_BROKEN = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_CHUNK = 2**24  # bytes read at a time
_MAX_NAMES = 2**26  # bytes of the class names
_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma, as Pillow converts RGB to greyscale


class NpzSource:
    """Arrays on disk: `x` uint8 [N, H, W, C] or [N, H, W], or float [N, C, H, W] or [N, H, W] in 0..1; `y` int [N]."""

    def __init__(self, path: Path, *, size: tuple[int, int] | None, channels: int | None) -> None:
        """Read the headers, `y` and `classes`. Raises ScanError if something is missing or of the wrong kind."""
        self._path, self._size, self._channels = path, size, channels
        with _opened(path) as archive:
            headers = {name: read_header(path, archive, name) for name in _members(path, archive)}
            self._x = headers["x"]
            self._layout = _layout(path, self._x)
            labels = headers["y"]
            if labels.dtype.kind not in "iu":
                raise ScanError(f"{path}: y is {labels.dtype}, not integer; save class indices, y.astype('int64')")
            if len(labels.shape) != 1:
                raise ScanError(f"{path}: y has shape {labels.shape}; save one class index a sample, shape [N]")
            if labels.shape[0] != self._x.shape[0]:
                raise ScanError(
                    f"{path}: x has {self._x.shape[0]} samples but y has {labels.shape[0]}; save one label a sample"
                )
            wide = self._array(archive, "y", labels)
            if len(wide) and (wide.min() < 0 or wide.max() >= MAX_CLASSES):
                wrong = int(wide.min() if wide.min() < 0 else wide.max())
                raise ScanError(f"{path}: y holds {wrong}, which is not a class index; they count from 0")
            self.labels = wide.astype(np.int64)
            self.names: dict[int, str] = {}
            if "classes" in headers:
                self.names = self._class_names(archive, headers["classes"])

    def _array(self, archive: zipfile.ZipFile, name: str, header: Header) -> NDArray[Any]:
        with archive.open(f"{name}.npy") as member:
            data = member.read()
        array: NDArray[Any] = npy.read_array(io.BytesIO(data), allow_pickle=False)
        if array.shape != header.shape:
            raise ScanError(f"{self._path}: {name} changed while it was read; scan a file that nobody writes")
        return array

    def _class_names(self, archive: zipfile.ZipFile, header: Header) -> dict[int, str]:
        if header.dtype.kind != "U" or len(header.shape) != 1:
            raise ScanError(
                f"{self._path}: classes is {header.dtype} of shape {header.shape}; save a list of names, "
                f"np.array(names) of dtype str"
            )
        if header.shape[0] > MAX_CLASSES or header.shape[0] * header.dtype.itemsize > _MAX_NAMES:
            raise ScanError(f"{self._path}: classes holds more than {MAX_CLASSES} names, or names of absurd length")
        names = self._array(archive, "classes", header).tolist()
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ScanError(f"{self._path}: classes names {listed(twice)} twice; name every class once")
        if len(self.labels) and self.labels.max() >= len(names):
            raise ScanError(f"{self._path}: y holds {self.labels.max()} but classes names only {len(names)} classes")
        return dict(enumerate(names))

    def read(self, chosen: Indices) -> tuple[Tensor, str]:
        """Stream `x`, keep the chosen samples, hash the file; see `Source.read`.

        Raises ScanError if the file is truncated, or floats are not finite or not in 0..1.
        """
        import torch

        sample_values = math.prod(self._x.shape[1:])
        if 4 * sample_values * len(chosen) > MAX_BYTES:
            raise ScanError(
                f"{self._path}: {len(chosen)} samples need more than {MAX_BYTES // 2**30} GiB of memory; "
                f"save fewer or smaller ones"
            )
        with self._path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with _opened(self._path) as archive:
            picked = self._rows(archive, chosen)
        pixels = torch.from_numpy(picked.astype(np.float32, copy=False))
        if self._x.dtype.kind == "f":
            _check_range(self._path, picked)
            pixels = pixels.clamp(0, 1)
        else:
            pixels = pixels.div_(255)
        if self._layout == "NHW":
            pixels = pixels.unsqueeze(1)
        elif self._layout == "NHWC":
            pixels = pixels.permute(0, 3, 1, 2)
        return self._converted(pixels).contiguous(), digest

    def name(self, position: int) -> str:
        """The index into the arrays, as numpy counts."""
        return f"x[{position}]"

    def _rows(self, archive: zipfile.ZipFile, chosen: Indices) -> NDArray[Any]:
        header = self._x
        if header.fortran_order:  # samples do not lie one after the other
            return np.ascontiguousarray(self._array(archive, "x", header)[chosen])
        row_bytes = math.prod(header.shape[1:]) * header.dtype.itemsize
        step = max(_CHUNK // row_bytes, 1)
        parts: list[NDArray[Any]] = []
        with archive.open("x.npy") as member:
            member.read(header.offset)
            for start in range(0, header.shape[0], step):
                rows = min(step, header.shape[0] - start)
                data = _exactly(member, rows * row_bytes)
                block = np.frombuffer(data, header.dtype).reshape(rows, *header.shape[1:])
                parts.append(block[chosen[(chosen >= start) & (chosen < start + rows)] - start])
            member.read()  # the archive's checksum is compared at the end
        return np.concatenate(parts)

    def _converted(self, pixels: Tensor) -> Tensor:
        import torch

        if self._channels is not None and self._channels != pixels.shape[1]:
            if pixels.shape[1] == 1:
                pixels = pixels.expand(-1, self._channels, -1, -1)
            else:
                weights = pixels.new_tensor(_WEIGHTS).view(1, 3, 1, 1)
                pixels = (pixels * weights).sum(dim=1, keepdim=True)
        if self._size is not None and tuple(pixels.shape[2:]) != self._size:
            pixels = torch.nn.functional.interpolate(
                pixels.float(), self._size, mode="bilinear", antialias=True, align_corners=False
            ).clamp(0, 1)
        return pixels


def _members(path: Path, archive: zipfile.ZipFile) -> list[str]:
    """Names of the arrays that are used: x, y and, where there is one, classes."""
    arrays = [info.filename.removesuffix(".npy") for info in archive.infolist() if info.filename.endswith(".npy")]
    for name in ("x", "y"):
        if name not in arrays:
            near = next((other for other in arrays if other.lower().startswith(name)), None)
            hint = f"rename {near!r} to it" if near else "save with np.savez(file, x=images, y=labels)"
            raise ScanError(f"{path}: has no array {name!r}, only {listed(arrays) or 'none at all'}; {hint}")
    used: list[str] = [name for name in ("x", "y", "classes") if name in arrays]
    for name in used:
        if arrays.count(name) > 1:
            raise ScanError(f"{path}: holds the array {name!r} twice; save the file anew")
    return used


def _layout(path: Path, header: Header) -> str:
    """NHW, NHWC (uint8) or NCHW (float)."""
    shape, dtype = header.shape, header.dtype
    if dtype != np.uint8 and dtype.kind != "f":
        raise ScanError(f"{path}: x is {dtype}; save pixels as uint8 in 0..255 or as float in 0..1")
    if len(shape) not in (3, 4):
        raise ScanError(f"{path}: x has shape {shape}; save uint8 [N, H, W, C] or [N, H, W], or float [N, C, H, W]")
    if shape[0] and 0 in shape[1:]:
        raise ScanError(f"{path}: x has shape {shape}, images without pixels; save the file anew")
    if len(shape) == 3:
        return "NHW"
    wanted, axis, other = ("NHWC", 3, 1) if dtype == np.uint8 else ("NCHW", 1, 3)
    if shape[axis] in (1, 3):
        return wanted
    if shape[other] in (1, 3):
        order = "(0, 2, 3, 1)" if wanted == "NHWC" else "(0, 3, 1, 2)"
        raise ScanError(f"{path}: x is {dtype} of shape {shape}, not {wanted}; save x.transpose{order}")
    raise ScanError(f"{path}: x has {shape[axis]} channels (shape {shape}, read as {wanted}); 1 or 3 can be scanned")


def _check_range(path: Path, values: NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        raise ScanError(f"{path}: x holds values that are not finite (NaN or infinity); save the raw pixels")
    low, high = float(values.min()), float(values.max())
    tolerance = 1e-3  # half precision and resampling overshoot a little
    if low < -tolerance:
        raise ScanError(
            f"{path}: x is in {low:.2f}..{high:.2f}, so it looks already normalised; save raw pixels in 0..1 and give "
            f"the normalisation with --mean and --std"
        )
    if high > 1 + tolerance:
        raise ScanError(f"{path}: x is float in {low:.2f}..{high:.2f}; divide by 255, or save uint8 [N, H, W, C]")


def _exactly(member: IO[bytes], count: int) -> bytes:
    data = member.read(count)
    if len(data) < count:
        raise EOFError("x ends early")
    return data


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever goes wrong in reading it becomes a ScanError."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _BROKEN as error:
        raise ScanError(f"{path}: is no readable .npz file ({error}); save it anew with np.savez") from error
