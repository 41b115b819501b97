"""python -m ebyd_scan.benchmarks.detection --data ../shared/data: scans the reporting half, prints the tables.

Resumable: results are kept a model a file in --out, and what is there is not measured again.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import click

from ..baselines import BASELINES
from ..zoo.build import LEARNED
from ..zoo.cards import REPORTING
from ..zoo.read import MODELS, models
from . import table
from .measure import stored, work


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--models", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=MODELS)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("work/detection"))
@click.option("--group", default=REPORTING, show_default=True, help="Which half of the zoo.")
@click.option("--per-class", default=50, show_default=True, help="Clean samples a class; as many more are held out.")
@click.option("--seed", default=0, show_default=True)
@click.option("--no-baselines", is_flag=True, help="Scan only.")
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count() or 1, show_default="cores")
@click.option("--only", multiple=True, help="Only models whose name holds this text; may be repeated.")
def main(
    data: Path,
    folder: Path,
    out: Path,
    group: str,
    per_class: int,
    seed: int,
    no_baselines: bool,
    workers: int,
    only: tuple[str, ...],
) -> None:
    """Scan every model of one half of the zoo and print what came out, as Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    found = [m for m in models(folder, group) if not only or any(text in m.name for text in only)]
    if not found:
        raise click.UsageError(f"no {group} model in {folder}")
    baselines = () if no_baselines else tuple(BASELINES)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        jobs = [pool.submit(work, model, data, out, per_class, seed, baselines) for model in found]
        for number, job in enumerate(as_completed(jobs), 1):
            click.echo(f"{number}/{len(jobs)} {job.result()}", err=True)
    records = [stored(model, out) for model in found]
    clean = [record for record in records if record["card"]["attack"] is None]
    planted = [r for r in records if r["card"]["attack"] is not None and r["card"]["asr"] >= LEARNED]
    untaken = [r["card"]["name"] for r in records if r["card"]["attack"] is not None and r["card"]["asr"] < LEARNED]
    click.echo(f"{len(clean)} clean and {len(planted)} backdoored models, {per_class} clean samples a class.\n")
    if untaken:
        click.echo(f"Left out, ASR below {LEARNED}: {', '.join(untaken)}.\n")
    for part in (
        table.overall(clean, planted),
        table.against(clean, planted, ("ebyd-scan", *baselines)),
        table.by(planted, clean, lambda record: str(record["card"]["kind"])),
        table.by(planted, clean, lambda record: _short(record)),
        table.by_clean(clean, lambda record: str(record["card"]["condition"])),
        table.by_clean(clean, lambda record: _short(record)),
        table.stages(records),
    ):
        click.echo(part + "\n")


def _short(record: table.Record) -> str:
    return f"{record['card']['data']}, {record['card']['architecture'].rpartition(':')[2]}"


if __name__ == "__main__":
    main()
