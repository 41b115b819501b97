"""`ebyd-scan audit show` and `audit compare`: what the store says of audits, without scanning anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from ...evidence.errors import ScanError, UsageError
from ..audit.assemble import audit_from
from ..audit.audits import audit_of, audits, entries_of
from ..audit.store import Store
from ..reports.audit_terminal import to_text
from .audit import audit_report_options, store_option
from .audit_reports import check_places, write_reports
from .run import Failure, as_failure, color, echo, is_stdout, terminal_width

SHOW_EXAMPLES = """\b
Examples:
  ebyd-scan audit show                 # the last audit
  ebyd-scan audit show --list          # all of them, a line each
  ebyd-scan audit show 3 --html report/ --csv audit.csv

\b
Exit codes: those of the audit; 2 no such audit.
"""
COMPARE_EXAMPLES = """\b
Examples:
  ebyd-scan audit compare last~1 last
  ebyd-scan audit compare 3 7 --json -

\b
Exit codes: 0 nothing got worse, 1 a model got worse or is new and did not pass,
            2 no such audit.
"""


@click.command(epilog=SHOW_EXAMPLES)
@click.argument("number", default="last", metavar="[NUMBER|last|last~N]")
@store_option
@click.option("--list", "listed", is_flag=True, help="A line for every audit of the store.")
@audit_report_options
def show(number: str, store_path: Path, listed: bool, reports: Mapping[str, Path | None]) -> None:
    """Show an audit once more, and write its reports again from the store."""
    try:
        store = _open(store_path)
        try:
            if listed:
                echo(_list(store))
                raise SystemExit(0)
            row = audit_of(store, number)
            check_places(reports, [store_path, *(Path(entry.path) for entry in entries_of(store, row.id))])
            audit, problems = write_reports(store, row, reports)
        finally:
            store.close()
    except ScanError as problem:
        raise as_failure(problem) from problem
    to_stdout = any(path and is_stdout(path) for path in reports.values())
    width = max(60, min(120, terminal_width()))
    echo(to_text(audit, color=color(to_stdout), width=width), err=to_stdout)
    if problems:
        raise Failure("; ".join(problems), 3)
    raise SystemExit(audit.exit_code)


@click.command(epilog=COMPARE_EXAMPLES)
@click.argument("before")
@click.argument("after", default="last")
@store_option
@click.option("--json", "json_path", type=click.Path(path_type=Path), metavar="FILE", help="Write it as JSON; `-`.")
def compare(before: str, after: str, store_path: Path, json_path: Path | None) -> None:
    """Say what has changed between two audits: models, their files, verdicts and findings."""
    from ..audit.compare import compare as compared
    from ..reports.audit_comparison import to_json
    from ..reports.audit_comparison import to_text as comparison_text
    from ..reports.write import check_writable, write_atomically

    try:
        store = _open(store_path)
        try:
            if json_path and not is_stdout(json_path):
                check_writable({"--json": json_path}, inputs=[store_path])
            rows = audit_of(store, before), audit_of(store, after)
            found = compared(*(audit_from(store, row) for row in rows))
        finally:
            store.close()
        to_stdout = json_path is not None and is_stdout(json_path)
        width = max(60, min(120, terminal_width()))
        echo(comparison_text(found, color=color(to_stdout), width=width), err=to_stdout)
        if json_path is not None:
            if to_stdout:
                echo(to_json(found))
            else:
                write_atomically(json_path, to_json(found))
    except ScanError as problem:
        raise as_failure(problem) from problem
    raise SystemExit(1 if found.worse else 0)


def _open(path: Path) -> Store:
    if not path.exists():
        raise UsageError(f"--store {path}: there is no such file; `ebyd-scan audit` makes one")
    return Store(path)


def _list(store: Store) -> str:
    lines = []
    for row in audits(store):
        entries = entries_of(store, row.id)
        ended = sum(entry.ended is not None for entry in entries)
        counts: dict[str, int] = {}
        for entry in entries:
            if entry.verdict:
                counts[entry.verdict.value] = counts.get(entry.verdict.value, 0) + 1
        told = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
        how = f"{ended} models" if row.ended else f"{ended} of {len(entries)} models, not finished"
        lines.append(f"{row.id:4}  {row.started}  {how}: {told or 'none'}  {row.source}\n")
    return "".join(lines) or "no audit yet\n"
