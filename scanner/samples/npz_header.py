"""The header of one array in an .npz file, read without unpacking the array."""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from ...evidence.errors import ScanError
from .source import MAX_BYTES

_HEADER_BYTES = 2**16  # an honest header has about 128


@dataclass(frozen=True)
class Header:
    """Shape and type of an array; `offset` is where its data start in the member, in bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    offset: int


def read_header(path: Path, archive: zipfile.ZipFile, name: str) -> Header:
    """Return the header of array `name`.

    Raises ScanError if the array holds Python objects, is larger than may be unpacked, if the size it states is
    not the size it has, or if the header is malformed.
    """
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        head = io.BytesIO(member.read(_HEADER_BYTES))
    try:
        version = npy.read_magic(head)
        # Version 3 is for field names outside Latin-1, and arrays with fields are refused anyway.
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran_order, dtype = read(head)
    except Exception as error:  # numpy parses the header as Python text and raises whatever that leads to
        raise ScanError(f"{path}: the header of {name} cannot be read; save the file anew with np.savez") from error
    if dtype.hasobject or dtype.kind == "V":
        raise ScanError(f"{path}: {name} holds Python objects or records ({dtype}), not numbers; save a plain array")
    if min(shape, default=0) < 0:
        raise ScanError(f"{path}: {name} claims the shape {shape}; save the file anew")
    stated = math.prod(shape) * dtype.itemsize
    if max(stated, info.file_size) > MAX_BYTES:
        raise ScanError(
            f"{path}: {name} of shape {shape} unpacks to more than {MAX_BYTES // 2**30} GiB; save fewer samples"
        )
    if stated + head.tell() != info.file_size:
        raise ScanError(
            f"{path}: {name} states {stated} bytes of data but {info.file_size - head.tell()} are there; the file is "
            f"truncated or tampered with, save it anew"
        )
    return Header(shape, dtype, fortran_order, head.tell())
