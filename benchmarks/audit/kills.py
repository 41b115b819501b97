"""Kills an audit at random moments and holds what it finds in the end against one that ran through.

    python -m ebyd_scan.benchmarks.audit.kills work/audit/models --rules work/audit/rules.yaml --kills 20

SIGKILL, to the audit's process alone: its workers have to notice by themselves.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
import psutil

_MARK = "EBYD_SCAN_BENCHMARK_OF_KILLS"  # in the environment of every process that an audit here starts
_ENVIRONMENT = {**os.environ, _MARK: "1"}


def command(models: Path, rules: Path, store: Path, workers: int, *more: str) -> list[str]:
    """The command line of an audit."""
    start = [sys.executable, "-c", "from ebyd_scan.scanner.cli.main import main; main()", "audit", str(models)]
    return [*start, "--rules", str(rules), "--store", str(store), "--workers", str(workers), "--cpus", "1", *more]


def findings(store: Path) -> dict[tuple[str, str], str]:
    """Every finding by model digest and check, without the time it took."""
    found: dict[tuple[str, str], str] = {}
    with sqlite3.connect(store) as db:
        for model, body in db.execute("SELECT model, body FROM findings JOIN scans USING (key)"):
            finding: dict[str, Any] = json.loads(body)
            finding.pop("seconds")
            place = json.loads(model)["sha256"], finding["check"]
            if place in found:
                raise click.ClickException(f"twice: {place}")
            found[place] = json.dumps(finding, sort_keys=True)
    return found


def made(store: Path) -> dict[int, str]:
    """Number and moment of every finding: a finding that was made once keeps both."""
    if not store.exists():
        return {}
    with sqlite3.connect(store) as db:
        return dict(db.execute("SELECT number, made || key || name FROM findings"))


def workers_left(seconds: float = 20.0) -> int:
    """Processes that an audit has left behind, once they had time to notice."""
    deadline = time.monotonic() + seconds
    while True:
        left = 0
        for process in psutil.process_iter():
            try:
                left += process.environ().get(_MARK) == "1" and process.status() != psutil.STATUS_ZOMBIE
            except psutil.Error:
                continue
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


@click.command()
@click.argument("models", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rules", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--kills", default=20, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--longest", type=float, help="Seconds until a kill, at most.  [default: by what a run takes]")
@click.option("--seed", default=0, show_default=True, help="Of the moments.")
def main(models: Path, rules: Path, kills: int, workers: int, longest: float | None, seed: int) -> None:
    """Run through once, then kill, then compare."""
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole.sqlite", Path(folder) / "killed.sqlite"
        started = time.monotonic()
        subprocess.run(command(models, rules, whole, workers, "-q"), capture_output=True, check=False)
        through = time.monotonic() - started
        lost, survivors, at = 0, 0, []
        done = 0
        started = time.monotonic()
        while done < kills:
            before = made(killed)
            process = subprocess.Popen(
                command(models, rules, killed, workers, "-q"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT,
            )
            # So that all kills fall before the end: each takes its share of what is left.
            wait = moments.uniform(0.5, longest or max(2.0, 2 * through / kills))
            try:
                process.wait(timeout=wait)
                click.echo(f"ended by itself after {done} kills", err=True)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            done += 1
            at.append(len(made(killed)))
            lost += sum(made(killed).get(number) != told for number, told in before.items())
            survivors += bool(workers_left())
        subprocess.run(command(models, rules, killed, workers, "-q"), capture_output=True, check=False)
        taken = time.monotonic() - started
        one, other = findings(whole), findings(killed)
        with sqlite3.connect(killed) as db:
            audits = db.execute("SELECT count(*), count(ended) FROM audits").fetchone()
            verdicts = Counter(row[0] for row in db.execute("SELECT verdict FROM entries"))
    click.echo("| kills | findings | missing | more | different | lost after a commit | workers that stayed | audits |")
    click.echo("|---|---|---|---|---|---|---|---|")
    different = sum(one[place] != other[place] for place in one.keys() & other.keys())
    click.echo(
        f"| {done} | {len(one)} | {len(one.keys() - other.keys())} | {len(other.keys() - one.keys())} | {different} | "
        f"{lost} | {survivors} | {audits[0]} ({audits[1]} ended) |"
    )
    click.echo(f"\nFindings in the store at each kill: {at}. Verdicts: {dict(verdicts)}.")
    click.echo(f"Seconds: {through:.0f} in one go, {taken:.0f} with {done} kills.")


if __name__ == "__main__":
    main()
