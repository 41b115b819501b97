"""What an audit would do, before it does it: for a person and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import zip_longest
from textwrap import wrap
from typing import Final

from rich.cells import cell_len, chop_cells, set_cell_size

from ...evidence.artifact import Format
from ...policies.load import load_policy
from ..reports.json_report import as_json
from ..reports.printable import one_line
from .plan import Plan, Planned
from .problems import look

CANNOT: Final = "cannot be scanned"
_COLUMNS: Final = ("state", "name", "path", "format", "architecture", "samples", "policy", "options from")
_LEAST: Final = ("path", "samples", "policy", "options from")  # left away where there is no room, in this order
_NARROWEST: Final = 8
_GAP: Final = 2


@dataclass(frozen=True)
class DryRow:
    """One model, and what would be done with it."""

    name: str
    path: str
    format: Format | None  # None where it cannot be told
    architecture: str | None
    samples: str | None
    policy: str
    where: str  # the options come from
    state: str  # "new", "changed", ..., or CANNOT
    problem: str | None  # one sentence: why it cannot be scanned


def dry_run_rows(plan: Plan, state: Callable[[Planned], str]) -> list[DryRow]:
    """A row a model, in the order of the plan. Of every model the first bytes are read.

    Args:
        state: of a model that can be scanned: "new", "changed", "answered from the store".
    """
    rows, load = [], cache(load_policy)
    for planned in plan.planned:
        seen, options = look(planned, load=load), planned.options
        rows.append(
            DryRow(
                name=planned.name,
                path=str(planned.path),
                format=seen.format,
                architecture=options["architecture"],
                samples=None if options["samples"] is None else str(options["samples"]),
                policy=options["policy_name"],
                where=planned.where,
                state=CANNOT if seen.problem else state(planned),
                problem=seen.problem,
            )
        )
    return rows


def to_dry_run_json(plan: Plan, rows: Sequence[DryRow]) -> str:
    """All of it, ASCII only."""
    return as_json(
        {
            "source": str(plan.source),
            "models": [asdict(row) for row in rows],
            "left_out": [one.model_dump() for one in plan.left_out],
            "notes": list(plan.notes),
        }
    )


def to_dry_run_text(plan: Plan, rows: Sequence[DryRow], *, color: bool, width: int | None) -> str:
    """A line a model, what cannot be scanned and why, what is left out and why, and a line over all.

    Text out of paths is shown as it is: markup is not interpreted, control characters are written out.

    Args:
        width: columns to fit into, at least 40; None for a pipe: a tab between columns, and no line is wrapped.
    """
    if width is None:
        return "\n".join([*_lines(plan, rows), summary(plan, rows)]) + "\n"
    width = max(40, width)
    problems = [(row.name, row.problem) for row in rows if row.problem]
    left_out = [(one.path, one.reason) for one in plan.left_out]
    notes = [("", note) for note in plan.notes]
    parts = [_table(rows, width)] if rows else []
    for title, told in (("Cannot be scanned", problems), ("Left out", left_out), ("To note", notes)):
        if told:
            head = f"\x1b[1m{title}\x1b[0m" if color else title
            parts.append("\n".join([head, *(line for name, why in told for line in _told(name, why or "", width))]))
    return "\n\n".join([*parts, "\n".join(_wrapped(summary(plan, rows), width))]) + "\n"


def summary(plan: Plan, rows: Sequence[DryRow]) -> str:
    """`12 models: 8 new, 3 answered from the store, 1 cannot be scanned; 14 left out.`"""
    counts = Counter(row.state for row in rows)
    cannot = counts.pop(CANNOT, 0)
    told = [f"{count:,} {one_line(state)}" for state, count in counts.items()]
    told += [f"{cannot:,} {CANNOT}"] if cannot else []
    models = f"{len(rows):,} model{'s' * (len(rows) != 1)}" + (f": {', '.join(told)}" if told else "")
    return models + (f"; {len(plan.left_out):,} left out." if plan.left_out else ".")


def _cells(row: DryRow) -> tuple[str, ...]:
    cells = (row.state, row.name, row.path, row.format, row.architecture, row.samples, row.policy, row.where)
    return tuple(one_line(cell) if cell else "-" for cell in cells)


def _lines(plan: Plan, rows: Sequence[DryRow]) -> Iterable[str]:
    yield "\t".join(_COLUMNS)
    yield from ("\t".join(_cells(row)) for row in rows)
    yield from (f"{CANNOT}: {one_line(row.name)}: {one_line(row.problem)}" for row in rows if row.problem)
    yield from (f"left out: {one_line(one.path)}: {one_line(one.reason)}" for one in plan.left_out)
    yield from (f"to note: {one_line(note)}" for note in plan.notes)


def _table(rows: Sequence[DryRow], width: int) -> str:
    """Lines of columns; what is too long for its column goes on below. Columns that hold nothing are left away."""
    lines = [tuple(_COLUMNS), *map(_cells, rows)]
    columns = [index for index, _ in enumerate(_COLUMNS) if any(line[index] != "-" for line in lines[1:])]
    needed = [max(cell_len(line[index]) for line in lines) for index in range(len(_COLUMNS))]
    for least in (*_LEAST, None):
        wish = [needed[index] for index in columns]
        widths = _fit(wish, width - _GAP * (len(columns) - 1))
        if least is None or all(got >= min(needs, _NARROWEST) for got, needs in zip(widths, wish, strict=True)):
            break
        columns = [index for index in columns if _COLUMNS[index] != least]
    return "\n".join(text for line in lines for text in _folded([line[index] for index in columns], widths))


def _fit(needed: Sequence[int], width: int) -> list[int]:
    """Columns as wide as they need to be; where that is too wide for all, the widest are made narrower."""
    left, widths = width, [0] * len(needed)
    order = sorted(range(len(needed)), key=lambda index: needed[index])
    for place, index in enumerate(order):
        widths[index] = max(1, min(needed[index], left // (len(order) - place)))
        left -= widths[index]
    return widths


def _folded(cells: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    pieces = [
        [cell] if cell_len(cell) <= width else chop_cells(cell, width)
        for cell, width in zip(cells, widths, strict=True)
    ]
    for row in zip_longest(*pieces, fillvalue=""):
        yield (" " * _GAP).join(set_cell_size(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _told(name: str, why: str, width: int) -> list[str]:
    return [
        f"  {line}" for line in _wrapped(": ".join(part for part in (one_line(name), one_line(why)) if part), width - 2)
    ]


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(text, width, break_on_hyphens=False) or [""]
