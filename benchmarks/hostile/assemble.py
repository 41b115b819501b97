"""Pickles and archives put together byte by byte: what `pickle.dumps` and `zipfile` would not write."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Iterable, Mapping


def value(given: object, protocol: int = 2) -> bytes:
    """Opcodes that push a plain value: text, number, bytes, None, tuple, list or dict of these."""
    if given is None:
        return b"N"
    if isinstance(given, bool | int):
        return f"I{int(given):02d}\n".encode() if isinstance(given, bool) else f"I{given}\n".encode()
    if isinstance(given, str):
        raw = given.encode()
        if protocol >= 4 and len(raw) < 256:
            return b"\x8c" + bytes([len(raw)]) + raw
        return b"V" + given.encode("raw_unicode_escape") + b"\n" if protocol == 0 else b"X" + _length(raw)
    if isinstance(given, bytes):
        return b"B" + _length(given)
    if isinstance(given, tuple | list):
        return b"(" + b"".join(value(one, protocol) for one in given) + (b"t" if isinstance(given, tuple) else b"l")
    if isinstance(given, dict):
        return b"(" + b"".join(value(one, protocol) for pair in given.items() for one in pair) + b"d"
    raise TypeError(given)


def _length(raw: bytes) -> bytes:
    return struct.pack("<I", len(raw)) + raw


def named(module: str, name: str, protocol: int = 2) -> bytes:
    """Opcodes that import something."""
    if protocol >= 4:
        return value(module, 4) + value(name, 4) + b"\x93"
    return f"c{module}\n{name}\n".encode()


def called(module: str, name: str, arguments: tuple[object, ...], protocol: int = 2) -> bytes:
    """Opcodes that import something and call it."""
    return named(module, name, protocol) + value(arguments, protocol) + b"R"


def stream(body: bytes, protocol: int = 2) -> bytes:
    """A whole pickle."""
    return (b"\x80" + bytes([protocol]) if protocol >= 2 else b"") + body + b"."


def system(command: str, protocol: int = 2) -> bytes:
    """The plainest hostile pickle."""
    return stream(called("posix", "system", (command,), protocol), protocol)


def zipped(members: Mapping[str, bytes] | Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive; of pairs, names may come twice."""
    pairs = members.items() if isinstance(members, Mapping) else members
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as archive:
        warnings.simplefilter("ignore")  # two members of one name
        for name, data in pairs:
            archive.writestr(name, data)
    return buffer.getvalue()


def checkpoint(data: bytes, **more: bytes) -> bytes:
    """What torch.save writes, around this data.pkl; further members with `__` for a slash and `_` for a dot."""
    members = {"archive/data.pkl": data, "archive/byteorder": b"little", "archive/data/0": bytes(16)}
    members["archive/version"] = b"3\n"
    return zipped(members | {f"archive/{name.replace('__', '/').replace('_', '.')}": raw for name, raw in more.items()})


def tarred(members: Mapping[str, bytes], kind: int = tarfile.USTAR_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tensor_file(header: bytes | Mapping[str, object], body: bytes = bytes(8)) -> bytes:
    """A safetensors file."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + body


def entry(begin: int, end: int, shape: tuple[int, ...] = (1,), dtype: str = "F32") -> dict[str, object]:
    """What a safetensors header says of one tensor."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
