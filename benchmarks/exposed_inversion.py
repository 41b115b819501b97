"""Trigger inversion on the exposed against the original model, on the zoo's choosing half.

    python -m ebyd_scan.benchmarks.exposed_inversion --data ../shared/data

For each exposer and for the original: does the smallest patch lead to the target in backdoored models, how far ahead is
it there, and how far ahead is the smallest one in clean models? The shipped check inverts on the original; this table
is why.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from pathlib import Path

import click
import torch

from ..checks.model_detection import ModelDetection
from ..checks.trigger_inversion import invert_labels
from ..evidence.classifier import Classifier
from ..evidence.samples import CleanSamples
from ..policies.plugins import EXPOSERS, plugin_class, plugin_names
from .zoo.cards import CHOOSING
from .zoo.data import DATA_SETS
from .zoo.read import MODELS, ZooModel, clean_samples, models


def _leader(classifier: Classifier, samples: CleanSamples, family: str) -> tuple[int, float]:
    """The label with the smallest trigger, and how many times smaller it is than the next label's."""
    check = ModelDetection()
    triggers = invert_labels(
        classifier,
        samples.exposure,
        range(samples.num_classes),
        family=family,
        steps=check.steps,
        batch_size=check.batch_size,
        seed=0,
    )
    first, second = sorted((trigger for trigger in triggers), key=lambda trigger: (not trigger.found, trigger.size))[:2]
    return first.label, second.size / max(first.size, 1e-9)


def _row(method: str, family: str, found: list[tuple[ZooModel, int, float]]) -> str:
    planted = [(model.card["target"] == label, lead) for model, label, lead in found if not model.clean]
    clean = [math.log(lead) for model, _, lead in found if model.clean]
    right = [math.log(lead) for hit, lead in planted if hit]
    middle = f"{math.exp(statistics.median(right)):.2f}" if right else "-"
    return (
        f"| {method} | {family} | {len(right)}/{len(planted)} | {middle} | "
        f"{math.exp(statistics.median(clean)):.2f} | {math.exp(max(clean)):.2f} | {len(clean)} |"
    )


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--models", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=MODELS)
@click.option("--kind", multiple=True, default=("badnets", "badnets-1%", "trojan-patch", "blend", "clean"))
@click.option("--family", multiple=True, default=("patch",), show_default=True)
@click.option("--most", default=16, show_default=True, help="How many models to look at.")
def main(data: Path, folder: Path, kind: tuple[str, ...], family: tuple[str, ...], most: int) -> None:
    """Print a row an exposer and family."""
    torch.set_num_threads(1)
    chosen = [model for model in models(folder, CHOOSING) if model.card["kind"] in kind]
    planted = [model for model in chosen if not model.clean][: most // 2]
    rows: dict[tuple[str, str], list[tuple[ZooModel, int, float]]] = defaultdict(list)
    for model in [*planted, *[m for m in chosen if m.clean][: most - len(planted)]]:
        samples = clean_samples(DATA_SETS[model.card["data"]](data), 50, seed=1)
        classifier = model.classifier()
        views = {"original": classifier}
        for name in plugin_names(EXPOSERS, built_in_only=True):
            views[name] = plugin_class(EXPOSERS, name)().expose(classifier, samples, seed=0).classifier
        for method, view in views.items():
            for which in family:
                rows[method, which].append((model, *_leader(view, samples, which)))
        click.echo(model.name, err=True)
    head = ("inverted on", "family", "target has the smallest", "its lead (median)", "lead in clean models (median)",
            "(largest)", "clean n")  # fmt: skip
    click.echo("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for (method, which), found in rows.items():
        click.echo(_row(method, which, found))


if __name__ == "__main__":
    main()
