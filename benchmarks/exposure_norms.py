"""Does clean unlearning name the attacker's label where there is no BatchNorm to move? On models of the zoo.

    python -m ebyd_scan.benchmarks.exposure_norms --data ../shared/data --half choosing

Networks with BatchNorm are scanned as they are, exported to ONNX with BatchNorm folded into the convolutions, and so
with BatchNorm inserted again; those with LayerNorm with several learning rates. A label counts as named where the check
backdoor-label would name it. Settings are chosen on the choosing half and told for the reporting half.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import torch

from ..checks.suspects import collapse, converged
from ..evidence.artifact import Artifact
from ..evidence.classifier import Classifier
from ..evidence.samples import CleanSamples
from ..exposers.clean_unlearning import CleanUnlearning
from ..scanner.models.onnx_file import load_onnx, with_batch_norm
from .zoo.cards import PLANTS
from .zoo.data import DATA_SETS
from .zoo.read import MODELS, ZooModel, clean_samples, models

BATCH_NORM = ("small_resnet", "small_vgg", "small_mobilenet")
RATES = (0.003, 0.01, 0.03)
PER_CLASS = 50
ONE_LABEL = [kind for kind in PLANTS if kind not in ("all-to-all", "parallel")]  # there is one right answer


def folded(classifier: Classifier, samples: CleanSamples) -> Classifier:
    """The same classifier by way of ONNX: the exporter folds BatchNorm into convolutions."""
    pixels = samples.exposure.pixels[:2]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        axes = {"pixels": {0: "batch"}}
        torch.onnx.export(
            classifier.module, (pixels,), path, dynamo=False, dynamic_axes=axes, input_names=["pixels"]
        )  # fmt: skip
        artifact = Artifact(path=path, format="onnx", sha256="0" * 64, size=path.stat().st_size)
        channels, height, width = pixels.shape[1:]
        module = load_onnx(artifact, (channels, height, width))
    return replace(classifier, module=module, has_batch_norm=bool(module.batch_norms()))


def variants(model: ZooModel, samples: CleanSamples, rates: tuple[float, ...]) -> Iterator[tuple[str, Classifier]]:
    """The forms in which a model is exposed, and the name of each."""
    classifier = model.classifier()
    if model.card["architecture"].rpartition(":")[2] not in BATCH_NORM:
        yield "LayerNorm", classifier
        return
    yield "BatchNorm", classifier
    without = folded(classifier, samples)
    yield "BatchNorm folded (ONNX)", without
    yield "BatchNorm folded, inserted", with_batch_norm(without, samples)


def judge(classifier: Classifier, samples: CleanSamples, rate: float, seeds: int, target: int | None) -> str:
    """`right`, `wrong` or `none`: the label that exposure names, against the attacker's."""
    exposer = CleanUnlearning(learning_rate=rate)
    runs = converged([exposer.expose(classifier, samples, seed=seed).run for seed in range(seeds)])
    label = collapse(runs).named() if len(runs) == seeds else None
    return "none" if label is None else "right" if label == target else "wrong"


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--half", type=click.Choice(["choosing", "reporting"]), default="choosing", show_default=True)
@click.option("--rate", "rates", type=float, multiple=True, help="Learning rate; may be repeated.  [default: three]")
@click.option("--seeds", default=3, show_default=True)
@click.option("--only", multiple=True, help="Only models whose network's name holds this text; may be repeated.")
@click.option("--limit", default=1000, show_default=True, help="At most so many models of a network.")
def main(data: Path, half: str, rates: tuple[float, ...], seeds: int, only: tuple[str, ...], limit: int) -> None:
    """Print, for each form and learning rate, how often the label was named and right."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    sets = {name: load(data) for name, load in DATA_SETS.items()}
    counts: dict[tuple[str, str, float], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    taken: dict[str, int] = defaultdict(int)
    for model in models(MODELS, half):
        network = model.card["architecture"].rpartition(":")[2]
        if model.card["kind"] not in ONE_LABEL or (only and not any(text in network for text in only)):
            continue
        if taken[network] >= limit:
            continue
        taken[network] += 1
        samples = clean_samples(sets[model.card["data"]], PER_CLASS, seed=8)
        for form, classifier in variants(model, samples, rates or RATES):
            for rate in rates or RATES:
                counts[network, form, rate][judge(classifier, samples, rate, seeds, model.card["target"])] += 1
        click.echo(f"{model.name} done", err=True)
    click.echo("| network | form | learning rate | right label | wrong label | none named | n |")
    click.echo("|---|---|---|---|---|---|---|")
    for (network, form, rate), seen in sorted(counts.items()):
        cells = " | ".join(str(seen[kind]) for kind in ("right", "wrong", "none"))
        click.echo(f"| {network} | {form} | {rate} | {cells} | {sum(seen.values())} |")


if __name__ == "__main__":
    main()
