"""`reference-drift` on the text zoo: words that only a model answers to, beside a clean reference of the same half.

    python -m ebyd_scan.benchmarks.text_reference --data ../shared/data --half choosing

The reference is a clean model of the same half, data set and tokenizer, of the same architecture if there is one.
Prints a line a model, what is decided attack by attack, and, of the choosing half, the figures of
`checks/text_calibration.py` as its clean models give them. Killed, it goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import torch

from ..checks.text_detection import leading, leads_of
from ..checks.text_reference import KINDS, new_words
from .detection.statistics import auroc, auroc_interval
from .text_detection import score, table
from .text_leads import Record, evidence_of, fitted, kept, line
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
    label, rate = leading(leads)
    return {
        **kept(model, found, leads, label, rate),
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
@click.option("--per-class", default=400)
@click.option("--seed", default=0)
def main(data: Path, zoo: Path, out: Path, half: str, part: str, steps: int, per_class: int, seed: int) -> None:
    """Measure what is not in OUT yet, then print all of it."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    first, every = map(int, part.split("/"))
    everything, records = models(zoo, half), []
    for number, model in enumerate(sorted(everything, key=lambda one: not one.clean)):  # clean ones, to fit, first
        path, reference = out / f"{model.name}-{seed}.json", reference_of(model, everything)
        if not path.exists() and reference and number % every == first:
            torch.manual_seed(seed)
            record = measure(model, reference, data, per_class, steps, seed)
            path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            click.echo(line(record), err=True)
        if path.exists():
            records.append(json.loads(path.read_text(encoding="utf-8")))
    click.echo("| model | ASR | score | label | lead | words | seconds |\n|---|---|---|---|---|---|---|")
    for record in records:
        click.echo(line(record))
    click.echo("\n" + table(records))
    bad = [score(record) for record in records if record["target"] is not None]
    good = [score(record) for record in records if record["target"] is None]
    low, high = auroc_interval(bad, good)
    click.echo(f"\nAUROC {auroc(bad, good):.3f} ({low:.2f} to {high:.2f})")
    if half == "choosing":
        click.echo("\n" + fitted(records, KINDS))


if __name__ == "__main__":
    main()
