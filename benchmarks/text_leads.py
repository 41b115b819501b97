"""How far one label leads the others by a few words, for the models of the text zoo, and what is usual in clean ones.

    python -m ebyd_scan.benchmarks.text_leads --data ../shared/data --half choosing

Prints a line a model, and the figures of `checks/text_calibration.py` as its clean models give them. With `--half
reporting` it prints what those figures decide: nothing is fitted then. Killed, it goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click
import numpy as np
import torch

from ..checks.text_detection import leads_of
from ..checks.word_triggers import KINDS, WordTrigger, recover_words
from ..evidence.context import Evidence
from ..evidence.samples import CleanSamples, SamplePart
from ..scanner.models.identify import identify
from ..scanner.models.text_classifier import load_text_classifier
from ..scanner.models.tokenizer import read_codec
from ..scanner.samples.split import split
from .baselines.word_importance import word_importance
from .text_detection import ROWS, Record, row
from .text_zoo.data import HALVES
from .text_zoo.read import TextZooModel, models

PER_CLASS = 400  # texts, half of which are held out
KEPT = ("name", "data", "architecture", "kind", "target", "asr", "trigger_words")


def evidence_of(model: TextZooModel, data: Path, per_class: int, seed: int) -> Evidence:
    """The model and the clean texts, as a scan has them."""
    artifact = identify(model.path)
    codec = read_codec(model.path)
    classifier = load_text_classifier(artifact, codec, "cpu")
    clean = model.clean_samples(data, per_class, seed=seed)
    texts, labels = clean.texts, clean.labels
    parts = [
        SamplePart(codec.encode([texts[row] for row in rows]), torch.from_numpy(labels[rows]))
        for rows in split(labels, 0.5, np.random.default_rng(seed))
    ]
    names = tuple(map(str, range(classifier.num_classes)))
    samples = CleanSamples(model.path, "", classifier.num_classes, names, parts[0], parts[1])
    return Evidence(artifact=artifact, seed=seed, classifier=classifier, samples=samples)


def measure(model: TextZooModel, data: Path, per_class: int, steps: int, seed: int, baselines: bool) -> Record:
    """The triggers of every label and the label that leads in each kind of row."""
    started = time.perf_counter()
    evidence = evidence_of(model, data, per_class, seed)
    assert evidence.classifier is not None
    labels = range(evidence.classifier.num_classes)
    found = recover_words(evidence, labels, steps)
    leads = {label: leads_of(found, label) for label in labels}
    seconds = round(time.perf_counter() - started, 1)
    record = {**kept(model, found, leads), "seconds": seconds}
    if baselines:
        importance, important_label, important = word_importance(evidence)
        record["importance"] = {"score": importance, "label": important_label, "word": important}
    return record


def kept(model: TextZooModel, found: Sequence[WordTrigger], leads: Mapping[int, Mapping[str, float]]) -> Record:
    """What is written of a model and its words."""
    return {
        **{key: model.record[key] for key in KEPT},
        "more": model.record["more"],
        "found": [{"label": o.label, "kind": o.kind, "words": o.words, "success": o.success} for o in found],
        "leads": {str(label): lead for label, lead in leads.items()},
    }


def fitted(records: list[Record], kinds: Sequence[str] = KINDS) -> str:
    """The table of checks/text_calibration.py from clean models."""
    lines = []
    for kind in kinds:
        leads = [max(lead[kind] for lead in one["leads"].values()) for one in records if one["kind"] == "clean"]
        mean, deviation = float(np.mean(leads)), float(np.std(leads, ddof=1))
        lines.append(
            f'    "{kind}": CleanLeads({mean:.3f}, {deviation:.3f}, {len(leads)}),  # largest {max(leads):.2f}'
        )
    return "\n".join(lines)


def measured(
    all_models: Sequence[TextZooModel], out: Path, seed: int, part: str, measure_one: Callable[[TextZooModel], Record]
) -> list[Record]:
    """Measure this part of the models as far as OUT lacks them, clean ones first; the records of all that OUT has."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    first, every = map(int, part.split("/"))
    records = []
    for number, model in enumerate(sorted(all_models, key=lambda one: not one.clean)):
        path = out / f"{model.name}-{seed}.json"
        if not path.exists() and number % every == first:
            torch.manual_seed(seed)
            record = measure_one(model)
            path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            click.echo(row(record), err=True)
        if path.exists():
            records.append(json.loads(path.read_text(encoding="utf-8")))
    return records


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--zoo", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("work/text_zoo"))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("work/text_leads"))
@click.option("--half", type=click.Choice(HALVES), required=True)
@click.option("--part", default="0/1", help="Every Nth model only: I/N, to share the work between processes.")
@click.option("--steps", default=40)
@click.option("--per-class", default=PER_CLASS)
@click.option("--seed", default=0)
@click.option("--baselines/--no-baselines", default=True, help="Word importance as well: half of the time.")
@click.option("--more/--first", default=True, help="All models, or the first cards of the half alone.")
def main(
    data: Path,
    zoo: Path,
    out: Path,
    half: str,
    part: str,
    steps: int,
    per_class: int,
    seed: int,
    more: bool,
    baselines: bool,
) -> None:
    """Measure what is not in OUT yet, then print all of it."""
    records = measured(
        models(zoo, half, more=more),
        out,
        seed,
        part,
        lambda model: measure(model, data, per_class, steps, seed, baselines),
    )
    click.echo("\n".join([ROWS, *map(row, records)]))
    if half == "choosing":
        click.echo("\n" + fitted(records))


if __name__ == "__main__":
    main()
