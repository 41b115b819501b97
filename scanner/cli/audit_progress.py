"""How far an audit is, on standard error: a bar on a terminal, elsewhere a line a model and now and then one of all."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...evidence.verdict import Verdict
from ..audit.auditor import State
from ..audit.audits import Entry
from ..reports.printable import one_line
from ..tiers import TIERS
from .progress import log

LINE_SECONDS = 60.0  # between two lines of all
_RUNNING = 3  # models that are named
WORDS = {
    Verdict.PASSED: "passed",
    Verdict.FAILED: "FAILED",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.ERROR: "error",
}
Show = Callable[[Entry], None]


class Pace:
    """Rate and time left, from what has been done since the start."""

    def __init__(self, state: State, slots: Callable[[], int]) -> None:
        self._state, self._slots = state, slots
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def rate(self) -> float:
        """Models that were scanned, a minute."""
        return 60 * sum(self._state.tasks.values()) / len(TIERS) / max(self.elapsed, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds that are left: what each tier still has to do at its mean pace; None where a tier has no pace yet."""
        state, total, before = self._state, 0.0, 0
        running = [tier for _, tier, _ in list(state.running.values())]
        for tier in TIERS:
            before += state.left[tier] + running.count(tier)  # what is in an earlier tier comes here too
            if not before:
                continue
            if not state.tasks[tier]:
                return None
            total += before * state.seconds.get(tier, 0.0) / state.tasks[tier]
        return total / max(1, self._slots())

    def told(self) -> str:
        """The same in words."""
        state = self._state
        parts = [f"{state.ended} of {state.total} models"]
        if state.tasks:
            parts.append(f"{self.rate:.1f} a minute")
        counts = [f"{state.verdicts[verdict]} {WORDS[verdict].lower()}" for verdict in WORDS if state.verdicts[verdict]]
        parts += [", ".join(counts)] if counts else []
        if state.ended < state.total:
            left = self.left
            parts.append(f"about {duration(left)} left" if left is not None else "time left not known yet")
        if state.waiting:
            parts.append(f"{state.waiting} wait for another audit")
        return "; ".join(parts)


def duration(seconds: float) -> str:
    """`3 s`, `12 min`, `1 h 40 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


@contextmanager
def show_audit(state: State, slots: Callable[[], int], *, quiet: bool) -> Iterator[Show]:
    """Yield what is to be called for each model that has ended."""
    pace = Pace(state, slots)
    if quiet or sys.stderr is None:
        yield lambda entry: None
    elif sys.stderr.isatty():
        with _bar(state, pace) as show:
            yield show
    else:
        with _lines(state, pace) as show:
            yield show


def _told(entry: Entry, state: State) -> str:
    assert entry.verdict
    why = f": {one_line(entry.error)}" if entry.error else ""
    stored = " (from the store)" if entry.source == "store" else ""
    width = len(str(state.total))
    return f"{state.ended:{width}} of {state.total}  {WORDS[entry.verdict]}  {one_line(entry.name)}{stored}{why}"


@contextmanager
def _lines(state: State, pace: Pace) -> Iterator[Show]:
    done = threading.Event()

    def tell() -> None:
        while not done.wait(LINE_SECONDS):
            log(f"{pace.elapsed:7.1f} s  {pace.told()}")

    def show(entry: Entry) -> None:
        # A thousand lines of what was known before are nothing to read.
        if entry.source != "store" or entry.verdict is not Verdict.PASSED:
            log(f"{pace.elapsed:7.1f} s  {_told(entry, state)}")

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield show
    finally:
        done.set()
        log(f"{pace.elapsed:7.1f} s  {pace.told()}")


@contextmanager
def _bar(state: State, pace: Pace) -> Iterator[Show]:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    def picture() -> Group:
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=max(state.total, 1), completed=state.ended, width=20), Text(pace.told()))
        now = time.monotonic()
        running = sorted(state.running.values(), key=lambda one: one[2])[:_RUNNING]
        lines = [
            Text(f"  {tier:9} {one_line(name)}  {duration(now - since)}", style="dim", no_wrap=True)
            for name, tier, since in running
        ]
        return Group(bar, *lines)

    console = Console(stderr=True)
    with Live(get_renderable=picture, console=console, transient=True, refresh_per_second=4):

        def show(entry: Entry) -> None:
            if entry.verdict is not Verdict.PASSED:
                console.print(Text(_told(entry, state)), soft_wrap=True)

        yield show
