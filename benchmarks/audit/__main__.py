"""What an audit costs beside the bare scans, with one worker and with two, by processes and by Ray.

    python -m ebyd_scan.benchmarks.audit work/audit/models --rules work/audit/rules.yaml

Ways are taken in turns over parts of the models, so that a machine that is slower for a while slows all of them. Each
way has a store of its own. "bare" is `ebyd-scan scan`'s supervisor in a loop: a new interpreter a model, nothing kept.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from ...scanner.audit.auditor import Settings, State
from ...scanner.audit.executors.devices import DevicePool
from ...scanner.audit.executors.in_process import InProcess
from ...scanner.audit.executors.interface import Executor
from ...scanner.audit.executors.processes import Processes
from ...scanner.audit.plan import Plan, read_plan
from ...scanner.audit.run import run_audit
from ...scanner.audit.store import Store
from ...scanner.read_request import read_request
from ...scanner.supervisor import supervise
from .kills import findings


@dataclass
class Way:
    """One way to scan the models, and what it took."""

    name: str
    executor: Callable[[], Executor] | None  # None: bare
    workers: int = 1
    seconds: float = 0.0
    inside: float = 0.0  # seconds in which the workers were at it, all together
    models: int = 0
    start: float = 0.0  # seconds until the executor was there, once a part
    open: Executor | None = field(default=None, repr=False)


def _ray() -> Executor:
    from ...scanner.audit.executors.ray_cluster import RayCluster

    return RayCluster(address=None, workers=2, cpus=1)


WAYS: dict[str, Callable[[], Way]] = {
    "bare": lambda: Way("bare", None),
    "in-process": lambda: Way("in-process", lambda: InProcess(devices=DevicePool())),
    "one": lambda: Way("one", lambda: Processes(workers=1, devices=DevicePool())),
    "two": lambda: Way("two", lambda: Processes(workers=2, devices=DevicePool()), 2),
    "ray": lambda: Way("ray", _ray, 2),
}


def _bare(plan: Plan, way: Way) -> None:
    for planned in plan.planned:
        policy, request = read_request(**planned.options)
        result = supervise(request.model_copy(update={"threads": 1}), policy)
        way.inside += sum(seconds for stage, seconds in result.timings.items() if stage != "total")


def _audit(plan: Plan, way: Way, store: Path) -> None:
    assert way.executor
    opened, state = Store(store), State()
    try:
        if way.open is None:  # it stays for all parts, as it would for all models
            started = time.monotonic()
            way.open = way.executor()
            way.start += time.monotonic() - started
        executor = way.open
        run_audit(plan, opened, lambda: executor, Settings(threads=1), state=state)
        way.inside += sum(state.seconds.values())
    finally:
        opened.close()


def _measure(way: Way, plan: Plan, store: Path) -> None:
    started = time.monotonic()
    if way.executor is None:
        _bare(plan, way)
    else:
        _audit(plan, way, store)
    way.seconds += time.monotonic() - started
    way.models += len(plan.planned)


def _again(plan: Plan, store: Path) -> float:
    """Seconds of a second run over unchanged models."""
    opened = Store(store)

    def none() -> Any:
        raise click.ClickException("a second run wants to scan")

    try:
        started = time.monotonic()
        run_audit(plan, opened, none, Settings(threads=1), state=State())
        return time.monotonic() - started
    finally:
        opened.close()


def _table(ways: Sequence[Way]) -> str:
    by_name = {way.name: way for way in ways}
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print("| way | workers | models | seconds | seconds a model | start, s | of it in workers, a model |")
        print("|---|---|---|---|---|---|---|")
        for way in ways:
            print(
                f"| {way.name} | {way.workers} | {way.models} | {way.seconds:.0f} | {way.seconds / way.models:.2f} | "
                f"{way.start:.1f} | {way.inside / way.models:.2f} |"
            )
        print()
        for told, slow, fast, share in (
            ("two workers are {:.2f} times as fast as one", "one", "two", False),
            ("Ray takes {:+.1%} of the time of two processes", "ray", "two", True),
            ("one worker takes {:+.1%} of the time of the bare scans", "one", "bare", True),
        ):
            if slow in by_name and fast in by_name:
                ratio = by_name[slow].seconds / by_name[fast].seconds
                print(f"- {told.format(ratio - 1 if share else ratio)}")
    return out.getvalue()


@click.command()
@click.argument("models", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rules", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--way", "names", multiple=True, type=click.Choice(list(WAYS)), help="[default: all]")
@click.option("--part", default=25, show_default=True, help="Models a turn.")
@click.option("--limit", type=int, help="Only so many models.")
def main(models: Path, rules: Path, names: tuple[str, ...], part: int, limit: int | None) -> None:
    """Measure the ways, part by part, and print the table."""
    plan = read_plan(models, rules=rules, defaults={})
    planned = plan.planned[:limit]
    ways = [WAYS[name]() for name in (names or WAYS)]
    with tempfile.TemporaryDirectory() as folder:
        stores = {way.name: Path(folder) / f"{way.name}.sqlite" for way in ways}
        for turn, first in enumerate(range(0, len(planned), part)):
            some = replace(plan, planned=planned[first : first + part])
            for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
                _measure(way, some, stores[way.name])
                click.echo(f"{first + len(some.planned)} models, {way.name}: {way.seconds:.0f} s", err=True)
        audits = [way for way in ways if way.executor]
        for way in audits:
            if way.open:
                way.open.close()
        click.echo(_table(ways))
        found = [findings(stores[way.name]) for way in audits]
        same = all(one == found[0] for one in found)
        click.echo(f"- findings of all audits are {'the same' if same else 'NOT the same'}: {len(found[0])}")
        whole = replace(plan, planned=planned)
        seconds = min(_again(whole, stores[audits[0].name]) for _ in range(3))
        click.echo(f"- a second run: {seconds:.2f} s, {1000 * seconds / len(planned):.1f} ms a model")


if __name__ == "__main__":
    main()
