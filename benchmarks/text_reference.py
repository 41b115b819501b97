"""`reference-drift` on the text zoo: words that only a model answers to, beside a clean reference of the same half.

    python -m ebyd_scan.benchmarks.text_reference --data ../shared/data --half choosing

The reference is a clean model of the same half, data set and tokenizer, of the same architecture if there is one.
Prints a line a model, what is decided attack by attack, and, of the choosing half, the figures of
`checks/text_calibration.py` as its clean models give them. Killed, it goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from ..checks.text_detection import leads_of
from ..checks.text_reference import KINDS, new_words
from .detection.statistics import auroc, auroc_interval
from .text_detection import ROWS, Record, row, score, table
from .text_leads import PER_CLASS, evidence_of, fitted, kept, measured
from .text_zoo.data import HALVES
from .text_zoo.read import TextZooModel, models

SAME_TOKENS = {"distilbert": "bert", "electra": "bert"}


def reference_of(model: TextZooModel, others: Sequence[TextZooModel]) -> TextZooModel | None:
    """A clean model to compare with; None if there is none with these tokens and texts."""

    def tokens(one: TextZooModel) -> tuple[str, str]:
        architecture = one.record["architecture"]
        return one.record["data"], SAME_TOKENS.get(architecture, architecture)

    able = [one for one in others if one.clean and one.name != model.name and tokens(one) == tokens(model)]
    able.sort(key=lambda one: one.record["architecture"] != model.record["architecture"])
    return able[0] if able else None


def measure(model: TextZooModel, reference: TextZooModel, data: Path, per_class: int, steps: int, seed: int) -> Record:
    """The words toward every label that the reference does not answer to, and the label that leads."""
    started = time.perf_counter()
    evidence = evidence_of(model, data, per_class, seed)
    evidence = replace(evidence, reference=evidence_of(reference, data, per_class, seed).classifier)
    assert evidence.classifier is not None
    labels = range(evidence.classifier.num_classes)
    found = new_words(evidence, labels, steps)
    leads = {label: leads_of(found, label, KINDS) for label in labels}
    return {
        **kept(model, found, leads),
        "reference": reference.name,
        "seconds": round(time.perf_counter() - started, 1),
    }


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--zoo", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("work/text_zoo"))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("work/text_reference"))
@click.option("--half", type=click.Choice(HALVES), required=True)
@click.option("--part", default="0/1", help="Every Nth model only: I/N, to share the work between processes.")
@click.option("--steps", default=40)
@click.option("--per-class", default=PER_CLASS)
@click.option("--seed", default=0)
def main(data: Path, zoo: Path, out: Path, half: str, part: str, steps: int, per_class: int, seed: int) -> None:
    """Measure what is not in OUT yet, then print all of it."""
    everything = models(zoo, half)
    beside = {model.name: other for model in everything if (other := reference_of(model, everything))}
    records = measured(
        [model for model in everything if model.name in beside],
        out,
        seed,
        part,
        lambda model: measure(model, beside[model.name], data, per_class, steps, seed),
    )
    click.echo("\n".join([ROWS, *map(row, records)]))
    click.echo("\n" + table(records))
    bad = [score(record) for record in records if record["target"] is not None]
    good = [score(record) for record in records if record["target"] is None]
    low, high = auroc_interval(bad, good)
    click.echo(f"\nAUROC {auroc(bad, good):.3f} ({low:.2f} to {high:.2f})")
    if half == "choosing":
        click.echo("\n" + fitted(records, KINDS))


if __name__ == "__main__":
    main()
