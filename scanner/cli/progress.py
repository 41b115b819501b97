"""Progress on standard error: a bar on a terminal, elsewhere a line a stage with the seconds since the start."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ...evidence.context import Progress, silent


@contextmanager
def show_progress(quiet: bool) -> Iterator[Progress]:
    """Yield the callback that shows progress; nothing is ever written to standard output."""
    if quiet or sys.stderr is None:  # None: closed by the caller
        yield silent
    elif sys.stderr.isatty():
        with _bar() as callback:
            yield callback
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, object] = {}

        def callback(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(escape(_plain(stage)), total=total)
            bar.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield callback


def _lines() -> Progress:
    seen: set[str] = set()
    started = time.monotonic()

    def callback(stage: str, done: int, total: int) -> None:
        if stage not in seen:
            seen.add(stage)
            log(f"{time.monotonic() - started:6.1f} s  {_plain(stage)}")

    return callback


def log(line: str) -> None:
    """A line on standard error."""
    with contextlib.suppress(OSError):  # nobody may be listening any more (`2>&1 | head -1`)
        print(f"ebyd-scan: {line}", file=sys.stderr, flush=True)


def _plain(stage: str) -> str:
    """Stage names come from the worker: no control characters reach a terminal."""
    return "".join(character for character in stage if character.isprintable())
