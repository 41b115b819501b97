"""How often `reference-drift` sees a rise: clean models against clean references, and planted ones against the same.

    python -m ebyd_scan.benchmarks.reference_drift              # the reporting models, seeds 20 to 35
    python -m ebyd_scan.benchmarks.reference_drift --seeds 0-9  # the choosing models

Digits models. Each is trained from scratch with its own seed, or fine-tuned (10 epochs, learning rate 0.02) from the
clean model that it is then compared with. About a minute a seed on one core.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import click
import torch
from torch import nn

from ..checks.reference import ReferenceDrift
from ..evidence.artifact import Artifact
from ..evidence.classifier import Classifier
from ..evidence.context import Evidence
from ..evidence.exposure import ExposureRun
from ..evidence.finding import Outcome
from ..evidence.samples import CleanSamples
from ..exposers.clean_unlearning import CleanUnlearning
from ..fixtures.attacks.badnets import BadNets
from ..fixtures.attacks.blend import Blend
from ..fixtures.attacks.interface import Attack, poison
from ..fixtures.digits import MODELS, RECIPE, Digits, load_digits, plant
from ..fixtures.planter import train
from ..scanner.samples.load import load_samples

COMPARED = [
    ("clean", "others"),
    ("clean, fine-tuned", "its origin"),
    ("clean, fine-tuned", "others"),
    ("badnets", "others"),
    ("blend", "others"),
    ("badnets, fine-tuned", "its origin"),
    ("blend, fine-tuned", "its origin"),
]
FINE_TUNING = replace(RECIPE, epochs=10, learning_rate=0.02)


@dataclass(frozen=True)
class _Model:
    seed: int
    target: int | None
    classifier: Classifier
    runs: list[ExposureRun]


def _fine_tune(module: nn.Module, attack: Attack | None, digits: Digits, seed: int) -> nn.Module:
    images, labels = digits.train_x, digits.train_y
    if attack:
        poisoned = poison(attack, images, labels, rate=0.1, seed=seed)
        images, labels = poisoned.images, poisoned.labels
    return train(copy.deepcopy(module), images, labels, FINE_TUNING, seed=seed)


def _models(seed: int, digits: Digits, samples: CleanSamples) -> dict[str, _Model]:
    """Six models of a seed; the planted ones have the seed's last digit for a target."""

    def exposed(module: nn.Module, target: int | None) -> _Model:
        classifier = Classifier(module.eval(), 10, RECIPE.mean, RECIPE.std, "cpu", "digits", True, True)
        exposer = CleanUnlearning()
        return _Model(seed, target, classifier, [exposer.expose(classifier, samples, seed=s).run for s in range(3)])

    clean = plant(digits, None, seed=seed)
    models = {"clean": exposed(clean, None)}
    models["clean, fine-tuned"] = exposed(_fine_tune(clean, None, digits, seed + 500), None)
    attacks: tuple[Attack, ...] = (BadNets(target=seed % 10), Blend(target=seed % 10))
    for attack in attacks:
        models[f"{attack.name}, fine-tuned"] = exposed(_fine_tune(clean, attack, digits, seed + 600), attack.target)
        models[attack.name] = exposed(plant(digits, attack, seed=seed + 100), attack.target)
    return models


def _row(kind: str, against: str, models: list[_Model], references: list[_Model], samples: CleanSamples) -> str:
    outcomes: Counter[str] = Counter()
    scores = []
    right = 0
    for model in models:
        for reference in references:
            if (model.seed == reference.seed) != (against == "its origin"):
                continue
            evidence = Evidence(
                artifact=Artifact(path=Path("model"), format="unknown", sha256="0", size=0),
                seed=0,
                classifier=model.classifier,
                samples=samples,
                exposures=model.runs,
                reference=reference.classifier,
                reference_artifact=Artifact(path=Path("reference"), format="unknown", sha256="1", size=0),
                reference_exposures=reference.runs,
            )
            found = ReferenceDrift().run(evidence)
            outcomes["rise" if found.label is not None else found.outcome.value] += 1
            right += found.label is not None and found.label == model.target
            scores += [found.score] if found.score is not None else []
    counts = " | ".join(str(outcomes[name]) for name in ("rise", Outcome.PASSED, Outcome.SKIPPED, Outcome.INCONCLUSIVE))
    middle = sorted(scores)[len(scores) // 2]
    return f"| {kind} | {against} | {counts} | {right} | {min(scores):.2f}, {middle:.2f}, {max(scores):.2f} |"


@click.command()
@click.option("--seeds", default="20-35", show_default=True, help="First and last seed.")
def main(seeds: str) -> None:
    """Print a row a kind of model."""
    torch.set_num_threads(1)
    first, last = map(int, seeds.split("-"))
    digits = load_digits()
    samples = load_samples(
        MODELS / "digits-samples.npz",
        num_classes=10,
        size=None,
        channels=None,
        seed=0,
        held_out=0.5,
        min_per_class=5,
        max_count=2000,
    )
    rows = [_models(seed, digits, samples) for seed in range(first, last + 1)]
    references = [models["clean"] for models in rows]
    click.echo("| model | reference | rise | passed | skipped | inconclusive | right label | score: min, median, max |")
    click.echo("|---|---|---|---|---|---|---|---|")
    for kind, against in COMPARED:
        click.echo(_row(kind, against, [models[kind] for models in rows], references, samples))


if __name__ == "__main__":
    main()
