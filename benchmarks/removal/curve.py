"""Few samples, and wrong labels: how a repair fares with less than it asks for.

    python -m ebyd_scan.benchmarks.removal.curve --data ../shared/data

Each model is scanned and repaired with 1 to 50 clean samples a class, then with 50 of which some have wrong labels, by
universal unlearning and by fine-tuning, with cross-entropy and with the loss that is robust to such labels.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ...evidence.repair import Known
from ...evidence.samples import CleanSamples, SamplePart
from ...policies.load import load_policy
from ...policies.plugins import build_remover
from ..zoo.cards import REPORTING
from ..zoo.data import DATA_SETS
from ..zoo.read import MODELS, ZooModel, clean_samples, models
from .measure import SAMPLE_SEED, Truth, scan

COUNTS = (1, 2, 5, 10, 50)
NOISE = (0.0, 0.1, 0.2)
LOSSES = ("cross-entropy", "active-passive")
METHODS = ("universal-unlearning", "fine-tuning")


def with_wrong_labels(samples: CleanSamples, share: float, seed: int) -> CleanSamples:
    """The same with a share of the exposure part's labels moved to another class."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    labels = samples.exposure.labels.clone()
    wrong = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    steps = torch.randint(1, samples.num_classes, (len(wrong),), generator=generator)
    labels[wrong] = (labels[wrong] + steps) % samples.num_classes
    return replace(samples, exposure=SamplePart(samples.exposure.inputs, labels))


def line(model: ZooModel, what: str, truth: Truth, before: dict[str, Any], known: Known, **job: Any) -> str:
    """One repair, in a row of the table."""
    remover = build_remover(job["method"], {"loss": job["loss"]})
    made = remover.remove(job["classifier"], job["samples"], known, seed=0)
    after = truth.measure(made.classifier)
    assert after["accuracy"] is not None and after["asr"] is not None
    lost = 100 * (before["accuracy"] - after["accuracy"])
    return (
        f"| {model.name} | {what} | {job['method']} | {job['loss']} | {len(known.labels)} | {before['asr']:.3f} "
        f"| {after['asr']:.3f} | {lost:.1f} |"
    )


def rows(model: ZooModel, data: Path) -> list[str]:
    """All repairs of one model."""
    import torch

    torch.set_num_threads(1)
    policy = load_policy("release-gate").policy
    of_zoo = DATA_SETS[model.card["data"]](data)
    truth, classifier = Truth(model, of_zoo), model.classifier()
    classifier.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    before = truth.measure(classifier)
    lines = []
    for count in COUNTS:
        samples = clean_samples(of_zoo, count, seed=SAMPLE_SEED, held_out=50)
        known = scan(policy, classifier, samples, model.path, 0).known
        for method in METHODS:
            job = {"method": method, "loss": LOSSES[0], "classifier": classifier, "samples": samples}
            lines.append(line(model, f"{count} a class", truth, before, known, **job))
            click.echo(lines[-1])
    for share in NOISE[1:]:
        noisy = with_wrong_labels(samples, share, seed=SAMPLE_SEED)
        known = scan(policy, classifier, noisy, model.path, 0).known
        for method in METHODS:
            for loss in LOSSES:
                job = {"method": method, "loss": loss, "classifier": classifier, "samples": noisy}
                lines.append(line(model, f"{share:.0%} wrong labels", truth, before, known, **job))
                click.echo(lines[-1])
    return lines


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--models", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=MODELS)
@click.option("--group", default=REPORTING, show_default=True)
@click.option(
    "--only",
    multiple=True,
    default=("01-badnets", "10-sample-specific"),
    show_default=True,
    help="Models by their names.",
)
def main(data: Path, folder: Path, group: str, only: tuple[str, ...]) -> None:
    """Print a row a repair, as Markdown."""
    click.echo("| model | samples | method | loss | suspected labels | ASR before | after | accuracy lost, points |")
    click.echo("|---|---|---|---|---|---|---|---|")
    for model in models(folder, group):
        if not model.clean and any(text in model.name for text in only):
            rows(model, data)


if __name__ == "__main__":
    main()
