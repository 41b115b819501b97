"""Names of an audit's models, made of their paths."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence

_LONGEST = 100  # as in a project file
_DIGITS = 8  # of a digest, behind names that would be alike


def plain_name(path: str) -> str:
    """A path as a name: `a/b/net.pt` is `a-b-net.pt`. Of a path too long the end is kept, and a digest of all."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    name = _plain("-".join(parts)) or "model"
    return name if len(name) <= _LONGEST else _with_digest(name, path)


def named(paths: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """A name for every path, in order, no two alike without regard to case, and none that is taken.

    Those that would be alike all get a digest of their path, so that a model keeps its name when another one joins it.
    """
    used = {name.casefold() for name in taken}
    plain = [plain_name(path) for path in paths]
    often = Counter(name.casefold() for name in plain)
    alone = {name for name, count in often.items() if count == 1} - used
    used |= alone
    rounds = Counter[str]()
    names = []
    for path, name in zip(paths, plain, strict=True):
        chosen = name
        while name.casefold() not in alone and (chosen == name or chosen.casefold() in used):
            chosen = _with_digest(name, path, rounds[path])
            rounds[path] += 1
        used.add(chosen.casefold())
        names.append(chosen)
    return names


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-").lstrip("._-")


def _with_digest(name: str, path: str, number: int = 0) -> str:
    """`number` tells the names of one path apart."""
    digest = hashlib.sha256(os.fsencode(path) + b"\0" * number).hexdigest()[:_DIGITS]
    kept = name[-(_LONGEST - 1 - _DIGITS) :].lstrip("._-") or "model"
    return f"{kept}-{digest}"
