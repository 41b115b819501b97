"""What a scan costs by the size of the model: measures a ladder of models, fits docs/scaling.md's formulas, predicts.

    python -m ebyd_scan.benchmarks.scaling

Every model is made in one process and measured in another, one at a time on one thread. Weights are random and pictures
noise: only cost is measured. What has been measured is kept under `--out` and taken from there the next time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from ..scanner.audit.needs import memory_needed
from .scaling_formula import Fit, Passes, Point, fit
from .scaling_models import LADDER, Rung
from .scaling_projection import WORDS_OF, projections

WHOLE = ("plain_convnet-8", WORDS_OF)
COMPUTED = ("sample-fit", "expose", "search")  # the stages whose time is the model's


def _measured(name: str, out: Path, *flags: str) -> dict[str, Any]:
    kept = out / f"{name}{''.join(flags)}.json"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as place:
            made = [sys.executable, "-m", "ebyd_scan.benchmarks.scaling_models", name, place]
            subprocess.run(made, check=True, capture_output=True)
            (path,) = Path(place).iterdir()
            command = [sys.executable, "-m", "ebyd_scan.benchmarks.scaling_measure", name, str(path), *flags]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        kept.write_text(done.stdout)
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def points(one: dict[str, Any]) -> list[Point]:
    """The measured stages of a model that compute."""
    found = []
    for name in COMPUTED:
        stage = one["stages"][name]
        work = Passes(stage["calls"], stage["units"]).forwards
        found.append(Point(stage["cpu"], stage["calls"], work * one["flops"]))
    return found


def _stage_row(rung: Rung, one: dict[str, Any]) -> str:
    stages, mib = one["stages"], 1 << 20
    weights = 4 * one["parameters"]
    peak = max(stage["peak"] for stage in stages.values()) - one["base"]
    cpu = [f"{stages[name]['cpu']:.2f}" for name in ("read file", "load", "sample-fit")]
    cpu += [f"{stages['expose']['cpu'] / 2:.2f}", f"{stages['search']['cpu']:.2f}"]
    wall = sum(stage["wall"] for stage in stages.values())
    passes = [f"{Passes(0, stages[name]['units']).forwards:.0f}" for name in COMPUTED]
    row = [rung.name, f"{one['parameters'] / 1e6:.2f}", f"{one['flops'] / 1e6:.2f}", *cpu, f"{wall:.1f}", *passes]
    row += [f"{peak / mib:.0f}", f"{peak / weights:.1f}", f"{memory_needed(weights) / mib:.0f}"]
    return "| " + " | ".join(row) + " |"


def _fits(found: dict[str, dict[str, Any]]) -> dict[str, Fit]:
    """One a family, of the rungs that are not held out; printed with the error on those that are."""
    fits = {}
    click.echo("\n| family | fitted on, n stages | a, ms a call | 1/b, GFLOP/s | held out | predicted / measured |")
    click.echo("|" + "---|" * 6)
    for family in dict.fromkeys(rung.family for rung in LADDER):
        rungs = [rung for rung in LADDER if rung.family == family]
        known = [point for rung in rungs if not rung.held_out for point in points(found[rung.name])]
        made = fits[family] = fit(known)
        for rung in rungs:
            if not rung.held_out:
                continue
            of_each = {
                name: made.seconds(point.calls, point.flops) / point.seconds
                for name, point in zip(COMPUTED, points(found[rung.name]), strict=True)
            }
            ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in of_each.items())
            speed = f"{1 / made.b / 1e9:.1f}" if made.b else "-"
            click.echo(f"| {family} | {len(known)} | {made.a * 1e3:.1f} | {speed} | {rung.name} | {ratios} |")
    return fits


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("work/scaling"), show_default=True)
def main(out: Path) -> None:
    """Print the measured stages, the fit with its error on larger models, and what much larger ones would need."""
    out.mkdir(parents=True, exist_ok=True)
    head = ["model", "M parameters", "MFLOP a unit", "read", "load", "sample-fit", "expose a seed", "search", "wall"]
    head += [f"passes, {name}" for name in COMPUTED] + ["peak MiB", "/ weights", "planned MiB"]
    click.echo("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    found = {}
    for rung in LADDER:
        found[rung.name] = _measured(rung.name, out)
        click.echo(_stage_row(rung, found[rung.name]))
    fits = _fits(found)
    whole = {name: _measured(name, out, "--whole") for name in WHOLE}
    for line in projections(found, fits, whole):
        click.echo(line)


if __name__ == "__main__":
    main()
