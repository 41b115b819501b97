"""Which setting of clean unlearning puts the attacker's target first? On small planted digits models.

    python -m ebyd_scan.benchmarks.exposure_settings

These are models for choosing: the shipped settings were chosen on them, nothing is claimed from them.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch

from ..evidence.classifier import Classifier
from ..evidence.exposure import Exposure
from ..evidence.samples import CleanSamples, SamplePart
from ..exposers.clean_unlearning import CleanUnlearning
from ..fixtures.attacks.badnets import BadNets
from ..fixtures.attacks.blend import Blend
from ..fixtures.attacks.interface import Attack, Images, Labels
from ..fixtures.digits import RECIPE, Digits, load_digits, plant
from ..fixtures.planter import to_pixels

ATTACKS: list[tuple[Attack, int]] = [
    (BadNets(target=7), 41),
    (BadNets(target=2), 42),
    (BadNets(target=5), 43),
    (BadNets(target=0), 44),
    (Blend(target=4), 45),
    (Blend(target=1), 46),
    (Blend(target=6), 47),
]


def _part(images: Images, labels: Labels) -> SamplePart:
    return SamplePart(to_pixels(images), torch.from_numpy(labels))


def digit_samples(digits: Digits) -> CleanSamples:
    """The shipped clean samples, half for exposure and half held out."""
    half = len(digits.sample_y) // 2
    exposure = _part(digits.sample_x[:half], digits.sample_y[:half])
    held_out = _part(digits.sample_x[half:], digits.sample_y[half:])
    return CleanSamples(Path("digits"), "", 10, tuple(str(label) for label in range(10)), exposure, held_out)


def _rank(histogram: list[int], target: int | None) -> int:
    assert target is not None  # every attack here has one
    return sum(count >= histogram[target] for count in histogram) - 1  # ties count against the target


def _running_statistics(exposure: Exposure, samples: CleanSamples) -> list[int]:
    with torch.no_grad():
        predicted = exposure.classifier.logits(samples.exposure.pixels).argmax(1).numpy()
    return [int(count) for count in np.bincount(predicted, minlength=10)]


@click.command()
@click.option("--seeds", default=3, show_default=True)
def main(seeds: int) -> None:
    """Print the share of runs in which the target comes first, and among the first two."""
    torch.set_num_threads(1)
    digits = load_digits()
    samples = digit_samples(digits)
    click.echo("| BatchNorm | learning rate | batch | histogram read with | epochs | first | among two | n |")
    click.echo("|---|---|---|---|---|---|---|---|")
    for batch_norm in (True, False):
        planted = [(attack, plant(digits, attack, seed=seed, batch_norm=batch_norm)) for attack, seed in ATTACKS]
        for rate in (0.01, 0.03):
            for batch_size in (32, 128):
                epochs: list[float] = []
                ranks: dict[str, list[int]] = {"batch statistics": [], "running statistics": []}
                for attack, module in planted:
                    classifier = Classifier(module, 10, RECIPE.mean, RECIPE.std, "cpu", "", True, batch_norm)
                    for seed in range(seeds):
                        exposer = CleanUnlearning(learning_rate=rate, batch_size=batch_size)
                        exposure = exposer.expose(classifier, samples, seed=seed)
                        batches = max(1, round(len(samples.exposure) / batch_size))
                        epochs.append(len(exposure.run.trajectory) / batches)
                        if exposure.run.after is None:
                            continue
                        ranks["batch statistics"].append(_rank(exposure.run.after.histogram, attack.target))
                        running = _running_statistics(exposure, samples)
                        ranks["running statistics"].append(_rank(running, attack.target))
                for read, found in ranks.items():
                    if not batch_norm and read == "running statistics":
                        continue  # the same without BatchNorm
                    first, two = sum(rank == 0 for rank in found), sum(rank <= 1 for rank in found)
                    click.echo(
                        f"| {'yes' if batch_norm else 'no'} | {rate} | {batch_size} | "
                        f"{read if batch_norm else '-'} | {sum(epochs) / len(epochs):.1f} | "
                        f"{first} | {two} | {len(found)} |"
                    )


if __name__ == "__main__":
    main()
