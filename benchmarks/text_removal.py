"""Repairs text classifiers of the zoo as `remove --force` does, and measures with the true trigger what is left.

    python -m ebyd_scan.benchmarks.text_zoo --data ../shared/data --half reporting
    python -m ebyd_scan.benchmarks.text_removal --data ../shared/data

Removers get what a scan of the model gives them and the exposure part of the texts; accuracy and attack success are of
texts that neither saw. Resumable: a model a file in --out.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from ..checks.predictions import predicted
from ..evidence.classifier import Classifier
from ..evidence.samples import CleanSamples, SamplePart
from ..evidence.text_codec import TextCodec
from ..policies.load import load_policy
from ..policies.plugins import build_remover
from ..scanner.models.identify import identify
from ..scanner.models.text_classifier import load_text_classifier
from ..scanner.models.tokenizer import read_codec
from ..scanner.repair import repair
from .removal.measure import AUTO, SCAN, scan
from .text_zoo.cards import CARDS, make_attack
from .text_zoo.data import HALVES, REPORTING, load
from .text_zoo.read import MODELS, TextZooModel, models

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE_SEED = 11  # of the draw of clean texts
BASELINES = ("fine-tuning", "trigger-unlearning")
Record = dict[str, Any]


def torch_labels(labels: Any) -> Tensor:
    """int64 [N] of an array."""
    import torch

    return torch.from_numpy(np.asarray(labels))


def _loaded(model: TextZooModel, root: Path, per_class: int, seed: int) -> tuple[Classifier, CleanSamples]:
    """The folder as a scan loads it, and as many texts to work on as to hold out."""
    import torch

    artifact = identify(model.path)
    codec = read_codec(model.path, model.record["max_length"], model.path)
    texts = model.clean_samples(root, 2 * per_class, seed=seed + SAMPLE_SEED)
    labels = torch_labels(texts.labels)
    tokens = codec.encode(texts.texts)
    exposure = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        exposure[(labels == label).nonzero().flatten()[:per_class]] = True
    names = tuple(model.record["classes"])
    samples = CleanSamples(
        path=root,
        sha256="0" * 64,
        num_classes=len(names),
        class_names=names,
        exposure=SamplePart(tokens[exposure], labels[exposure]),
        held_out=SamplePart(tokens[~exposure], labels[~exposure]),
    )
    return load_text_classifier(artifact, codec, "cpu"), samples


class _Truth:
    """What the attacker knows: the true trigger, on texts that no scan sees."""

    def __init__(self, model: TextZooModel, root: Path, codec: TextCodec) -> None:
        card = next(card for card in CARDS if card.name == model.name)
        attack, measured = make_attack(card, root), load(card.data, root).measured(card.half)
        assert attack is not None
        victims = np.flatnonzero(attack.victims(measured.labels))
        self.target, self.labels = attack.target, torch_labels(measured.labels)
        self.clean = codec.encode(measured.texts)
        self.triggered = codec.encode(attack.apply([measured.texts[index] for index in victims]))

    def measure(self, classifier: Classifier) -> dict[str, float]:
        """Clean accuracy and attack success."""
        return {
            "accuracy": float((predicted(classifier, self.clean) == self.labels).float().mean()),
            "asr": float((predicted(classifier, self.triggered) == self.target).float().mean()),
        }


def work(model: TextZooModel, root: Path, out: Path, per_class: int, seed: int, methods: Sequence[str]) -> str:
    """Measure what is not stored yet about one model, on one thread; returns its name."""
    import torch

    torch.set_num_threads(1)
    path = out / f"{model.name}.json"
    record: Record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"card": model.record}
    missing = [name for name in methods if name not in record]
    if not missing:
        return model.name
    policy = load_policy("release-gate").policy
    classifier, samples = _loaded(model, root, per_class, seed)
    assert classifier.codec is not None
    truth = _Truth(model, root, classifier.codec)
    record["before"] = truth.measure(classifier)
    scanned = scan(policy, classifier, samples, model.path, seed)
    found = next(one for one in scanned.findings if one.check == "model-detection")
    record[SCAN] = {"outcome": found.outcome.value, "labels": list(scanned.known.labels)}
    for name in missing:
        started = time.perf_counter()
        if name == AUTO:
            made = repair(policy, scanned.evidence, scanned.findings, scanned.triggers, scanned.exposed, seed=seed)
            if made.repaired is None or made.chosen is None:
                continue
            chosen = made.candidates[made.chosen]
            own: Record = {
                "method": chosen.method,
                "accepted": made.accepted,
                "new_trigger_success": chosen.new_trigger_success,
                "candidates": [info.model_dump() for info in made.candidates],
            }
            repaired = made.repaired
        else:
            one = build_remover(name, {}).remove(classifier, samples, scanned.known, seed=seed)
            own, repaired = {"applied": one.run.applied, "reason": one.run.reason}, one.classifier
        seconds = time.perf_counter() - started
        record[name] = {**truth.measure(repaired), **own, "seconds": seconds}
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
    return model.name


def table(records: Sequence[Record], methods: Sequence[str]) -> str:
    """All methods over the models that each was measured on, then `auto` model by model."""
    lines = [
        "| method | n | ASR after, mean | worst | accuracy lost, points, mean | worst | seconds, median |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in methods:
        some = [one for one in records if name in one]
        if some:
            asr, lost = [one[name]["asr"] for one in some], [_lost(one, name) for one in some]
            lines.append(
                f"| {name} | {len(some)} | {fmean(asr):.1%} | {max(asr):.1%} | {fmean(lost):.1f} | {max(lost):.1f} "
                f"| {median(one[name]['seconds'] for one in some):.0f} |"
            )
    lines += [
        "",
        "| model | scan | accuracy before | after | ASR before | after | before the attack | by | accepted |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in (one for one in records if AUTO in one):
        auto, before = one[AUTO], one["before"]
        floor = one["card"]["clean_asr_before"]
        lines.append(
            f"| {one['card']['name']} | {one[SCAN]['outcome']} | {before['accuracy']:.3f} | {auto['accuracy']:.3f} "
            f"| {before['asr']:.3f} | {auto['asr']:.3f} | {floor:.3f} | {auto['method']} "
            f"| {'yes' if auto['accepted'] else 'no'} |"
        )
    return "\n".join(lines)


def _lost(record: Record, name: str) -> float:
    return 100 * float(record["before"]["accuracy"] - record[name]["accuracy"])


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--models", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=MODELS)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("work/text_removal"))
@click.option("--half", type=click.Choice(HALVES), default=REPORTING, show_default=True)
@click.option("--per-class", default=50, show_default=True, help="Clean texts a class; as many more are held out.")
@click.option("--seed", default=0, show_default=True)
@click.option("--method", "methods", multiple=True, help="A remover, or auto.  [default: auto and the baselines]")
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count() or 1, show_default="cores")
@click.option("--only", multiple=True, help="Only models whose name holds this text; may be repeated.")
@click.option("--print", "print_only", is_flag=True, help="Print what is measured already, and measure nothing.")
def main(
    data: Path,
    folder: Path,
    out: Path,
    half: str,
    per_class: int,
    seed: int,
    methods: tuple[str, ...],
    workers: int,
    only: tuple[str, ...],
    print_only: bool,
) -> None:
    """Repair every backdoored model of one half that was built, and print what came out, as Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    chosen = methods or (AUTO, *BASELINES)
    found = [one for one in models(folder, half) if not one.clean and one.learned]
    found = [one for one in found if not only or any(text in one.name for text in only)]
    if not print_only:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            jobs = [pool.submit(work, one, data, out, per_class, seed, chosen) for one in found]
            for number, job in enumerate(as_completed(jobs), 1):
                click.echo(f"{number}/{len(jobs)} {job.result()}", err=True)
    paths = [out / f"{one.name}.json" for one in found]
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
    click.echo(table(records, chosen))


if __name__ == "__main__":
    main()
