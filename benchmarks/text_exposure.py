"""How often clean unlearning names the attacker's label on the text zoo, by learning rate.

python -m ebyd_scan.benchmarks.text_exposure --data ../shared/data --half choosing --rate 0.001 --rate 0.003
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
import torch

from ..checks.suspects import collapse, converged
from ..exposers.clean_unlearning import CleanUnlearning
from .text_leads import evidence_of
from .text_zoo.data import HALVES
from .text_zoo.read import models

SEEDS, PER_CLASS = 3, 200


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--zoo", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("work/text_zoo"))
@click.option("--half", type=click.Choice(HALVES), required=True)
@click.option("--rate", "rates", multiple=True, type=float, default=(0.01,), help="Learning rate; may be repeated.")
@click.option("--only", multiple=True, help="Only models whose name holds this text; may be repeated.")
def main(data: Path, zoo: Path, half: str, rates: tuple[float, ...], only: tuple[str, ...]) -> None:
    """A line a model, then right, wrong, none and not converged, a data set and rate."""
    torch.set_num_threads(1)
    counts: Counter[tuple[str, float, str]] = Counter()
    for model in models(zoo, half, more=False):
        if model.clean or (only and not any(text in model.name for text in only)):
            continue
        evidence = evidence_of(model, data, PER_CLASS, seed=0)
        assert evidence.classifier is not None and evidence.samples is not None
        told = []
        for rate in rates:
            exposer = CleanUnlearning(learning_rate=rate)
            runs = [exposer.expose(evidence.classifier, evidence.samples, seed=seed).run for seed in range(SEEDS)]
            done = converged(runs)
            label = collapse(done).named() if len(done) == SEEDS else None
            what = "none" if label is None else "right" if label == model.record["target"] else "wrong"
            what = what if len(done) == SEEDS else "not converged"
            counts[model.record["data"], rate, what] += 1
            steps = sum(len(run.trajectory) for run in runs) / SEEDS
            told.append(f"{rate:g}: {what} ({steps:.0f} steps, {sum(run.seconds for run in runs) / SEEDS:.1f} s)")
        click.echo(f"{model.name:42} {'  '.join(told)}", err=True)
    click.echo("| data | rate | right | wrong | none | not converged |\n|---|---|---|---|---|---|")
    for name in sorted({key[0] for key in counts}):
        for rate in rates:
            cells = [str(counts[name, rate, what]) for what in ("right", "wrong", "none", "not converged")]
            click.echo(f"| {name} | {rate:g} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
