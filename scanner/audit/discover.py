"""The models in a folder of unknown origin: found by name and first bytes, nothing of it executed or believed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ...evidence.audit import LeftOut
from ...evidence.errors import ScanError, UsageError
from .found import NO_MODEL, NO_WEIGHTS, called_model, companion, holds_model, loose_shards, own_weights, why_no_model
from .left_out import FileId, Left, grouped, valid

MAX_ENTRIES: Final = 1_000_000
_GIT: Final = ".git"
_KINDS: Final = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}
_LINKS: Final = {errno.ELOOP: "a link in a circle", errno.ENOENT: "a link that leads nowhere"}


@dataclass(frozen=True)
class Found:
    """A model: a file, or a Hugging Face folder."""

    path: Path
    relative: str  # to the folder that was walked, with `/`; empty for that folder itself
    problem: str | None = None  # one sentence: why it cannot be scanned


@dataclass
class Discovery:
    """What lies in a folder, in the order of the paths."""

    found: list[Found] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Candidate:
    found: Found
    rank: (
        int  # of several paths to one file the lowest is taken: a folder, by name, by first bytes; a link after a file
    )
    ids: tuple[FileId, ...]  # the file, or the folder's files of weights


@dataclass(frozen=True)
class _Within:
    """A folder that is being looked at."""

    relative: str
    names: set[str]
    model: bool = False  # it is a Hugging Face model
    own: set[str] = field(default_factory=set)  # files of its weights; in another folder parts of weights


@dataclass
class _Walk:
    root: Path
    real: str  # the root without links
    known: Mapping[str, str]  # real path -> why it is no model
    pruned: Callable[[str], str | None]
    candidates: list[_Candidate] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    members: set[FileId] = field(default_factory=set)  # files of Hugging Face folders
    entries: int = 0

    def leave(self, relative: str, reason: str, *, plain: bool = False, identity: FileId | None = None) -> None:
        self.left.append(Left(relative, reason, plain, identity))

    def take(self, relative: str, rank: int, ids: tuple[FileId, ...], problem: str | None = None) -> None:
        path = self.root / relative
        self.candidates.append(_Candidate(Found(path, relative, _unnameable(path) or problem), rank, ids))

    def reason_for(self, relative: str) -> str | None:
        """Why something that lies there, not behind a link, is known to be no model."""
        return self.known.get(f"{self.real.rstrip('/')}/{relative}")

    def inside(self, real: str) -> bool:
        return real == self.real or real.startswith(self.real.rstrip("/") + "/")


def discover(
    folder: Path,
    *,
    known: Mapping[Path, str] | None = None,
    skip: Callable[[str], str | None] = lambda relative: None,
    pruned: Callable[[str], str | None] = lambda relative: None,
) -> Discovery:
    """The models in a folder, and what else lies there.

    A Hugging Face folder is one model. Links to files are followed within the folder, links to folders are not. Of
    several paths to one file one is taken. Pipes and devices are not opened.

    Args:
        known: resolved paths that are no models, and why: "the clean samples".
        skip: why the model at a path relative to the folder is left out, None where it is not.
        pruned: why a whole folder is left out, likewise; it is then not walked.

    Raises:
        UsageError: the folder cannot be listed, or holds more than can be looked at.
    """
    walk = _Walk(folder, os.path.realpath(folder), {str(path): why for path, why in (known or {}).items()}, pruned)
    waiting = [""]
    while waiting:
        waiting += reversed(_folder(walk, waiting.pop()))
    kept = []
    for candidate in walk.candidates:
        reason = skip(candidate.found.relative)
        if reason is None:
            kept.append(candidate)
        else:
            walk.leave(candidate.found.relative, reason)
    found = sorted(_distinct(walk, kept), key=lambda one: one.relative)
    left = [one for one in walk.left if one.identity is None or one.identity not in walk.members]
    return Discovery(found, grouped(folder, left), walk.notes)


def _distinct(walk: _Walk, candidates: list[_Candidate]) -> Iterator[Found]:
    first: dict[FileId, str] = {}
    for candidate in sorted(candidates, key=lambda one: (one.rank, one.found.relative)):
        same = next((first[one] for one in candidate.ids if one in first), None)
        if same is None or candidate.rank == 0:  # two folders may share weights, and differ in the rest
            yield candidate.found
            for one in candidate.ids:
                first.setdefault(one, candidate.found.relative)
        else:
            walk.leave(candidate.found.relative, f"the same file as {valid(same) or 'the model of the folder'}")


def _folder(walk: _Walk, relative: str) -> list[str]:
    """Look at one folder; those within it that are to be walked."""
    place = walk.root / relative
    try:
        with os.scandir(place) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        if not relative:
            raise UsageError(f"{walk.root}: cannot be listed ({error.strerror}): check its permissions") from None
        walk.leave(relative + "/", f"cannot be listed ({error.strerror})")
        walk.notes.append(f"{_short(place)}: cannot be listed ({error.strerror}), so nothing in it is looked at")
        return []
    walk.entries += len(entries)
    if walk.entries > MAX_ENTRIES:
        raise UsageError(f"{walk.root}: holds more than {MAX_ENTRIES:,} files: audit the folders in it one by one")
    within = _within(walk, relative, entries)
    deeper = []
    for entry in entries:
        inner = f"{relative}/{entry.name}" if relative else entry.name
        try:
            if entry.is_symlink():
                _link(walk, entry, inner, within)
            elif not entry.is_dir(follow_symlinks=False):
                _file(walk, inner, entry.stat(follow_symlinks=False), within)
            elif (reason := _why_not_walked(walk, entry.name, inner)) is None:
                deeper.append(inner)
            else:
                walk.leave(inner + "/", reason)
        except OSError as error:
            walk.leave(inner, f"cannot be read ({error.strerror})")
        except ScanError:  # no permission, or gone since the folder was listed
            walk.leave(inner, "cannot be read, and is not called like a model")
    return deeper


def _why_not_walked(walk: _Walk, name: str, inner: str) -> str | None:
    return walk.reason_for(inner) or ("Git's own folder" if name == _GIT else walk.pruned(inner))


def _within(walk: _Walk, relative: str, entries: list[os.DirEntry[str]]) -> _Within:
    """A folder by its names. A Hugging Face folder is a model, and its links have to stay in what is audited."""
    names = {entry.name for entry in entries}
    if not holds_model(names):
        return _Within(relative, names, own=loose_shards(names))
    path, problem, weights = walk.root / relative, None, []
    own = own_weights(path, names)
    for entry in entries:
        try:
            if entry.is_symlink() and relative and not walk.inside(os.path.realpath(entry.path)):
                problem = f"{path / entry.name} is a link that leads out of {walk.root}: put the file in its place"
            if entry.is_file():
                info = entry.stat()
                walk.members.add((info.st_dev, info.st_ino))
                if entry.name in own:
                    weights.append((info.st_dev, info.st_ino))
        except OSError:  # told by the scan
            continue
    walk.take(relative, 0, tuple(weights), problem)
    return _Within(relative, names, model=True, own=own)


def _link(walk: _Walk, entry: os.DirEntry[str], inner: str, within: _Within) -> None:
    try:
        real = Path(os.path.realpath(entry.path, strict=True))
        info = real.stat()
    except OSError as error:
        reason = _LINKS.get(error.errno or 0, f"a link that cannot be followed ({error.strerror})")
        walk.leave(inner, reason)
        return
    inside, folder = walk.inside(str(real)), stat.S_ISDIR(info.st_mode)
    if within.model and not folder and not inside and not called_model(entry.name, within.names):
        return  # told with the model; where the user named the model itself, its links are the scan's to follow
    if within.model and not folder and entry.name in within.own:
        return
    if not inside:
        walk.leave(inner, "a link that leads out of the folder")
    elif folder:
        walk.leave(inner, "a link to a folder: what lies there is found at its own place", plain=True)
    elif (why := walk.known.get(str(real))) is not None:
        walk.leave(inner, why)
    else:
        _file(walk, inner, info, within, link=True)


def _file(walk: _Walk, inner: str, info: os.stat_result, within: _Within, *, link: bool = False) -> None:
    name, identity = inner.rpartition("/")[2], (info.st_dev, info.st_ino)
    if not stat.S_ISREG(info.st_mode):
        walk.leave(inner, _KINDS.get(stat.S_IFMT(info.st_mode), "no regular file"))
    elif name in within.own:
        if not within.model:
            walk.leave(inner, "one part of several, and no config.json beside it says of what")
    elif reason := walk.reason_for(inner) or (companion(name) if within.model else None):
        walk.leave(inner, reason)
    elif called_model(name, within.names):
        walk.take(inner, 1 + link, (identity,))
    elif (reason := why_no_model(walk.root / inner, within.names)) is None:
        walk.take(inner, 3 + link, (identity,))
    elif reason not in (NO_MODEL, NO_WEIGHTS):
        walk.leave(inner, reason, plain=True)
    elif not within.model:
        walk.leave(inner, reason, plain=True, identity=identity)


def _unnameable(path: Path) -> str | None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return f"{valid(str(path))}: the name is not valid UTF-8, so no report could hold it: rename it"
    return None


def _short(path: Path) -> str:
    text = valid(str(path))
    return text if len(text) <= 200 else f"{text[:100]}...{text[-97:]}"
