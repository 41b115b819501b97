"""How large a trigger is, in words; the same in messages and reports."""

from __future__ import annotations

from collections.abc import Iterable

_SHARES = {"patch": "% of the picture", "warp": "% of the side"}  # sizes from 0 to 1, told in percent
_UNITS = {"blend": "of amplitude", "filter": "RMS", "words": "word(s)"}


def size_text(family: str, sizes: Iterable[float]) -> str:
    """`1.4 % of the picture`; of several sizes the smallest and the largest, `2.1 to 5 % of the picture`."""
    scale = 100 if family in _SHARES else 1
    ordered = sorted(sizes)
    ends = [f"{scale * size:.3g}" for size in (ordered[0], ordered[-1])]
    unit = _SHARES.get(family) or _UNITS.get(family, "")
    return f"{ends[0] if ends[0] == ends[1] else ' to '.join(ends)} {unit}".rstrip()
