"""safetensors: a copy of the file in which the bytes of some tensors are others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ....evidence.errors import ScanError

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK: Final = 1 << 20


def copy_file(source: Path, place: Path, sha256: str | None = None) -> None:
    """Copy the bytes of a file to a new place. Raises ScanError where they have not the digest any more."""
    digest = hashlib.sha256()
    with source.open("rb") as stream, place.open("xb") as copy:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            copy.write(chunk)
    if sha256 and digest.hexdigest() != sha256:
        raise ScanError(f"{source} was changed since it was read: start again")


def patch(source: Path, sha256: str, place: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write `source` to `place` with other numbers for `tensors`, which have the type and shape that is stored.

    The header, and with it all names, types, metadata and the order of the tensors, stays as it is, and so does
    everything else. Raises ScanError where the file was changed since.
    """
    from .tensors import bytes_of  # which needs torch, as copying does not

    copy_file(source, place, sha256)
    with place.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header: dict[str, Any] = json.loads(stream.read(length))
        for name, tensor in tensors.items():
            start, end = header[name]["data_offsets"]
            data = bytes_of(tensor)
            assert len(data) == end - start
            stream.seek(8 + length + start)
            stream.write(data.numpy().tobytes())
