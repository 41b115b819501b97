"""`--since`: which models have changed since a moment, or are other ones than the last audit has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from ...evidence.audit import LeftOut
from .audits import audits, entries_of
from .plan import Plan, Planned
from .run import source_of, works_of
from .signature import changed_at
from .store import Store

LAST = "last"


def left_out_since(
    planned: Sequence[Planned], changed: Callable[[Planned], bool], told: str
) -> tuple[list[Planned], list[LeftOut]]:
    """Those that have changed, and the others as left out."""
    kept = [one for one in planned if changed(one)]
    names = {one.name for one in kept}
    return kept, [
        LeftOut(path=str(one.path), reason=f"has not changed since {told}") for one in planned if one.name not in names
    ]


def since_moment(text: str) -> Callable[[Planned], bool]:
    """Of a date, a time, or so long ago as `7d`, `12h`, `30m`, by the times of the files. Raises ValueError."""
    units = {"d": "days", "h": "hours", "m": "minutes"}
    if text[-1:] in units and text[:-1].isdigit():
        moment = datetime.now(UTC) - timedelta(**{units[text[-1]]: int(text[:-1])})
    else:
        moment = datetime.fromisoformat(text).astimezone()
    return lambda planned: changed_at(planned.path, planned.options.get("base_model")) >= moment.timestamp()


def since_last(plan: Plan, store: Store) -> Callable[[Planned], bool]:
    """Not by times, which a file that is moved here keeps: what no audit of this source has seen just as it lies there.

    Raises:
        ValueError: no audit of the source has come to its end.
    """
    ended = [row for row in audits(store, source_of(plan)) if row.ended]
    if not ended:
        raise ValueError("there is no earlier audit of it that came to its end")
    seen = {entry.name for row in ended for entry in entries_of(store, row.id) if entry.verdict}
    same = set()
    for work in works_of(plan)[0]:
        seal = work.signature(store)
        if work.name in seen and seal and store.model_at(work.place, seal):
            same.add(work.name)
    return lambda planned: planned.name not in same
