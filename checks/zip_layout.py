"""Is a zip archive what every reader takes it for? Looks at headers only, unpacks nothing."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, Final

from .text import shown

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_END_SIZE: Final = 22
_DESCRIPTOR: Final = 32  # bytes; sizes and CRC may follow a member's data
_SMALL: Final = 1 << 20  # a member of less than this is no bomb, however well it packs
_LOOSE: Final = 64 << 20  # bytes that all packed members may unpack into, however well they pack
_ENTRY: Final = 46  # bytes of a member in the directory, without its name
_NAMES: Final = 200  # bytes of name and extra fields a member, on the average
_SEARCHED: Final = 66_000  # bytes at the end in which the end record lies


@dataclass(frozen=True)
class Limits:
    """How much a file may unfold into."""

    max_ratio: float = 100.0  # unpacked to packed bytes of a member larger than 1 MiB
    max_unpacked_bytes: int = 64 << 30  # of all members of one archive
    max_members: int = 100_000
    max_depth: int = 4  # archives within archives
    max_pickle_bytes: int = 256 << 20


def directory_problem(stream: BinaryIO, limits: Limits) -> str | None:
    """What keeps the archive's directory from being read at all: `zipfile` takes it into memory whole, at ten times
    its size, before anybody can count."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - _SEARCHED))
    tail = stream.read(_SEARCHED)
    stream.seek(0)
    place = tail.rfind(b"PK\x05\x06")
    record = tail[place : place + _END_SIZE]
    if place < 0 or len(record) < _END_SIZE:
        return None  # zipfile says so
    length = int.from_bytes(record[12:16], "little")
    if length == 0xFFFFFFFF and (wide := tail.rfind(b"PK\x06\x06", 0, place)) >= 0:
        length = int.from_bytes(tail[wide + 40 : wide + 48], "little")
    most = max(limits.max_members, 1000) * (_ENTRY + _NAMES)
    return f"the archive's directory has {length:,} bytes, more than {most:,}" if min(length, size) > most else None


def _local_header(stream: BinaryIO, info: zipfile.ZipInfo) -> tuple[int, str | None]:
    """Where the member's data ends, and what its local header says differently from the directory."""
    stream.seek(info.header_offset)
    raw = stream.read(_LOCAL.size)
    if len(raw) < _LOCAL.size or raw[:4] != b"PK\x03\x04":
        return info.header_offset, "has no local header"
    _, _, flags, method, _, _, _, packed, unpacked, name_length, extra_length = _LOCAL.unpack(raw)
    name = stream.read(name_length)
    end = info.header_offset + _LOCAL.size + name_length + extra_length + info.compress_size
    if name != info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437", "replace"):
        return end, f"is called {shown(name.decode('utf-8', 'replace'))} in its local header"
    if method != info.compress_type or (flags ^ info.flag_bits) & 1:
        return end, "is packed differently in its local header"
    sizes = (packed, unpacked) in ((info.compress_size, info.file_size), (0xFFFFFFFF, 0xFFFFFFFF))
    if not flags & 8 and not sizes and 0xFFFFFFFF not in (packed, unpacked):
        return end, "has another size in its local header"
    return end, None


def _member_problems(info: zipfile.ZipInfo, limits: Limits) -> list[str]:
    name, found = info.orig_filename, []
    if name != info.filename or "\0" in name:
        found.append("has a NUL in its name")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or name[1:2] == ":" or ".." in path.parts:
        found.append("points outside the archive")
    if stat.S_ISLNK(info.external_attr >> 16):
        found.append("is a link")
    if info.flag_bits & 1:
        found.append("is encrypted and cannot be looked into")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        found.append("is packed in a way that torch does not read")
    if info.file_size > _SMALL and info.file_size > limits.max_ratio * max(info.compress_size, 1):
        found.append(f"unpacks {info.compress_size:,} bytes into {info.file_size:,}: a zip bomb")
    return found


def layout_problems(archive: zipfile.ZipFile, stream: BinaryIO, limits: Limits) -> list[str]:
    """Everything about the archive that no tool writes and that two readers could take in two ways.

    `archive` was opened on `stream`. Returns sentences without a subject's path, bad first.
    """
    infos, found = archive.infolist(), list[str]()
    if len(infos) > limits.max_members:
        return [f"the archive has {len(infos):,} members, more than {limits.max_members:,}"]
    unpacked = sum(info.file_size for info in infos)
    if unpacked > limits.max_unpacked_bytes:
        found.append(f"the archive unpacks into {unpacked:,} bytes: a zip bomb")
    # Many small members make one, too.
    packed = [info for info in infos if info.compress_type != zipfile.ZIP_STORED]
    dense, loose = sum(info.compress_size for info in packed), sum(info.file_size for info in packed)
    if loose > _LOOSE and loose > limits.max_ratio * max(dense, 1):
        found.append(f"the archive unpacks {dense:,} bytes into {loose:,}: a zip bomb")
    # Case is ignored, as torch's reader ignores it.
    for name, count in Counter(info.filename.lower() for info in infos).items():
        if count > 1:
            found.append(f"member {shown(name)} is in the archive {count} times")
    position = 0
    for info in sorted(infos, key=lambda one: one.header_offset):
        found += [f"member {shown(info.filename)} {problem}" for problem in _member_problems(info, limits)]
        end, problem = _local_header(stream, info)
        if problem:
            found.append(f"member {shown(info.filename)} {problem}")
        if info.header_offset < position:
            found.append(f"member {shown(info.filename)} overlaps another one")
        elif info.header_offset > position + (_DESCRIPTOR if position else 0):
            gap = info.header_offset - position
            found.append(f"{gap:,} bytes before member {shown(info.filename)} belong to nothing")
        position = max(position, end)
    directory: int = archive.start_dir
    if position > directory or directory - position > _DESCRIPTOR:
        found.append("the archive's directory does not follow its members")
    size = stream.seek(0, 2)
    stream.seek(max(0, size - _END_SIZE))
    last = stream.read(_END_SIZE)
    if not last.startswith(b"PK\x05\x06") or last[-2:] != b"\0\0":
        found.append("there are bytes after the end of the archive")
    return found
