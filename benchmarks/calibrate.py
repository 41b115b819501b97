"""Fits what checks/calibration.py holds to the choosing half's clean models and shows what it would decide there.

    python -m ebyd_scan.benchmarks.calibrate --data ../shared/data

Every family is searched for every label, without stopping early. Clean models are fitted to; backdoored ones are only
shown. Resumable: results are kept a model and seed a file in --out.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..checks.calibration import (
    FAMILIES_IN_ORDER,
    CleanModels,
    CleanSizes,
    all_to_all_false_positive_rate,
    false_positive_rate,
)
from ..checks.model_detection import ModelDetection
from ..checks.trigger_inversion import Replay
from ..checks.trigger_search import Search, search
from ..evidence.artifact import Artifact
from ..evidence.classifier import Classifier
from ..evidence.context import Evidence
from ..evidence.samples import CleanSamples
from ..fixtures.digits import RECIPE, load_digits, plant
from .exposure_settings import digit_samples
from .zoo.build import LEARNED
from .zoo.cards import CHOOSING
from .zoo.data import DATA_SETS
from .zoo.read import MODELS, ZooModel, clean_samples, models

Record = dict[str, Any]
TENTH = 1.2816  # standard deviations between a normal distribution's median and its lowest tenth
DIGITS_SEED = 500  # of networks that nothing else trains


def measure(card: dict[str, Any], classifier: Classifier, samples: CleanSamples, seed: int) -> Record:
    """What the search finds in each family, with the check's own settings: a label's leads, size and success."""
    artifact = Artifact(path=Path(card["name"]), format="safetensors", sha256="0" * 64, size=1)
    evidence = Evidence(artifact=artifact, seed=seed, classifier=classifier, samples=samples)
    default = ModelDetection()
    how = Search(default.steps, default.batch_size)
    replay = Replay(classifier, samples.held_out)
    record: Record = {"card": card, "seed": seed, "families": {}}
    for family in FAMILIES_IN_ORDER:
        compared, shift = search(evidence, range(samples.num_classes), None, family, how, replay)
        record["families"][family] = {
            str(one.trigger.label): [one.lead, one.lead_of_two, one.relative_size, one.witness.attack_success_rate]
            for one in compared
        }
        if family == "patch":
            record["all-to-all"] = [shift.trigger.size, shift.attack_success_rate] if shift else None
    return record


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


def _smallest(record: Record, family: str) -> list[float] | None:
    """Of the label with the smallest trigger: lead, lead of two, size, success."""
    return min(record["families"][family].values(), key=lambda found: found[2], default=None)


def fit(records: list[Record], family: str) -> CleanModels:
    """What checks/calibration.py holds of a family, over clean models."""
    found = [smallest for record in records if (smallest := _smallest(record, family))]
    lead, of_two, size = ([math.log(one[place]) for one in found] for place in range(3))
    middle = statistics.median(size)
    tenth = statistics.quantiles(size, n=10)[0]
    below = (round(middle, 3), round((middle - tenth) / TENTH, 3))
    half = CleanModels(_normal(lead), _normal(of_two), below, (0.0, 1.0), (0.0, 1.0), len(found))
    unusual = _normal([half.unusualness(one[0], one[2]) for one in found])
    of_two_too = _normal([half.unusualness(one[1], one[2], of_two=True) for one in found])
    return replace(half, unusual=unusual, unusual_of_two=of_two_too)


def _normal(values: list[float]) -> tuple[float, float]:
    return round(statistics.mean(values), 3), round(statistics.stdev(values), 3)


def decided(record: Record, min_success: float) -> tuple[float, str]:
    """The smallest false-positive rate of a model with today's calibration, and where it comes from."""
    best, where = 1.0, "-"
    for family, found in record["families"].items():
        for label, (lead, second, size, success) in found.items():
            rate = false_positive_rate(family, lead, second, size, named=None)
            if success >= min_success and rate < best:
                best = rate
                where = (
                    f"{family} {label}: size {size:.3g}, lead {lead:.2f}, of two {second:.2f}, replayed {success:.2f}"
                )
    if record["all-to-all"]:
        size, success = record["all-to-all"]
        rate = all_to_all_false_positive_rate(size)
        if success >= min_success and rate < best:
            best, where = rate, f"all-to-all: size {size:.3g}, replayed {success:.2f}"
    return best, where


def budget_table(records: list[Record], min_success: float) -> str:
    """How many models would fail at several false-positive rates, clean ones also with a fit without their like."""
    clean = [record for record in records if record["card"]["attack"] is None]
    planted = [record for record in records if record["card"]["attack"] and record["card"]["asr"] >= LEARNED]
    rows = ["| budget | clean failed | backdoored failed |", "|---|---|---|"]
    for budget in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05):
        failed = [sum(decided(record, min_success)[0] <= budget for record in group) for group in (clean, planted)]
        rows.append(f"| {budget} | {failed[0]} of {len(clean)} | {failed[1]} of {len(planted)} |")
    return "\n".join(rows)


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--models", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=MODELS)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("work/calibration"))
@click.option("--planted/--no-planted", default=True, help="Whether to show backdoored models too.")
@click.option("--per-class", default=50, show_default=True)
@click.option("--seeds", default=1, show_default=True, help="Draws of samples and search seeds a model.")
@click.option("--digits", default=10, show_default=True, help="Clean digit models to train and add.")
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count() or 1, show_default="cores")
def main(
    data: Path,
    folder: Path,
    out: Path,
    planted: bool,
    per_class: int,
    seeds: int,
    digits: int,
    workers: int,
) -> None:
    """Measure the models, print the fit and what it decides there."""
    out.mkdir(parents=True, exist_ok=True)
    known = [model for model in models(folder, CHOOSING) if model.clean or planted]
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
    for family in FAMILIES_IN_ORDER:
        click.echo(f'"{family}": {fit(clean, family)}')
    shifts = [math.log(record["all-to-all"][0]) for record in clean if record["all-to-all"]]
    click.echo(f"ALL_TO_ALL = {CleanSizes(*_normal(shifts), len(shifts))}\n")
    click.echo(budget_table(records, min_success))
    head = ("model", "network, data", "target", "ASR", "false-positive rate", "where")
    click.echo("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for record in sorted(records, key=lambda r: (r["card"]["attack"] is not None, r["card"]["name"])):
        rate, where = decided(record, min_success)
        card = record["card"]
        click.echo(
            f"| {card['name']}.{record['seed']} | {card['architecture'].rpartition(':')[2]}, {card['data']} | "
            f"{card['target']} | {card['asr']} | {rate:.4f} | {where} |"
        )


if __name__ == "__main__":
    main()
