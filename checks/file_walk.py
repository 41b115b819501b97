"""Walks a model file to its last nested archive and pickle, statically: nothing is loaded, imported or executed."""

from __future__ import annotations

import io
import mmap
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, cast

from ..evidence.artifact import Format
from .export_json import json_problems
from .pickle_globals import is_dangerous, objection, picklescan_globals
from .pickle_walk import MAX_STEPS, PickleReport, walk_pickle
from .safetensors_header import header_problems
from .tar_layout import SmallReads, is_tar, tar_member_problem
from .text import shown
from .torchscript_code import code_problems
from .zip_layout import Limits, directory_problem, layout_problems

_CHUNK: Final = 1 << 20
_IN_MEMORY: Final = 16 << 20  # nested archives and second looks beyond this go to a temporary file or are left out
_SECOND_LOOK: Final = 1_000_000  # opcodes; picklescan keeps them all, at a hundred bytes each
_RAW_STEPS: Final = 100_000  # opcodes of a member that is no pickle by its name
_HIDDEN: Final = 1 << 16  # bytes of a supposed pickle among raw weights that are looked at
_HIDDEN_STEPS: Final = 10_000_000  # opcodes of all of them together: weights have a few in a thousand bytes
_PROTO: Final = re.compile(rb"\x80[\x02-\x05]")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_PICKLE_SUFFIXES: Final = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", "debug_pkl")
_PACKED: Final = ((b"\x1f\x8b\x08", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"), (b"7z\xbc\xaf\x27\x1c", "7z"))
_LEGACY_PICKLES: Final = 5  # magic number, protocol, machine, object, storage keys; raw storages follow
_MAX_PICKLES: Final = 50  # in a row; the second one is a problem already
_MAX_PROBLEMS: Final = 100
_TRAINING: Final = "training_args.bin"  # settings of the trainer's, no loader of a model opens it
_MAX_TEXT: Final = 64 << 20  # bytes of TorchScript code or of a JSON document
_MAX_TAR: Final = 10_000  # members; torch's had four, and tarfile takes long over each
_NO_BOMB: Final = 64 << 20  # bytes that any file may unpack into


@dataclass
class FileWalk:
    """What was found."""

    problems: list[str] = field(default_factory=list)  # sentences, without the file's name
    globals: dict[tuple[str, str], str] = field(default_factory=dict)  # (module, name) -> the member it is in first
    script_globals: set[tuple[str, str]] = field(default_factory=set)  # only seen in TorchScript's own members
    pickles: int = 0
    archives: int = 0
    members: int = 0

    def problem(self, text: str) -> None:
        if len(self.problems) < _MAX_PROBLEMS and text not in self.problems:
            self.problems.append(text)


class _Walker:
    def __init__(self, format_: Format, limits: Limits, size: int) -> None:
        self.format, self.limits, self.result = format_, limits, FileWalk()
        self.steps = MAX_STEPS  # opcodes of all pickles together
        # Archives within archives multiply: what all of them unpack into is held against the file itself.
        self.unpacked, self.most = 0, min(limits.max_unpacked_bytes, max(_NO_BOMB, int(limits.max_ratio * size)))

    # Pickles

    def _take(self, report: PickleReport, where: str, extra: Collection[tuple[str, str]], *, script: bool) -> None:
        self.result.pickles += 1
        for use in [*report.globals, *extra]:
            if use not in self.result.globals:
                self.result.globals[use] = where
                if script:
                    self.result.script_globals.add(use)
            elif not script:
                self.result.script_globals.discard(use)

    def _one_pickle(self, stream: BinaryIO, where: str, *, sure: bool, whole: bool, script: bool) -> PickleReport:
        """Walk the pickle at the stream's position. Unless `sure`, only what would import and call counts as one."""
        start = stream.tell()
        # Raw weights may read as millions of opcodes that do nothing (bfloat16's 1.0), and no loader takes them for a
        # pickle: they have a budget of their own.
        raw = not (sure or whole)
        report = walk_pickle(stream, self.limits.max_pickle_bytes, _RAW_STEPS if raw else max(self.steps, 0))
        if not raw:
            self.steps -= report.steps
        if report.exhausted and (not raw or report.globals):
            self.result.problem(f"the pickles up to {where} have more opcodes than can be looked at")
        named = all(_IDENTIFIER.fullmatch(module) and _IDENTIFIER.fullmatch(name) for module, name in report.globals)
        if sure or (report.globals and named and (report.calls or report.complete)):
            second: list[tuple[str, str]] = []
            if report.length <= _IN_MEMORY and report.steps <= _SECOND_LOOK:
                stream.seek(start)
                second = picklescan_globals(stream.read(report.length))
                stream.seek(start + report.length)
            self._take(report, where, second, script=script)
            for module, name in report.changed:
                self.result.problem(f"the pickle {where} changes {shown(f'{module}.{name}')} itself")
        return report

    def pickles(
        self,
        stream: BinaryIO,
        where: str,
        *,
        sure: bool,
        whole: bool = False,
        script: bool = False,
        legacy: bool = False,
    ) -> None:
        """Walk one pickle after the other up to the end of the stream, which is a `whole` file or part of one."""
        count = 0
        while True:
            position = stream.tell()
            if not stream.read(1):
                return
            stream.seek(position)
            report = self._one_pickle(stream, where, sure=sure, whole=whole, script=script)
            count += report.complete
            if legacy and count == _LEGACY_PICKLES:
                return
            if not report.complete:
                if sure and count and not legacy:
                    self.result.problem(f"{where} has {'more' if count else 'odd'} bytes after its pickle")
                elif sure:
                    self.result.problem(f"the pickle {where} {report.error} and cannot be looked at to its end")
                return
            if count == 2 and sure and not legacy:
                self.result.problem(f"{where} holds a second pickle after the first")
            if count > _MAX_PICKLES or not (sure or report.globals):
                return

    def hidden_pickles(self, path: Path, start: int) -> None:
        """Look for pickles that import something in the raw storages of a legacy file."""
        steps = 0
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            for match in _PROTO.finditer(view, start):
                part = view[match.start() : match.start() + _HIDDEN]
                report = walk_pickle(io.BytesIO(part), len(part))
                steps += report.steps
                if steps > _HIDDEN_STEPS:
                    self.result.problem("the weights look like pickles in more places than can be looked at")
                    return
                bad = [use for use in report.globals if objection(*use) and all(map(_IDENTIFIER.fullmatch, use))]
                if bad and report.calls:
                    self._take(report, "a pickle hidden behind the weights", (), script=False)

    # Members of archives

    def _member(
        self, stream: BinaryIO, name: str, where: str, head: bytes, tail: bytes, *, top: bool, depth: int
    ) -> None:
        script = top and self.format == "torchscript"
        stream.seek(0)
        if head.startswith(b"PK\x03\x04") or b"PK\x05\x06" in tail or is_tar(head):
            with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as copy:
                while chunk := stream.read(_CHUNK):
                    copy.write(chunk)
                copy.seek(0)
                if zipfile.is_zipfile(copy):
                    copy.seek(0)
                    self.zip(cast(BinaryIO, copy), where, depth=depth)
                    return
                if is_tar(head):
                    copy.seek(0)
                    self.tar(cast(BinaryIO, copy), where, depth=depth)
                    return
            if head.startswith(b"PK\x03\x04"):
                self.result.problem(f"{where} is a damaged archive")
            stream.seek(0)
        storage = "data" in name.split("/")[:-1] and name.rsplit("/", 1)[-1].isdigit()
        for magic, kind in _PACKED:
            if head.startswith(magic) and not storage:
                self.result.problem(f"{where} is {kind} data that cannot be looked into")
                return
        if script and name.split("/")[1:2] == ["code"] and name.endswith(".py"):
            for problem in code_problems(self._text(stream, where)):
                self.result.problem(f"the TorchScript code in {where} {problem}")
            return
        if self.format == "torch-export" and name.endswith(".json"):
            for problem in json_problems(self._text(stream, where)):
                self.result.problem(f"torch.export.load would run code out of {where}: {problem}")
            return
        if head.startswith(b"\x93NUMPY"):
            wide = head[6:7] != b"\x01"
            stream.seek(int.from_bytes(head[8 : 12 if wide else 10], "little") + (12 if wide else 10))
            head = stream.read(2)
            stream.seek(-len(head), io.SEEK_CUR)
        sure = name.lower().endswith(_PICKLE_SUFFIXES) or (bool(_PROTO.match(head)) and not storage and not top)
        self.pickles(stream, where, sure=sure, script=script)

    def _text(self, stream: BinaryIO, where: str) -> bytes:
        data = stream.read(_MAX_TEXT + 1)
        if len(data) > _MAX_TEXT:
            self.result.problem(f"{where} is text of more than {_MAX_TEXT >> 20} MiB")
        return data[:_MAX_TEXT]

    def _charge(self, size: int, where: str) -> bool:
        """Whether so many bytes more may be unpacked."""
        self.unpacked += size
        if self.unpacked > self.most:
            self.result.problem(f"{where} and what was unpacked before it come to {self.unpacked:,} bytes: a zip bomb")
        return self.unpacked <= self.most

    def zip(self, stream: BinaryIO, where: str, *, depth: int = 0) -> None:
        """Check the layout, then every member, to its CRC."""
        self.result.archives += 1
        prefix = f"{where}: " if depth else ""
        if depth > self.limits.max_depth:
            self.result.problem(f"{where} is an archive more than {self.limits.max_depth} levels deep")
            return
        if problem := directory_problem(stream, self.limits):
            self.result.problem(prefix + problem)
            return
        try:
            with zipfile.ZipFile(stream) as archive:
                found = layout_problems(archive, stream, self.limits)
                for text in found:
                    self.result.problem(prefix + text)
                if any("zip bomb" in text or "more than" in text or "overlaps" in text for text in found):
                    return
                if not self._charge(sum(info.file_size for info in archive.infolist()), where):
                    return
                for info in archive.infolist():
                    self.result.members += 1
                    inner = shown(info.filename) if not depth else f"{shown(info.filename)} in {where}"
                    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                        continue
                    native = "/aotinductor/" in info.filename or info.filename.endswith(".so")
                    if native and self.format == "torch-export":
                        self.result.problem(f"{inner} is compiled code")
                    self._zip_member(archive, info, inner, depth)
        except Exception as error:  # whatever zipfile and zlib make of hostile bytes, the file is not passed
            self.result.problem(f"{prefix}the archive is damaged ({shown(str(error))})")

    def _zip_member(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, inner: str, depth: int) -> None:
        head = tail = b""
        with archive.open(info) as member:  # to the end, so that the CRC is compared
            while chunk := member.read(_CHUNK):
                head = head if len(head) >= 512 else head + chunk[:512]
                tail = (tail + chunk)[-66_000:]
        if not head:
            return
        with archive.open(info) as member:
            stream = cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, member)))
            self._member(stream, info.filename, inner, head, tail, top=not depth, depth=depth + 1)

    def tar(self, stream: BinaryIO, where: str, *, depth: int = 0) -> None:
        """The format of torch before 0.1.10, and what people put into zips."""
        self.result.archives += 1
        if depth > self.limits.max_depth:
            self.result.problem(f"{where} is an archive more than {self.limits.max_depth} levels deep")
            return
        try:
            with tarfile.open(fileobj=cast(BinaryIO, SmallReads(stream)), mode="r:") as archive:
                for number, info in enumerate(archive):
                    if number == min(self.limits.max_members, _MAX_TAR):
                        self.result.problem(f"{where} is a tar archive of more than {number:,} members")
                        return
                    self._tar_member(archive, info, where, depth)
        except Exception as error:  # as above
            self.result.problem(f"{where} is a damaged archive ({shown(str(error))})")

    def _tar_member(self, archive: tarfile.TarFile, info: tarfile.TarInfo, where: str, depth: int) -> None:
        self.result.members += 1
        inner = f"{shown(info.name)} in {where}" if depth else shown(info.name)
        problem = tar_member_problem(info)
        if problem:
            self.result.problem(f"member {inner} {problem}")
            return
        member = archive.extractfile(info) if info.isfile() else None
        if member is not None and info.size and self._charge(info.size, where):
            head = member.read(512)
            member.seek(max(0, info.size - 66_000))
            tail = member.read()
            self._member(cast(BinaryIO, member), info.name, inner, head, tail, top=False, depth=depth + 1)


def walk_file(path: Path, format_: Format, limits: Limits | None = None, *, sure: bool = True) -> FileWalk:
    """Walk the file as what `identify` took it for. Raises OSError if it cannot be read.

    Unless `sure`, it may be no pickle at all, and only what would import and call counts.

    ONNX files are protobuf messages and read as nothing else: there is no code in them to look for. Where their weights
    lie, and how large they say they are, the reader holds against the file before it takes them.
    """
    walker = _Walker(format_, limits or Limits(), path.stat().st_size)
    if format_ == "onnx":
        return walker.result
    with path.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        if format_ != "safetensors" and head.startswith(b"PK\x03\x04"):
            walker.zip(file, "the file")
            return walker.result
        if format_ == "safetensors":
            for text in header_problems(file):
                walker.result.problem(text)
            # Its bytes may read as a pickle, too: the name decides which loader a user takes.
            file.seek(0)
            walker.pickles(file, "the file", sure=False, whole=True)
        elif is_tar(head):
            walker.tar(file, "the file")
        else:
            legacy = format_ == "pytorch-legacy"
            walker.pickles(file, "the file", sure=sure, whole=True, legacy=legacy)
            end = file.tell()
            if legacy and end < path.stat().st_size:
                walker.hidden_pickles(path, end)
        if _holds_zip(file):
            walker.result.problem("a zip archive is appended to the file")
    return walker.result


def _holds_zip(stream: BinaryIO) -> bool:
    """Whether readers that look for an archive from the end find one with members in it."""
    if not zipfile.is_zipfile(stream):
        return False
    if directory_problem(stream, Limits()):
        return True
    try:
        with zipfile.ZipFile(stream) as archive:
            return bool(archive.namelist())
    except Exception:  # four bytes of a weight are no archive; what else zipfile meets here none could read
        return False


def offences(
    path: Path,
    format_: Format,
    *,
    allow_pickle: bool = False,
    trusted_modules: Collection[str] = (),
    limits: Limits | None = None,
    sure: bool = True,
) -> tuple[FileWalk, list[str]]:
    """Walk the file and hold its globals against the allow-list.

    Returns the walk and one sentence an offending item, dangerous globals first. Raises OSError.
    """
    walk = walk_file(path, format_, limits, sure=sure)
    worst, other = list[str](), list[str]()
    for (module, name), where in walk.globals.items():
        script = (module, name) in walk.script_globals
        reason = objection(
            module,
            name,
            torchscript=script,
            allow_pickle=allow_pickle,
            trainer=path.name == _TRAINING,
            trusted_modules=trusted_modules,
        )
        if reason:
            text = f"{shown(f'{module}.{name}')} in {where} {reason}"
            (worst if is_dangerous(module, name) else other).append(text)
    return walk, worst + other + walk.problems
