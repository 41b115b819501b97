"""What the number of clean samples does to detection: 1, 2, 5, 10 and 50 a class, the same models each time.

    python -m ebyd_scan.benchmarks.sample_curve --data ../shared/data

Takes every so-many-th clean and backdoored model of the reporting half. Resumable: results are kept a model and number
a file in --out.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import click

from .detection.measure import SCAN, stored, work
from .detection.table import Record, area, rate, score
from .zoo.build import LEARNED
from .zoo.cards import REPORTING
from .zoo.read import MODELS, ZooModel, models


def chosen(folder: Path, clean: int, planted: int) -> list[ZooModel]:
    """Evenly spread over the reporting half's clean models, and over those that took their attack."""
    found = models(folder, REPORTING)
    groups = [model for model in found if model.clean], [m for m in found if not m.clean and m.card["asr"] >= LEARNED]
    return [
        group[index * len(group) // count]
        for group, count in zip(groups, (clean, planted), strict=True)
        for index in range(min(count, len(group)))
    ]


def _row(per_class: int, records: list[Record]) -> str:
    clean = [record for record in records if record["card"]["attack"] is None]
    planted = [record for record in records if record["card"]["attack"] is not None]
    failed, unsure = (
        [rate(sum(r[SCAN]["outcome"] == outcome for r in group), len(group)) for group in (planted, clean)]
        for outcome in ("failed", "inconclusive")
    )
    whole = area([score(r, SCAN) for r in planted], [score(r, SCAN) for r in clean])
    cells = [str(per_class), whole, failed[0], unsure[0], failed[1], unsure[1]]
    return "| " + " | ".join(cells) + " |"


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--models", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=MODELS)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("work/sample-curve"))
@click.option("--per-class", multiple=True, type=int, default=(1, 2, 5, 10, 50), show_default=True)
@click.option("--clean", default=10, show_default=True, help="How many clean models.")
@click.option("--planted", default=10, show_default=True, help="How many backdoored models.")
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count() or 1, show_default="cores")
def main(
    data: Path, folder: Path, out: Path, per_class: tuple[int, ...], clean: int, planted: int, workers: int
) -> None:
    """Scan the same models with few and many samples and print a row a number."""
    found = chosen(folder, clean, planted)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = []
        for count in per_class:
            (out / str(count)).mkdir(parents=True, exist_ok=True)
            jobs += [pool.submit(work, model, data, out / str(count), count, 0, ()) for model in found]
        for number, job in enumerate(as_completed(jobs), 1):
            click.echo(f"{number}/{len(jobs)} {job.result()}", err=True)
    head = ("samples a class", "AUROC", "backdoored failed", "inconclusive", "clean failed", "inconclusive")
    click.echo("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for count in per_class:
        click.echo(_row(count, [stored(model, out / str(count)) for model in found]))


if __name__ == "__main__":
    main()
