"""What lies in a folder and is no model of the audit: told file by file, and in sums where there are too many."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...evidence.audit import LeftOut

MAX_TOLD: Final = 200
FileId = tuple[int, int]  # device and inode
_ALIKE: Final = 10  # so many files of a folder, left out for one reason, are told one by one


@dataclass(frozen=True)
class Left:
    """One path that is left out, relative to the folder."""

    path: str
    reason: str
    plain: bool = False  # it looks like no model at all: the first to go into a sum
    identity: FileId | None = None  # where it goes without saying if it is a file of a Hugging Face folder too


def grouped(folder: Path, left: Iterable[Left]) -> list[LeftOut]:
    """At most `MAX_TOLD` and one for all the others; what a person would wonder about goes before plain files."""
    odd = [one for one in left if not one.plain]
    plain = _by_folder([one for one in left if one.plain])
    every = sorted(odd, key=lambda one: one.path) + sorted(plain, key=lambda one: one.path)
    told = [LeftOut(path=valid(str(folder / one.path)) + _slash(one), reason=one.reason) for one in every[:MAX_TOLD]]
    told.sort(key=lambda one: one.path)
    if rest := every[MAX_TOLD:]:
        counts = Counter(one.reason for one in rest).most_common(5)
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts)
        told.append(LeftOut(path=valid(str(folder)), reason=f"and {len(rest):,} more: {reasons}"))
    return told


def valid(name: str) -> str:
    """A name may be any bytes; reports are Unicode."""
    return name.encode("utf-8", "backslashreplace").decode()


def _slash(one: Left) -> str:
    return "/" if one.path.endswith("/") else ""


def _by_folder(plain: list[Left]) -> list[Left]:
    groups: dict[tuple[str, str], list[Left]] = defaultdict(list)
    for one in plain:
        groups[one.path.rstrip("/").rpartition("/")[0], one.reason].append(one)
    told = []
    for (parent, reason), alike in groups.items():
        if len(alike) <= _ALIKE:
            told += alike
        else:
            told.append(Left(f"{parent}/" if parent else "", f"{len(alike):,} files in it: {reason}", plain=True))
    return told
