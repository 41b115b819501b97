"""`--since`: which models have changed since a moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ...evidence.audit import LeftOut
from .plan import Planned
from .signature import changed_at


def left_out_since(planned: Sequence[Planned], moment: float, told: str) -> tuple[list[Planned], list[LeftOut]]:
    """Those that have changed since a moment, in seconds since 1970, and the others as left out."""
    changed = [one for one in planned if changed_at(one.path) >= moment]
    names = {one.name for one in changed}
    return changed, [
        LeftOut(path=str(one.path), reason=f"has not changed since {told}") for one in planned if one.name not in names
    ]


def resolve_since(text: str, last: str | None) -> float:
    """Seconds since 1970 of a date, a time, `last`, or so long ago as `7d`, `12h`, `30m`. Raises ValueError."""
    if text == "last":
        if last is None:
            raise ValueError("there is no earlier audit of it that came to its end")
        return datetime.fromisoformat(last).timestamp()
    units = {"d": "days", "h": "hours", "m": "minutes"}
    if text[-1:] in units and text[:-1].isdigit():
        return (datetime.now(UTC) - timedelta(**{units[text[-1]]: int(text[:-1])})).timestamp()
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.astimezone()).timestamp()
