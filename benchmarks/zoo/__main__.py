"""python -m ebyd_scan.benchmarks.zoo --data ../shared/data --out work/zoo: builds what is not there yet."""

from __future__ import annotations

import multiprocessing
import os
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click
import numpy as np
import torch

from .build import build_group
from .cards import CARDS, ZooCard
from .data import DATA_SETS


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("work/zoo"), show_default=True)
@click.option("--only", multiple=True, help="Build only models whose name holds this text; may be repeated.")
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count() or 1, show_default="cores")
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default="cuda if there")
@click.option("--samples", is_flag=True, help="Only write OUT/samples-DATASET.npz, 100 clean samples a class.")
@click.option("--list", "show", is_flag=True, help="Only list the models.")
def main(data: Path, out: Path, only: tuple[str, ...], workers: int, device: str, samples: bool, show: bool) -> None:
    """Build every model that is not in OUT yet; models that share a base network are built by one process."""
    groups: dict[str, list[ZooCard]] = defaultdict(list)
    for card in CARDS:
        if only and not any(text in card.name for text in only):
            continue
        groups[card.base].append(card)
    if show:
        for cards in groups.values():
            for card in cards:
                click.echo(f"{card.name:34} {card.base:46} seed {card.seed:5} target {card.target}")
        return
    out.mkdir(parents=True, exist_ok=True)
    if samples:
        for name, load in DATA_SETS.items():
            images, labels = load(data).clean_samples(100, seed=1)
            np.savez_compressed(out / f"samples-{name}.npz", x=images, y=labels)
        return
    # Spawned, so that no worker inherits this one's threads or its CUDA context.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for future in [pool.submit(build_group, cards, data, out, device) for cards in groups.values()]:
            future.result()


if __name__ == "__main__":
    main()
