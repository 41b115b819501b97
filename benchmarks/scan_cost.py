"""What a scan costs, a stage, against Neural Cleanse over all labels with the same search: 10, 100, 1000 classes.

    python -m ebyd_scan.benchmarks.scan_cost

The weights are random and the pictures noise: only time is measured here. A scan that finds a trigger ends earlier than
these do; exposing a network that has learned something takes a few epochs a run, and one here. Neural Cleanse is timed
on ten labels and multiplied.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import nn

from ..checks.calibration import FAMILIES_IN_ORDER
from ..checks.model_detection import ModelDetection
from ..checks.trigger_inversion import Replay, invert_labels
from ..checks.trigger_search import Search, labels_to_search, search
from ..evidence.artifact import Artifact
from ..evidence.classifier import Classifier
from ..evidence.context import Evidence
from ..evidence.samples import CleanSamples, SamplePart
from ..fixtures.networks import small_resnet, wide_resnet
from ..policies.load import load_policy
from ..policies.plugins import build_exposer

NETWORKS: dict[str, Callable[..., nn.Module]] = {"small_resnet": small_resnet, "wide_resnet": wide_resnet}


def _classifier(module: nn.Module, classes: int, device: str) -> Classifier:
    return Classifier(module.to(device).eval(), classes, (0.5,) * 3, (0.25,) * 3, device, "", True, True)


def _samples(classifier: Classifier, count: int) -> CleanSamples:
    """Noise with every label in turn: as many for exposure as held out."""
    pixels = torch.rand(2 * count, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(2 * count) % classifier.num_classes
    halves = SamplePart(pixels[:count], labels[:count]), SamplePart(pixels[count:], labels[count:])
    names = tuple(str(label) for label in range(classifier.num_classes))
    return CleanSamples(Path("noise"), "0" * 64, classifier.num_classes, names, *halves)


def _row(network: str, classes: int, count: int, device: str) -> str:
    torch.manual_seed(0)
    classifier = _classifier(NETWORKS[network](num_classes=classes), classes, device)
    samples = _samples(classifier, count)
    rules, check = load_policy("release-gate").policy, ModelDetection()
    started = time.perf_counter()
    exposer = build_exposer(rules)
    runs = [exposer.expose(classifier, samples, seed=seed).run for seed in range(rules.exposure.seeds)]
    exposing = time.perf_counter() - started
    artifact = Artifact(path=Path("noise"), format="safetensors", sha256="0" * 64, size=1)
    evidence = Evidence(artifact=artifact, seed=0, classifier=classifier, samples=samples, exposures=runs)
    labels, named = labels_to_search(
        evidence, suspects=check.suspects, controls=check.controls, max_all_labels=check.max_all_labels
    )
    labels = labels or list(range(check.suspects + check.controls))  # exposing noise may name no suspect
    how = Search(check.steps, check.batch_size)
    seconds = []
    for family in FAMILIES_IN_ORDER:
        started = time.perf_counter()
        search(evidence, labels, named, family, how, Replay(classifier, samples.held_out))
        seconds.append(time.perf_counter() - started)
    options = {"steps": how.steps, "batch_size": how.batch_size, "seed": 0}
    started = time.perf_counter()
    invert_labels(classifier, samples.exposure, range(10), family="patch", **options)  # type: ignore[arg-type]
    cleanse = (time.perf_counter() - started) * classes / 10
    whole = exposing + sum(seconds)
    stages = " | ".join(f"{value:.1f}" for value in (exposing, *seconds, whole, cleanse))
    return f"| {network} | {classes} | {len(labels)} | {stages} | {whole / cleanse:.2f} |"


@click.command()
@click.option("--network", type=click.Choice(list(NETWORKS)), default="small_resnet", show_default=True)
@click.option("--classes", type=int, multiple=True, default=(10, 100, 1000), show_default=True)
@click.option("--samples", default=500, show_default=True, help="Exposure samples; as many are held out.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default="cuda if there")
def main(network: str, classes: tuple[int, ...], samples: int, threads: int, device: str) -> None:
    """Print a row a number of classes: seconds a stage, all together, and Neural Cleanse."""
    torch.set_num_threads(threads)
    head = ("network", "classes", "labels searched", "expose", *FAMILIES_IN_ORDER, "scan", "Neural Cleanse", "ratio")
    click.echo("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for count in classes:
        click.echo(_row(network, count, samples, device))


if __name__ == "__main__":
    main()
