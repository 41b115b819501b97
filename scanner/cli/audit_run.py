"""Drives `ebyd-scan audit`: plan, store, executor, progress, reports, exit code."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from ...evidence.audit import LeftOut
from ...evidence.errors import ScanError, UsageError
from ...evidence.verdict import Verdict
from ...policies.load import load_policy
from ..audit.auditor import Settings, State
from ..audit.audits import audits, entries_of
from ..audit.executors.choose import Workers, choose
from ..audit.executors.interface import Executor
from ..audit.plan import Plan, Planned, read_plan
from ..audit.run import run_audit, source_of
from ..audit.since import LAST, left_out_since, since_last, since_moment
from ..audit.store import Store
from ..reports.audit_terminal import to_text
from ..reports.write import check_writable
from ..supervisor import Stop, require_torch
from .audit_progress import show_audit
from .audit_reports import check_places, write_reports
from .progress import log
from .run import Failure, as_failure, color, echo, is_stdout, terminal_width


@dataclass(frozen=True)
class AuditOptions:
    """The command line of an audit."""

    source: Path
    defaults: Mapping[str, Any]  # options of `read_request` for models of which nothing else is said
    rules: Path | None
    dry_run: bool
    store_path: Path
    since: str | None
    only: tuple[str, ...]
    search: Any
    workers: int | None
    cpus: int | None
    executor_name: str
    ray_address: str | None
    retries: int
    reports: Mapping[str, Path | None]
    quiet: bool
    verbose: bool


def run(options: AuditOptions) -> int:
    """Audit, print the summary, write the reports; the exit code is that of the worst model.

    Raises:
        Failure: the manifest, an option or a place for a report is wrong, or the store cannot be used.
    """
    try:
        plan = _plan(options)
        if options.dry_run:
            return _dry_run(plan, options)
        require_torch()
        # A folder that is audited may get the store and reports; what is a model or belongs to one is left alone.
        inputs = [one for one in plan.inputs if one != plan.source or one.is_file()]
        inputs += [one.path for one in plan.planned]
        check_writable({"--store": options.store_path}, inputs=inputs)
        check_places(options.reports, [*inputs, options.store_path])
        how = choose(
            options.executor_name,
            models=len(plan.planned),
            device=options.defaults["device"],
            workers=options.workers,
            cpus=options.cpus,
            ray_address=options.ray_address,
            verbose=options.verbose,
        )
        store = Store(options.store_path)
        try:
            return _audit(plan, store, options, how)
        finally:
            store.close()
    except ScanError as problem:
        raise as_failure(problem) from problem


def _plan(options: AuditOptions) -> Plan:
    defaults = options.defaults
    load_policy(defaults["policy_name"])  # a mistake in it is one, not one a model
    if defaults["samples"] and not defaults["samples"].exists():
        raise UsageError(f"--samples {defaults['samples']}: there is no such file or folder")
    plan = read_plan(options.source, rules=options.rules, defaults=defaults)
    if not (options.quiet or options.dry_run):  # a dry run tells them with the rest
        for note in plan.notes:
            log(note)
    if not plan.planned:
        why = f" ({len(plan.left_out)} other files lie there)" if plan.left_out else ""
        raise UsageError(f"{options.source}: holds no models{why}, and nothing to audit is no pass")
    return _chosen(plan, options)


def _chosen(plan: Plan, options: AuditOptions) -> Plan:
    """With `--since` and `--only` a part of the plan; the rest is left out with the reason."""
    if not (options.since or options.only):
        return plan
    planned, left = list(plan.planned), list(plan.left_out)
    try:
        changed = _changed(plan, options)
    except (ValueError, OverflowError) as problem:
        raise UsageError(
            f"--since {options.since}: {problem}; write a date (2026-11-28), a time, 7d, 12h or last"
        ) from None
    if changed:
        planned, unchanged = left_out_since(planned, changed, options.since or "")
        left += unchanged
    if options.only:
        before, wanted = _last(options.store_path, plan), {Verdict(word) for word in options.only}
        left += [
            LeftOut(path=str(one.path), reason=f"did not end as {' or '.join(options.only)} when it was audited last")
            for one in planned
            if before.get(one.name) not in wanted
        ]
        planned = [one for one in planned if before.get(one.name) in wanted]
    if not planned:
        raise UsageError(f"{options.source}: no model is left of {len(plan.planned)} (--since, --only)")
    return replace(plan, planned=tuple(planned), left_out=tuple(left))


def _changed(plan: Plan, options: AuditOptions) -> Callable[[Planned], bool] | None:
    """Which models `--since` means, None without it. Raises ValueError."""
    if options.since is None:
        return None
    if options.since != LAST:
        return since_moment(options.since)
    if not options.store_path.exists():
        raise ValueError(f"there is no store {options.store_path} yet")
    store = Store(options.store_path)
    try:
        return since_last(plan, store)
    finally:
        store.close()


def _last(store_path: Path, plan: Plan) -> dict[str, Verdict]:
    """How each model ended when it was audited last."""
    if not store_path.exists():
        return {}
    store = Store(store_path)
    try:
        ended = dict[str, Verdict]()
        for row in audits(store, source_of(plan)):
            ended |= {entry.name: entry.verdict for entry in entries_of(store, row.id) if entry.verdict}
        return ended
    finally:
        store.close()


def _dry_run(plan: Plan, options: AuditOptions) -> int:
    from ..audit.dry_run import dry_run_rows, to_dry_run_json, to_dry_run_text
    from ..audit.state import states

    store = Store(options.store_path) if options.store_path.exists() else None
    try:
        rows = dry_run_rows(plan, states(plan, store))
    finally:
        if store:
            store.close()
    path = options.reports.get("json")
    if path and not is_stdout(path):
        raise UsageError("--dry-run writes no reports; its own list as JSON goes to standard output with `--json -`")
    width = terminal_width() if sys.stdout.isatty() else None
    echo(to_dry_run_json(plan, rows) if path else to_dry_run_text(plan, rows, color=color(False), width=width))
    return 0


def _audit(plan: Plan, store: Store, options: AuditOptions, how: Workers) -> int:
    state = State()
    executors: list[Executor] = []

    def executor() -> Executor:
        executors.append(how.make())
        return executors[0]

    def started(number: int, resumed: bool) -> None:
        if not options.quiet:
            log(f"audit {number} of {plan.source}: {len(plan.planned)} models{', goes on' if resumed else ''}")

    def slots() -> int:
        return executors[0].slots if executors else 1

    settings = Settings(search=options.search, retries=options.retries, threads=how.cpus, need_of=how.need_of)
    try:
        with _stopped_by_signals() as stop, show_audit(state, slots, quiet=options.quiet) as show:
            came = run_audit(plan, store, executor, settings, state=state, on_start=started, on_entry=show, stop=stop)
    finally:
        for one in executors:
            one.close()
    row = next(one for one in audits(store) if one.id == came.audit)
    audit, problems = write_reports(store, row, options.reports)
    to_stdout = any(path and is_stdout(path) for path in options.reports.values())
    width = max(60, min(120, terminal_width()))
    echo(to_text(audit, color=color(to_stdout), width=width), err=to_stdout)
    if not came.finished and not options.quiet:
        log(f"{state.total - state.ended} models are left: run the same command again, and it goes on")
    if problems:
        raise Failure("; ".join(problems), 3)
    return audit.exit_code


@contextmanager
def _stopped_by_signals() -> Iterator[Stop]:
    """SIGTERM and the first Ctrl-C end the audit in order: what was found is kept, and reports are written."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.reason and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.reason = f"the audit was stopped ({signal.Signals(number).name})"

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
