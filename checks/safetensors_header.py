"""Is a safetensors header sane? Reads the header only."""

from __future__ import annotations

import json
import math
from typing import BinaryIO, Final

from .text import shown

_MAX_HEADER: Final = 100_000_000  # bytes; the limit of the reference implementation
_MAX_DIMENSIONS: Final = 64  # as torch has it; the product of a million sizes takes hours
_LARGE: Final = 16 << 20  # bytes; a header beyond this has to look like one before it is unfolded in memory
_SPARSE: Final = 16  # bytes a bracket, at the least: a tensor has three in 50 bytes or more
_BITS: Final = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "U64": 64,
    "I64": 64,
    "F64": 64,
    "C64": 64,
}


class _Duplicate(ValueError):
    pass


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen = set[str]()
        raise _Duplicate(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return result


def _natural(values: object) -> list[int] | None:
    if isinstance(values, list) and all(type(value) is int and value >= 0 for value in values):
        return values
    return None


def header_problems(stream: BinaryIO) -> list[str]:
    """What is wrong with the header of the safetensors file in `stream`; empty where nothing is."""
    size = stream.seek(0, 2)
    stream.seek(0)
    length = int.from_bytes(stream.read(8), "little")
    if size < 8 or length > min(_MAX_HEADER, size - 8):
        return [f"the header claims {length:,} bytes of a file of {size:,}"]
    raw = stream.read(length)
    if length > _LARGE and (raw.count(b"{") + raw.count(b"[")) * _SPARSE > length:
        return [f"the header of {length:,} bytes holds more than a table of tensors"]
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except _Duplicate as error:
        return [f"the header names {shown(str(error))} twice"]
    except (ValueError, RecursionError):
        return ["the header is not valid JSON"]
    if not isinstance(header, dict):
        return ["the header is not a JSON object"]
    metadata = header.pop("__metadata__", {})
    found = []
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        found.append("the metadata is not a table of strings")
    ranges: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        shape = _natural(entry.get("shape")) if isinstance(entry, dict) else None
        offsets = _natural(entry.get("data_offsets")) if isinstance(entry, dict) else None
        if shape is None or offsets is None or len(offsets) != 2 or not isinstance(entry.get("dtype"), str):
            found.append(f"tensor {shown(name)} has no proper dtype, shape and offsets")
            continue
        if len(shape) > _MAX_DIMENSIONS:
            found.append(f"tensor {shown(name)} has {len(shape):,} dimensions")
            continue
        begin, end = offsets
        bits = _BITS.get(entry["dtype"])
        if not begin <= end <= size - 8 - length:
            found.append(f"tensor {shown(name)} lies outside the file")
        elif bits is not None and math.prod(shape) * bits != (end - begin) * 8:
            found.append(f"tensor {shown(name)} has a shape that does not fit its bytes")
        else:
            ranges.append((begin, end, name))
    position = 0
    for begin, end, name in sorted(ranges):
        if begin < position:
            found.append(f"tensor {shown(name)} overlaps another one")
        elif begin > position and not found:
            found.append(f"{begin - position:,} bytes before tensor {shown(name)} belong to nothing")
        position = max(position, end)
    if position != size - 8 - length and not found:
        found.append(f"{size - 8 - length - position:,} bytes at the end belong to no tensor")
    return found
