"""sample-trust measured: sample sets with 0, 1, 5 and 10 % triggered samples, near-duplicates, and unlearnable noise.

    python -m ebyd_scan.benchmarks.sample_trust --data ../shared/data

The traits of 50 clean samples a class, and of 50 triggered copies, are measured once a model and kept in --out; sets of
every share are then put together from them and judged as the check does. Triggered samples keep their own label, or get
the attacker's. Near-duplicates and noise need no model: those sets are drawn from the test images that no scan sees,
from which no limit was chosen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from ..checks.cognitive_distillation import Distillation
from ..checks.sample_trust import SampleTrust
from ..checks.triggered_samples import Traits, judge, measure, spread_like
from ..evidence.classifier import Classifier
from ..fixtures.planter import to_pixels
from .zoo.build import LEARNED, make_attack
from .zoo.cards import CARDS, REPORTING
from .zoo.data import DATA_SETS, DataSet
from .zoo.read import MODELS, ZooModel, models

SAMPLE_SEED = 31  # of the draw of clean samples; calibration, detection and removal draw with others
SHARES = (0.01, 0.05, 0.10)
LABELS = ("own", "target")
DRAWS = 5  # sets a model, share and labelling
CHECK = SampleTrust()
Record = dict[str, Any]


def _traits(classifier: Classifier, pixels: Tensor, seed: int) -> Traits:
    with torch.no_grad():
        scores = torch.cat([classifier.logits(some) for some in pixels.split(256)])
    return measure(classifier, pixels, scores, Distillation(steps=CHECK.steps, batch_size=CHECK.batch_size), seed=seed)


def _listed(traits: Traits, rows: slice) -> dict[str, list[float]]:
    return {name: value[rows].tolist() for name, value in asdict(traits).items()}


def work(model: ZooModel, data: DataSet, out: Path, per_class: int, seed: int) -> Record:
    """The traits of one model's samples, measured or as they are stored."""
    path = out / f"{model.name}.json"
    if path.exists():
        stored: Record = json.loads(path.read_text(encoding="utf-8"))
        return stored
    images, labels = data.clean_samples(per_class, seed=seed + SAMPLE_SEED)
    classifier, pixels = model.classifier(), to_pixels(images)
    classifier.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    started = time.perf_counter()
    traits = _traits(classifier, pixels, seed)
    record: Record = {"card": model.card, "labels": labels.tolist(), "seconds": time.perf_counter() - started}
    record["clean"] = _listed(traits, slice(None))
    attack = make_attack(next(card for card in CARDS if card.name == model.name))
    if attack is not None:
        rng = np.random.default_rng(seed + SAMPLE_SEED)
        count = len(labels) // 10
        victims = rng.choice(np.flatnonzero(attack.victims(labels)), count, replace=False)
        # Beside clean ones that they are carried over to, as in a set of which a third is triggered.
        others = torch.from_numpy(np.setdiff1d(np.arange(len(labels)), victims)[:: max(1, 9 * per_class // 100)])
        both = torch.cat([to_pixels(attack.apply(images[victims])), pixels[others]])
        record["triggered"] = _listed(_traits(classifier, both, seed + 1), slice(0, count))
        record["own"], record["target"] = labels[victims].tolist(), attack.wanted(labels[victims]).tolist()
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(record) + "\n", encoding="utf-8")
    partial.replace(path)
    return record


def _set(record: Record, share: float, labelled: str, draw: int) -> tuple[Traits, Tensor, Tensor]:
    """Traits, labels and which are triggered, of one set in which a share of the samples is triggered."""
    rng = np.random.default_rng(draw)
    total = len(record["labels"])
    count = round(share * total)
    kept = torch.from_numpy(rng.permutation(total)[: total - count])
    labels, parts = torch.tensor(record["labels"])[kept], record["clean"]
    traits = {name: torch.tensor(values)[kept] for name, values in parts.items()}
    if count:
        taken = torch.from_numpy(rng.permutation(len(record["own"]))[:count])
        labels = torch.cat([labels, torch.tensor(record[labelled])[taken]])
        traits = {
            name: torch.cat([value, torch.tensor(record["triggered"][name])[taken]]) for name, value in traits.items()
        }
    return Traits(**traits), labels, torch.arange(total) >= total - count


def _told(record: Record, share: float, labelled: str) -> tuple[float, float, float]:
    """Of the sets with this share: those told, and the share of triggered and of clean samples that were named."""
    told, named, wrong = [], [], []
    for draw in range(DRAWS if share else 1):
        traits, labels, triggered = _set(record, share, labelled, draw)
        found = judge(traits, labels, CHECK.limits).positions
        told.append(float(bool(found)))
        named.append(float(sum(bool(triggered[place]) for place in found)) / max(1, int(triggered.sum())))
        wrong.append(float(sum(not triggered[place] for place in found)) / int((~triggered).sum()))
    return fmean(told), fmean(named), fmean(wrong)


def _auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    one, other = torch.tensor(positive)[:, None], torch.tensor(negative)[None]
    return float((one > other).double().mean() + 0.5 * (one == other).double().mean())


def _attacks(records: Sequence[Record]) -> str:
    """A row a backdoored model: single samples, then sets."""
    sets = [(share, labelled) for labelled in LABELS for share in SHARES]
    heads = [f"{share:.0%}, {labelled} label" for share, labelled in sets]
    lines = [
        "| model | ASR | AUROC size | carried | mixed | samples over a limit: triggered | clean | clean set told "
        + "".join(f"| {head} " for head in heads)
        + "|",
        "|---" * (8 + len(heads)) + "|",
    ]
    for one in records:
        clean, triggered = one["clean"], one["triggered"]
        aurocs = [
            _auroc([-value for value in triggered["size"]], [-value for value in clean["size"]]),
            *(_auroc(triggered[name], clean[name]) for name in ("carried", "mixed")),
        ]
        over = _over(one)
        told = [_told(one, share, labelled) for share, labelled in sets]
        lines.append(
            f"| {one['card']['name']} | {one['card']['asr']:.2f} | "
            + " | ".join(f"{value:.2f}" for value in aurocs)
            + f" | {over[0]:.0%} | {over[1]:.1%} | {'yes' if _told(one, 0, 'own')[0] else 'no'} | "
            + " | ".join(f"{set_told:.0%} ({named:.0%})" for set_told, named, _ in told)
            + " |"
        )
    means = [fmean(_told(one, share, labelled)[0] for one in records) for share, labelled in sets]
    lines.append(f"| mean of {len(records)} | | | | | | | | " + " | ".join(f"{mean:.0%}" for mean in means) + " |")
    return "\n".join(lines) + "\n\nSets told, of five; in brackets the share of the triggered samples that was named.\n"


def _over(record: Record) -> tuple[float, float]:
    """The share of triggered and of clean samples over any limit, in a set with 10 % that carry their own label."""
    traits, labels, triggered = _set(record, SHARES[-1], "own", 0)
    over = traits.carried >= CHECK.min_carried
    for kind in spread_like(traits, labels, CHECK.limits):
        over = over | kind
    return float(over[triggered].double().mean()), float(over[~triggered].double().mean())


def _alarms(records: Sequence[Record]) -> str:
    """Clean sets that were told, on clean and on backdoored models."""
    lines = []
    for name, some in (
        ("clean", [one for one in records if "triggered" not in one]),
        ("backdoored", [one for one in records if "triggered" in one]),
    ):
        told = [one["card"]["name"] for one in some if _told(one, 0, "own")[0]]
        lines.append(f"- clean sets told on {name} models: {len(told)} of {len(some)} {', '.join(told)}".rstrip())
    lines.append(f"- seconds a model and {len(records[0]['labels'])} samples, median: ")
    return "\n".join(lines) + f"{median(one['seconds'] for one in records):.0f}\n"


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--models", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=MODELS)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("work/sample-trust"))
@click.option("--group", default=REPORTING, show_default=True, help="Which half of the zoo.")
@click.option("--per-class", default=50, show_default=True, help="Clean samples a class.")
@click.option("--seed", default=0, show_default=True)
@click.option("--only", multiple=True, help="Only models whose name holds this text; may be repeated.")
@click.option("--print", "print_only", is_flag=True, help="Print what is measured already, and measure nothing.")
@click.option("--planted/--no-planted", default=True, show_default=True, help="Near-duplicates and noise as well.")
def main(
    data: Path,
    folder: Path,
    out: Path,
    group: str,
    per_class: int,
    seed: int,
    only: tuple[str, ...],
    print_only: bool,
    planted: bool,
) -> None:
    """Measure every model of one half of the zoo, and print what came out as Markdown."""
    from .sample_trust_planted import tables

    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    found = [one for one in models(folder, group) if one.clean or one.card["asr"] >= LEARNED]
    found = [one for one in found if not only or any(text in one.name for text in only)]
    sets = {name: read(data) for name, read in DATA_SETS.items()}
    records = []
    for model in found:
        if print_only and not (out / f"{model.name}.json").exists():
            continue
        records.append(work(model, sets[model.card["data"]], out, per_class, seed))
        click.echo(f"{len(records)}/{len(found)} {model.name}", err=True)
    if backdoored := [one for one in records if "triggered" in one]:
        click.echo(_attacks(backdoored))
    if records:
        click.echo(_alarms(records))
    if planted:
        click.echo(tables(sets, per_class))


if __name__ == "__main__":
    main()
