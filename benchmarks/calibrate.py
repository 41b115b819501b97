"""Fits what checks/calibration.py holds, on the zoo's choosing half, and shows what the fit would decide there.

    python -m ebyd_scan.benchmarks.calibrate --data ../shared/data --models work/zoo

Every family is searched for every label, without stopping early. Clean models are fitted to; backdoored ones are only
shown. Resumable: results are kept a model and seed a file in --out.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import click

from ..checks.calibration import FAMILIES_IN_ORDER, false_positive_rate, outward_false_positive_rate
from ..checks.model_detection import ModelDetection
from ..checks.trigger_inversion import Replay
from ..checks.trigger_search import Compared, Search, labels_to_search, search
from ..evidence.artifact import Artifact
from ..evidence.classifier import Classifier
from ..evidence.context import Evidence
from ..evidence.samples import CleanSamples
from ..fixtures.digits import RECIPE, load_digits, plant
from ..policies.load import load_policy
from ..policies.plugins import build_exposer
from .exposure_settings import digit_samples
from .zoo.cards import CHOOSING, REPORTING
from .zoo.data import DATA_SETS
from .zoo.read import MODELS, ZooModel, clean_samples, models

Record = dict[str, Any]
DIGITS_SEED = 500  # of networks that nothing else trains


def measure(card: dict[str, Any], classifier: Classifier, samples: CleanSamples, seed: int) -> Record:
    """Ratios of every label and of the way out, a family, with the check's own settings."""
    rules = load_policy("release-gate").policy
    exposer = build_exposer(rules)
    runs = [exposer.expose(classifier, samples, seed=1000 * seed + i).run for i in range(rules.exposure.seeds)]
    artifact = Artifact(path=Path(card["name"]), format="safetensors", sha256="0" * 64, size=1)
    evidence = Evidence(artifact=artifact, seed=seed, classifier=classifier, samples=samples, exposures=runs)
    labels, named = labels_to_search(evidence, suspects=10, controls=0, max_all_labels=10)
    default = ModelDetection()
    how = Search(default.steps, default.batch_size, default.inversion_success)
    replay = Replay(classifier, samples.held_out)
    record: Record = {"card": card, "seed": seed, "named": named, "families": {}}
    for family in FAMILIES_IN_ORDER:
        compared, away = search(evidence, labels, named, family, how, replay)
        record["families"][family] = {
            "labels": {
                one.trigger.label: [one.lead, one.lead_of_two, one.witness.attack_success_rate] for one in compared
            },
            "sizes": _sizes(compared),
            "away": [away.ratio, away.witness.attack_success_rate] if away else None,
        }
    return record


def _sizes(compared: Sequence[Compared]) -> dict[int, float]:
    """Of every label's trigger; of one that was not reached no less than the largest of those that were."""
    if not compared:
        return {}
    first = compared[0].witness
    return {first.label: first.size, **first.control_sizes}


def _zoo(model: ZooModel, data: Path, per_class: int, seed: int) -> Record:
    samples = clean_samples(DATA_SETS[model.card["data"]](data), per_class, seed=seed)
    return measure(model.card, model.classifier(), samples, seed)


def _digits(number: int) -> Record:
    """A clean network on scikit-learn's digits: small pictures of strokes, unlike those of the zoo."""
    card = {
        "name": f"digits-clean-{number}",
        "data": "digits",
        "architecture": ":plain_convnet",
        "attack": None,
        "target": None,
        "asr": None,
    }
    digits = load_digits(seed=number)
    module = plant(digits, None, seed=DIGITS_SEED + number, batch_norm=number % 2 == 0, dropout=0.2 * (number % 3))
    classifier = Classifier(module, 10, RECIPE.mean, RECIPE.std, "cpu", "", True, number % 2 == 0)
    return measure(card, classifier, digit_samples(digits), 1 + number)


def _work(path: Path, job: Callable[..., Record], *arguments: Any) -> str:
    import torch

    torch.set_num_threads(1)
    if not path.exists():
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(job(*arguments)) + "\n", encoding="utf-8")
        partial.replace(path)
    return path.stem


def fit(records: list[Record], family: str, min_success: float) -> dict[str, tuple[float, float, int]]:
    """Mean, standard deviation and n of the logarithms that checks/calibration.py holds, over clean models."""
    values: dict[str, list[float]] = {"lead": [], "lead of two": [], "away": []}
    for record in records:
        found = record["families"][family]
        usable = [(lead, second) for lead, second, success in found["labels"].values() if success >= min_success]
        if usable:
            values["lead"].append(math.log(max(lead for lead, _ in usable)))
            values["lead of two"].append(math.log(max(second for _, second in usable)))
        if found["away"]:
            values["away"].append(math.log(found["away"][0]))
    return {name: (statistics.mean(v), statistics.stdev(v), len(v)) for name, v in values.items() if len(v) > 2}


def decided(record: Record, min_success: float) -> tuple[float, str]:
    """The smallest false-positive rate of a model with today's calibration, and where it comes from."""
    best, where = 1.0, "-"
    for family, found in record["families"].items():
        for label, (lead, second, success) in found["labels"].items():
            named = None if record["named"] is None else int(label) == record["named"]
            rate = false_positive_rate(family, lead, second, named=named)
            if success >= min_success and rate < best:
                best, where = rate, f"{family} {label}: lead {lead:.2f}, of two {second:.2f}, replayed {success:.2f}"
        if found["away"] and (rate := outward_false_positive_rate(family, found["away"][0])) < best:
            best, where = rate, f"{family} away: {found['away'][0]:.2f}"
    return best, where


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--models", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=MODELS)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("work/calibration"))
@click.option("--group", multiple=True, default=(CHOOSING, REPORTING), show_default=True, help="Halves to take.")
@click.option("--planted/--no-planted", default=True, help="Whether to show backdoored models too.")
@click.option("--per-class", default=50, show_default=True)
@click.option("--seeds", default=1, show_default=True, help="Draws of samples and search seeds a model.")
@click.option("--digits", default=10, show_default=True, help="Clean digit models to train and add.")
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count() or 1, show_default="cores")
def main(
    data: Path,
    folder: Path,
    out: Path,
    group: tuple[str, ...],
    planted: bool,
    per_class: int,
    seeds: int,
    digits: int,
    workers: int,
) -> None:
    """Measure the models, print the fit and what it decides there."""
    out.mkdir(parents=True, exist_ok=True)
    known = [model for name in group for model in models(folder, name) if model.clean or planted]
    found = sorted(known, key=lambda model: not model.clean)  # what is fitted to comes first
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(_work, out / f"digits-{n}.json", _digits, n) for n in range(digits)]
        jobs += [
            pool.submit(_work, out / f"{model.name}.{seed}.json", _zoo, model, data, per_class, seed)
            for seed in range(1, 1 + seeds)
            for model in found
        ]
        for number, job in enumerate(as_completed(jobs), 1):
            click.echo(f"{number}/{len(jobs)} {job.result()}", err=True)
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*.json"))]
    clean = [record for record in records if record["card"]["attack"] is None]
    min_success = ModelDetection().min_attack_success
    click.echo("| family | of | mean | deviation | n |\n|---|---|---|---|---|")
    for family in FAMILIES_IN_ORDER:
        for name, (mean, deviation, count) in fit(clean, family, min_success).items():
            click.echo(f"| {family} | {name} | {mean:.3f} | {deviation:.3f} | {count} |")
    head = ("model", "network, data", "target", "ASR", "named", "false-positive rate", "where")
    click.echo("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for record in sorted(records, key=lambda r: (r["card"]["attack"] is not None, r["card"]["name"])):
        rate, where = decided(record, min_success)
        card = record["card"]
        click.echo(
            f"| {card['name']}.{record['seed']} | {card['architecture'].rpartition(':')[2]}, {card['data']} | "
            f"{card['target']} | {card['asr']} | {record['named']} | {rate:.4f} | {where} |"
        )


if __name__ == "__main__":
    main()
