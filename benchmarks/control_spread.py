"""How much trigger sizes differ between ordinary labels, and how small a planted one is: what the thresholds rest on.

    python -m ebyd_scan.benchmarks.control_spread

Small digits models for choosing; nothing is claimed from them. A ratio is the median size of the other labels over
the size of a label. "Any 5" is the largest ratio over all draws of five labels, as a scan compares.
"""

from __future__ import annotations

import itertools
import statistics

import click
import torch

from ..checks.model_detection import FAMILY_NAMES
from ..checks.trigger_inversion import invert
from ..evidence.classifier import Classifier
from ..evidence.samples import CleanSamples
from ..fixtures.attacks.badnets import BadNets
from ..fixtures.attacks.blend import Blend
from ..fixtures.attacks.interface import Attack
from ..fixtures.digits import RECIPE, load_digits, plant
from .exposure_settings import digit_samples

MODELS: list[tuple[Attack | None, int]] = [
    (None, 31),
    (None, 32),
    (None, 33),
    (None, 34),
    (BadNets(target=7), 41),
    (BadNets(target=2), 42),
    (Blend(target=4), 45),
    (Blend(target=6), 47),
]


def _sizes(classifier: Classifier, samples: CleanSamples, family: str) -> list[float]:
    options = {"steps": 160, "batch_size": 64, "seed": 0}
    return [
        invert(classifier, samples.exposure, label, family=family, success=0.95, **options).size for label in range(10)
    ]


def _ratio(sizes: list[float], label: int, among: tuple[int, ...]) -> float:
    return statistics.median(sizes[other] for other in among if other != label) / sizes[label]


def _row(name: str, target: int | None, family: str, sizes: list[float]) -> str:
    everyone = tuple(range(10))
    candidates = everyone if target is None else (target,)
    whole = max(_ratio(sizes, label, everyone) for label in candidates)
    draws = [
        max(_ratio(sizes, label, draw) for label in draw if label in candidates)
        for draw in itertools.combinations(everyone, 5)
        if target is None or target in draw
    ]
    extreme = max(draws) if target is None else min(draws)
    return f"| {name} | {family} | {min(sizes):.2f} to {max(sizes):.2f} | {whole:.2f} | {extreme:.2f} |"


@click.command()
def main() -> None:
    """Print a row a model and family: for a clean one the largest ratios, for a planted one the target's smallest."""
    torch.set_num_threads(1)
    digits = load_digits()
    samples = digit_samples(digits)
    click.echo("| model | family | sizes | ratio, all 10 labels | any 5 labels |\n|---|---|---|---|---|")
    for attack, seed in MODELS:
        module = plant(digits, attack, seed=seed)
        classifier = Classifier(module, 10, RECIPE.mean, RECIPE.std, "cpu", "", True, True)
        for family in FAMILY_NAMES:
            name = repr(attack).partition(",")[0] + ")" if attack else f"clean, seed {seed}"
            sizes = _sizes(classifier, samples, family)
            click.echo(_row(name, attack.target if attack else None, family, sizes))


if __name__ == "__main__":
    main()
