"""Zip and tar archives that two readers take for two things: the published bypasses of scanners, and bombs."""

from __future__ import annotations

import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from bz2 import compress
from collections.abc import Callable
from pathlib import Path

from .assemble import checkpoint, system, tarred, zipped
from .case import Make, Payload, group

CASES = group("archives")
_GOOD = pickle.dumps({"epoch": 3})


def _write(folder: Path, data: bytes | bytearray, name: str = "model.pt") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _hostile(payload: Payload) -> bytearray:
    return bytearray(checkpoint(system(payload.command)))


def _entry(data: bytes | bytearray, number: int = 0) -> int:
    """Where an entry of the directory begins."""
    place = data.index(b"PK\x01\x02")
    for _ in range(number):
        place = data.index(b"PK\x01\x02", place + 4)
    return place


@CASES()
def wrong_CRC(folder: Path, payload: Payload) -> Path:
    """CVE-2025-10155 and GHSA-mjqp-26hc-grxg: zipfile refuses to read on, torch does not look."""
    data = _hostile(payload)
    data[14:18] = data[_entry(data) + 16 : _entry(data) + 20] = b"\xde\xad\xbe\xef"
    return _write(folder, data)


@CASES()
def encryption_bit_in_both(folder: Path, payload: Payload) -> Path:
    """GHSA-w8jq-xcqf-f792: a flag that makes zipfile ask for a password, and that torch ignores."""
    data = _hostile(payload)
    data[6] |= 1
    data[_entry(data) + 8] |= 1
    return _write(folder, data)


@CASES()
def encryption_bit_in_the_directory(folder: Path, payload: Payload) -> Path:
    data = _hostile(payload)
    data[_entry(data) + 8] |= 1
    return _write(folder, data)


@CASES()
def strong_encryption_and_patch_bits(folder: Path, payload: Payload) -> Path:
    data = _hostile(payload)
    for place in (6, _entry(data) + 8):
        data[place] |= 0x60
    return _write(folder, data)


@CASES()
def other_name_in_the_local_header(folder: Path, payload: Payload) -> Path:
    """GHSA-7q5r-7gvp-wc82: zipfile raises where the two names differ, torch does not compare."""
    data = _hostile(payload)
    data[30:46] = b"archive/DATA.txt"
    return _write(folder, data)


@CASES()
def other_size_in_the_local_header(folder: Path, payload: Payload) -> Path:
    data = _hostile(payload)
    data[18:26] = struct.pack("<II", 1, 1)
    return _write(folder, data)


@CASES()
def two_members_of_one_name(folder: Path, payload: Payload) -> Path:
    return _write(folder, zipped([("a/data.pkl", system(payload.command)), ("a/data.pkl", _GOOD)]))


@CASES()
def two_members_of_one_name_but_for_case(folder: Path, payload: Payload) -> Path:
    return _write(folder, zipped([("a/data.pkl", _GOOD), ("A/DATA.PKL", system(payload.command))]))


@CASES()
def member_with_a_NUL_in_its_name(folder: Path, payload: Payload) -> Path:
    data = zipped([("a/data.pklXtxt", system(payload.command)), ("a/b", b"x")])
    return _write(folder, data.replace(b"data.pklXtxt", b"data.pkl\0txt"))


@CASES()
def member_of_odd_name(folder: Path, payload: Payload) -> Path:
    """GHSA-769v-p64c-89pr: a pickle whose name has no suffix of a pickle."""
    return _write(folder, zipped({"a/data.pkl": _GOOD, "a/readme.md": system(payload.command)}))


@CASES()
def member_of_odd_name_in_protocol_0(folder: Path, payload: Payload) -> Path:
    return _write(folder, zipped({"a/data.pkl": _GOOD, "a/version": system(payload.command, 0)}))


@CASES()
def member_called_like_a_tensor(folder: Path, payload: Payload) -> Path:
    return _write(folder, zipped({"a/data.pkl": _GOOD, "a/data/0": system(payload.command)}))


@CASES()
def members_that_overlap(folder: Path, payload: Payload) -> Path:
    data = bytearray(zipped({"a/data.pkl": system(payload.command), "a/b": b"x" * 40}))
    place = _entry(data, 1)
    data[place + 42 : place + 46] = bytes(4)
    return _write(folder, data)


@CASES()
def member_that_the_directory_leaves_out(folder: Path, payload: Payload) -> Path:
    whole = bytearray(zipped({"a/data.pkl": _GOOD, "a/hidden.pkl": system(payload.command)}))
    start, cut = _entry(whole), _entry(whole, 1)
    end = whole.index(b"PK\x05\x06")
    tail = bytearray(whole[end:])
    tail[8:12] = struct.pack("<HH", 1, 1)
    tail[12:16] = struct.pack("<I", cut - start)
    return _write(folder, whole[:cut] + tail)


@CASES()
def directory_of_another_archive(folder: Path, payload: Payload) -> Path:
    """Two archives, one behind the other: readers from the front and from the end see different ones."""
    return _write(folder, checkpoint(system(payload.command)) + checkpoint(_GOOD))


@CASES()
def comment_that_holds_an_archive(folder: Path, payload: Payload) -> Path:
    inner = checkpoint(system(payload.command))
    outer = checkpoint(_GOOD)
    return _write(folder, outer[:-2] + struct.pack("<H", len(inner)) + inner)


@CASES()
def pickle_before_an_archive(folder: Path, payload: Payload) -> Path:
    return _write(folder, system(payload.command) + checkpoint(_GOOD))


@CASES()
def harmless_pickle_before_a_hostile_archive(folder: Path, payload: Payload) -> Path:
    return _write(folder, _GOOD + checkpoint(system(payload.command)))


@CASES()
def pickle_behind_an_archive(folder: Path, payload: Payload) -> Path:
    return _write(folder, checkpoint(_GOOD) + system(payload.command))


@CASES()
def archive_behind_a_tar(folder: Path, payload: Payload) -> Path:
    return _write(folder, tarred({"a": b"x"}) + checkpoint(system(payload.command)))


@CASES()
def archive_in_an_archive(folder: Path, payload: Payload) -> Path:
    return _write(folder, zipped({"a/data.pkl": _GOOD, "a/extra": checkpoint(system(payload.command))}))


@CASES()
def archive_in_tar_in_archive(folder: Path, payload: Payload) -> Path:
    return _write(folder, zipped({"a/data.pkl": _GOOD, "a/x": tarred({"y": checkpoint(system(payload.command))})}))


@CASES()
def archives_ten_deep(folder: Path, payload: Payload) -> Path:
    data = system(payload.command)
    for _ in range(10):
        data = zipped({"a/data.pkl": _GOOD, "a/x.bin": data})
    return _write(folder, data)


def _packed(name: str, data: bytes) -> None:
    def make(folder: Path, payload: Payload) -> Path:
        return _write(folder, zipped({"a/data.pkl": _GOOD, f"a/x.{name}": data}))

    CASES.add(f"{name} within an archive", make)


for _name, _data in {
    "gz": gzip.compress(_GOOD),
    "bz2": compress(_GOOD),
    "xz": lzma.compress(_GOOD),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(26),
}.items():
    _packed(_name, _data)


def _joblib(name: str, pack: str) -> None:
    def make(folder: Path, payload: Payload) -> Path:
        raw = system(payload.command)
        ways: dict[str, Callable[[bytes], bytes]] = {
            "gz": gzip.compress,
            "bz2": compress,
            "xz": lzma.compress,
            "z": zlib.compress,
        }
        ways["lzma"] = lambda data: lzma.compress(data, lzma.FORMAT_ALONE)
        ways["lz4"] = lambda data: b"\x04\x22\x4d\x18" + data
        ways["7z"] = lambda data: b"7z\xbc\xaf\x27\x1c\x00\x04" + data  # the header alone: nullifAI's were whole ones
        return _write(folder, ways[pack](raw), name)

    CASES.add(f"{name} of a pickle", make, 3)


for _file, _way in {
    "model.joblib": "z",
    "model.pkl.gz": "gz",
    "model.pkl.bz2": "bz2",
    "model.pkl.xz": "xz",
    "model.lzma": "lzma",
    "model.lz4": "lz4",
    "pytorch_model.bin": "7z",
}.items():
    _joblib(_file, _way)


@CASES(3)
def tar_gz_of_a_pickle(folder: Path, payload: Payload) -> Path:
    return _write(folder, gzip.compress(tarred({"model.pkl": system(payload.command)})), "model.tar.gz")


def _legacy_tar(name: str, kind: int, magic: bool = True) -> Make:
    def make(folder: Path, payload: Payload) -> Path:
        hostile = system(payload.command)
        data = bytearray(tarred({"sys_info": _GOOD, "pickle": hostile, "tensors": _GOOD, "storages": _GOOD}, kind))
        if not magic:  # as before POSIX: only the checksum says that it is one
            for place in range(0, len(data) - 512, 512):
                if data[place + 257 : place + 262] == b"ustar":
                    data[place + 257 : place + 265] = bytes(8)
                    data[place + 148 : place + 156] = b" " * 8
                    data[place + 148 : place + 156] = b"%06o\0 " % sum(data[place : place + 512])
        return _write(folder, data, name)

    return make


CASES.add("legacy tar of torch", _legacy_tar("model.pt", tarfile.USTAR_FORMAT))
CASES.add("legacy tar, GNU", _legacy_tar("model.tar", tarfile.GNU_FORMAT))
CASES.add("legacy tar, PAX", _legacy_tar("model.pth", tarfile.PAX_FORMAT))
CASES.add("legacy tar without its magic", _legacy_tar("model.pt", tarfile.USTAR_FORMAT, magic=False))


@CASES()
def tar_with_a_negative_size(folder: Path, payload: Payload) -> Path:
    """CVE-2025-8194: the next header lies before this one, and a reader goes round for ever."""
    data = bytearray(tarred({"a": bytes(512), "b": system(payload.command)}, tarfile.GNU_FORMAT))
    data[124:136] = b"\xff" * 4 + (-1024 & (1 << 64) - 1).to_bytes(8, "big")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return _write(folder, data)


@CASES()
def tar_with_a_sparse_member(folder: Path, payload: Payload) -> Path:
    """Eight exbibytes in a few kilobytes."""
    info = tarfile.TarInfo("model.pkl")
    info.size, info.pax_headers = 512, {"GNU.sparse.map": "0,4", "GNU.sparse.size": str(1 << 62)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(b"PK\x03\x04" + bytes(508)))
    return _write(folder, buffer.getvalue())


@CASES()
def tar_of_many_members(folder: Path, payload: Payload) -> Path:
    block = tarred({"a": b""})[:512]
    return _write(folder, block * 10_100)


@CASES()
def zip_bomb_of_one_member(folder: Path, payload: Payload) -> Path:
    return _write(folder, zipped({"a/data.pkl": _GOOD, "a/data/0": bytes(70 << 20)}, zipfile.ZIP_DEFLATED))


@CASES()
def zip_bomb_of_small_members(folder: Path, payload: Payload) -> Path:
    """No member is larger than 1 MiB, all together are 80 MiB in 80 KiB."""
    members = {f"a/data/{index}": bytes(1 << 20) for index in range(80)}
    return _write(folder, zipped({"a/data.pkl": _GOOD, **members}, zipfile.ZIP_DEFLATED))


@CASES()
def zip_bomb_of_archives(folder: Path, payload: Payload) -> Path:
    """Each archive unpacks into ninety times itself, and so does what is in it."""
    noise = bytes(range(256)) * 4
    inner = zipped({"a/data.pkl": _GOOD, "a/x": noise * 20_000}, zipfile.ZIP_DEFLATED)
    middle = zipped({f"a/{index}": inner for index in range(200)}, zipfile.ZIP_DEFLATED)
    return _write(folder, zipped({"a/data.pkl": _GOOD, "a/y": middle, "a/z": middle}, zipfile.ZIP_DEFLATED))


@CASES()
def zip_bomb_of_overlapping_members(folder: Path, payload: Payload) -> Path:
    """Two hundred entries of the directory lead to one member."""
    data = zipped({"a/data.pkl": _GOOD, "a/data/0": bytes(1 << 19)}, zipfile.ZIP_DEFLATED)
    start, second, end = _entry(data), _entry(data, 1), data.index(b"PK\x05\x06")
    entries = b"".join(data[second:end].replace(b"a/data/0", b"a/dat%03d" % index) for index in range(200))
    tail = bytearray(data[end:])
    tail[8:12] = struct.pack("<HH", 201, 201)
    tail[12:16] = struct.pack("<I", second - start + len(entries))
    return _write(folder, data[:second] + entries + tail)


@CASES(3)
def directory_of_a_million_entries(folder: Path, payload: Payload) -> Path:
    """Forty megabytes that zipfile would turn into several hundred, before it can say how many there are."""
    data = zipped({"a/data.pkl": _GOOD})
    start, end = _entry(data), data.index(b"PK\x05\x06")
    entries = data[start:end] * 900_000
    tail = bytearray(data[end:])
    tail[12:16] = struct.pack("<I", len(entries))
    return _write(folder, data[:start] + entries + tail)
