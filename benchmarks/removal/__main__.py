"""python -m ebyd_scan.benchmarks.removal --data ../shared/data: repairs the reporting half, prints the tables.

Resumable: results are kept a model a file in --out, and what is there is not measured again.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import click

from ...policies.plugins import REMOVERS, plugin_names
from ..detection.measure import stored
from ..zoo.build import LEARNED
from ..zoo.cards import REPORTING
from ..zoo.read import MODELS, models
from . import table
from .measure import AUTO, work


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--models", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=MODELS)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("work/removal"))
@click.option("--group", default=REPORTING, show_default=True, help="Which half of the zoo.")
@click.option("--per-class", default=50, show_default=True, help="Clean samples a class; as many more are held out.")
@click.option("--seed", default=0, show_default=True)
@click.option("--method", "methods", multiple=True, help="This remover, or auto; may be repeated.  [default: all]")
@click.option("--clean", is_flag=True, help="Clean models instead of backdoored ones.")
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count() or 1, show_default="cores")
@click.option("--only", multiple=True, help="Only models whose name holds this text; may be repeated.")
@click.option("--print", "print_only", is_flag=True, help="Print what is measured already, and measure nothing.")
def main(
    data: Path,
    folder: Path,
    out: Path,
    group: str,
    per_class: int,
    seed: int,
    methods: tuple[str, ...],
    clean: bool,
    workers: int,
    only: tuple[str, ...],
    print_only: bool,
) -> None:
    """Repair every model of one half of the zoo and print what came out, as Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    chosen = methods or (AUTO, *plugin_names(REMOVERS, built_in_only=True))
    found = [m for m in models(folder, group) if m.clean == clean]
    found = [m for m in found if not only or any(text in m.name for text in only)]
    if not found:
        raise click.UsageError(f"no such {group} model in {folder}")
    if not print_only:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            jobs = [pool.submit(work, model, data, out, per_class, seed, chosen) for model in found]
            for number, job in enumerate(as_completed(jobs), 1):
                click.echo(f"{number}/{len(jobs)} {job.result()}", err=True)
    records = [stored(model, out) for model in found]
    taken = [one for one in records if clean or one["card"]["asr"] >= LEARNED]
    click.echo(table.clean_models(taken) if clean else table.backdoored(taken, chosen))


if __name__ == "__main__":
    main()
