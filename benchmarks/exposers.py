"""How well does each exposer bring the attacker's target to the top? One table over a set of models.

    python -m ebyd_scan.benchmarks.exposers --digits 11
    python -m ebyd_scan.benchmarks.exposers --models work/cifar10 --only choose- --samples work/cifar10/samples-100.npz

MODELS is a folder of `NAME.safetensors` with a card `NAME.json` each, as `cifar10_models` and `zoo` write them. An
exposer may be tried with other options: `--exposer sparsification:criterion=activation,stop_accuracy=0.3`.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import torch
import yaml

from ..checks.suspects import collapse, converged
from ..evidence.classifier import Classifier
from ..evidence.context import Exposer
from ..evidence.exposure import ExposureRun
from ..evidence.samples import CleanSamples
from ..fixtures.attacks.badnets import BadNets
from ..fixtures.attacks.blend import Blend
from ..fixtures.attacks.interface import Attack
from ..fixtures.digits import RECIPE, load_digits, plant
from ..policies.plugins import EXPOSERS, options_model, plugin_class, plugin_names
from ..scanner.models.identify import identify
from ..scanner.models.load import load_classifier
from ..scanner.samples.load import load_samples
from .cifar10_models import MEAN, STD
from .exposure_settings import ATTACKS, digit_samples


@dataclass(frozen=True)
class Subject:
    """A model to expose; `target` is None for a clean one."""

    name: str
    target: int | None
    classifier: Classifier
    samples: CleanSamples


@dataclass
class Tally:
    """What one exposer did over all models."""

    ranks: list[int | None] = field(default_factory=list)  # of the target by mean gain; None where no run converged
    target_gains: list[float] = field(default_factory=list)
    clean: int = 0
    clean_gains: list[float] = field(default_factory=list)
    runs: list[ExposureRun] = field(default_factory=list)

    def add(self, subject: Subject, runs: Sequence[ExposureRun]) -> str:
        """Count a model's runs; a line on them."""
        self.runs += runs
        usable = converged(runs)
        gain = collapse(usable).gain if usable else ()
        if subject.target is None:
            self.clean += 1
            self.clean_gains += [max(gain)] if gain else []
            told = f"largest gain {max(gain):.2f}" if gain else "no run converged"
        elif gain:
            # Ties count against the target.
            self.ranks.append(sum(value >= gain[subject.target] for value in gain) - 1)
            self.target_gains.append(gain[subject.target])
            told = f"target {subject.target} at rank {self.ranks[-1]} with gain {self.target_gains[-1]:.2f}"
        else:
            self.ranks.append(None)
            told = "no run converged"
        return f"{told}; {runs[0].reason}"

    def row(self, name: str) -> str:
        """Its line of the table."""
        n, first = len(self.ranks), self.ranks.count(0)
        two = sum(rank is not None and rank <= 1 for rank in self.ranks)
        stripped = len(converged(self.runs))
        return (
            f"| {name} | {n} | {_share(first, n)} | {_share(two, n)} | {_mean(self.target_gains)} | {self.clean} | "
            f"{_mean(self.clean_gains)} | {_share(stripped, len(self.runs))} | "
            f"{_mean([run.seconds for run in self.runs], 1)} |"
        )


HEAD = (
    "| exposer | backdoored, n | target first | among two | its mean gain | clean, n | mean largest gain | "
    "converged runs | seconds a run |\n|---|---|---|---|---|---|---|---|---|"
)


def _share(count: int, total: int) -> str:
    return f"{count}/{total} ({count / total:.0%})" if total else "-"


def _mean(values: Sequence[float], digits: int = 2) -> str:
    return f"{statistics.mean(values):.{digits}f}" if values else "-"


def parse_exposer(text: str) -> Exposer:
    """`ID` or `ID:OPTION=VALUE,OPTION=VALUE`; UsageError for an unknown id, pydantic's error for a wrong option."""
    name, _, options = text.partition(":")
    cls = plugin_class(EXPOSERS, name)
    pairs = [item.partition("=") for item in options.split(",") if item]
    given = {key: yaml.safe_load(value) for key, _, value in pairs}
    checked = options_model(cls).model_validate(given)
    exposer: Exposer = cls(**{key: getattr(checked, key) for key in given})
    return exposer


def digit_attacks(count: int) -> list[tuple[Attack | None, int]]:
    """Attack, None for clean, and seed: the models that settings were chosen on, then more; every third is clean."""
    backdoored: list[tuple[Attack | None, int]] = [*ATTACKS]
    clean: list[tuple[Attack | None, int]] = []
    for index in range(count):
        seed = 200 + 2 * index
        backdoored.append((Blend(target=index % 10, pattern_seed=seed), seed))
        backdoored.append((BadNets(target=(index + 5) % 10), seed + 1))
        clean.append((None, 51 + index))
    return [pair for triple in zip(backdoored[::2], backdoored[1::2], clean, strict=False) for pair in triple][:count]


def digit_models(count: int) -> Iterator[Subject]:
    """Planted from scratch; the same in every call."""
    digits = load_digits()
    samples = digit_samples(digits)
    for attack, seed in digit_attacks(count):
        classifier = Classifier(
            module=plant(digits, attack, seed=seed),
            num_classes=10,
            mean=RECIPE.mean,
            std=RECIPE.std,
            device="cpu",
            architecture="plain_convnet",
            trainable=True,
            has_batch_norm=True,
        )
        yield Subject(f"digits-{seed}", attack.target if attack else None, classifier, samples)


def stored_models(
    folder: Path, samples: dict[str, Path], only: tuple[str, ...], count: int, device: str
) -> Iterator[Subject]:
    """Every model of `folder` with one target or none; `samples` by data set, under "" for cards that name none.

    At most `count` samples of each are used, half of them for exposure.
    """
    split: dict[Path, CleanSamples] = {}
    for path in sorted(folder.glob("*.json")):
        card = _card(path)
        if card is None or (only and not path.stem.startswith(only)):
            continue
        where = samples.get(str(card.get("dataset") or card.get("data") or ""), samples.get(""))
        if where is None or (card.get("attack") is not None and card.get("target") is None):
            click.echo(f"{path.stem}: left out, it has {'no single target' if where else 'no samples'}", err=True)
            continue
        if where not in split:
            split[where] = load_samples(
                where,
                num_classes=None,
                size=None,
                channels=None,
                seed=0,
                held_out=0.5,
                min_per_class=5,
                max_count=count,
            )
        channels, height, width = split[where].exposure.pixels.shape[1:]
        classifier = load_classifier(
            identify(path.with_suffix(".safetensors")),
            architecture=card["architecture"],
            arch_args=card.get("arch_args") or {},
            mean=tuple(card.get("mean") or MEAN),
            std=tuple(card.get("std") or STD),
            input_shape=(channels, height, width),
            device=device,
            allow_pickle=False,
        )
        yield Subject(path.stem, card.get("target"), classifier, split[where])


def _card(path: Path) -> dict[str, Any] | None:
    """The card, if this JSON file is one and its weights are there."""
    record = json.loads(path.read_text(encoding="utf-8"))
    known = isinstance(record, dict) and "architecture" in record and path.with_suffix(".safetensors").exists()
    return record if known else None


@click.command()
@click.option("--models", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of models.")
@click.option("--samples", multiple=True, help="PATH or DATASET=PATH of an .npz of clean samples; may be repeated.")
@click.option("--only", multiple=True, help="Only models whose name starts so; may be repeated.")
@click.option("--digits", type=int, default=0, help="Plant so many digit models instead; needs no data.")
@click.option("--exposer", "exposers", multiple=True, help="ID or ID:OPTION=VALUE,...; all built-in ones if none.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Runs a model.")
@click.option("--count", default=1000, show_default=True, help="Samples used, half of them for exposure.")
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu")
@click.option("--threads", type=int, default=os.cpu_count() or 1)
def main(
    models: Path | None,
    samples: tuple[str, ...],
    only: tuple[str, ...],
    digits: int,
    exposers: tuple[str, ...],
    seeds: int,
    count: int,
    device: str,
    threads: int,
) -> None:
    """Print a row an exposer."""
    torch.set_num_threads(threads)
    if bool(digits) == bool(models) or bool(models) != bool(samples):
        raise click.UsageError("give either --models with --samples, or --digits")
    names = exposers or tuple(plugin_names(EXPOSERS, built_in_only=True))
    ready = [(name, parse_exposer(name), Tally()) for name in names]
    subjects = digit_models(digits)
    if models:
        by_data = {data: Path(path) for data, _, path in (text.rpartition("=") for text in samples)}
        subjects = stored_models(models, by_data, only, count, device)
    for subject in subjects:
        for name, exposer, tally in ready:
            runs = [exposer.expose(subject.classifier, subject.samples, seed=seed).run for seed in range(seeds)]
            click.echo(f"{subject.name}, {name}: {tally.add(subject, runs)}", err=True)
    click.echo(HEAD)
    for name, _, tally in ready:
        click.echo(tally.row(name))


if __name__ == "__main__":
    main()
