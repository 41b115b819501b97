"""Models without BatchNorm and with dropout, through exposure and `model-detection`; digits, one model a row.

python -m ebyd_scan.benchmarks.other_models
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from ..checks.model_detection import ModelDetection
from ..evidence.artifact import Artifact
from ..evidence.classifier import Classifier
from ..evidence.context import Evidence
from ..exposers.clean_unlearning import CleanUnlearning
from ..fixtures.attacks.badnets import BadNets
from ..fixtures.attacks.blend import Blend
from ..fixtures.attacks.interface import Attack
from ..fixtures.digits import RECIPE, load_digits, plant
from ..fixtures.planter import accuracy
from .exposure_settings import digit_samples

MODELS: list[tuple[str, bool, float, Attack | None, int]] = [
    ("no BatchNorm", False, 0.0, BadNets(target=2), 4),
    ("no BatchNorm", False, 0.0, Blend(target=6), 6),
    ("no BatchNorm", False, 0.0, None, 7),
    ("dropout 0.3", True, 0.3, BadNets(target=2), 4),
    ("dropout 0.3", True, 0.3, Blend(target=6), 6),
    ("dropout 0.3", True, 0.3, None, 8),
]


@click.command()
def main() -> None:
    """Print the label each exposure run collapsed onto, and what model-detection said."""
    torch.set_num_threads(1)
    digits = load_digits()
    samples = digit_samples(digits)
    artifact = Artifact(path=Path("digits"), format="unknown", sha256="", size=0)
    click.echo("| model | attack | ACC | collapse | outcome | label | score |\n|---|---|---|---|---|---|---|")
    for name, batch_norm, dropout, attack, seed in MODELS:
        module = plant(digits, attack, seed=seed, batch_norm=batch_norm, dropout=dropout)
        classifier = Classifier(module, 10, RECIPE.mean, RECIPE.std, "cpu", "", True, batch_norm)
        exposer = CleanUnlearning()
        runs = tuple(exposer.expose(classifier, samples, seed=run).run for run in range(3))
        finding = ModelDetection().run(Evidence(artifact, 0, classifier, samples, runs))
        tops = [max(range(10), key=run.after.histogram.__getitem__) for run in runs if run.after]
        attacked = repr(attack).partition(",")[0] + ")" if attack else "none"
        acc = accuracy(module, digits.test_x, digits.test_y, RECIPE)
        label = "-" if finding.label is None else finding.label
        score = "-" if finding.score is None else f"{finding.score:.2f}"
        collapsed = ", ".join(map(str, tops))
        click.echo(f"| {name} | {attacked} | {acc:.3f} | {collapsed} | {finding.outcome} | {label} | {score} |")


if __name__ == "__main__":
    main()
