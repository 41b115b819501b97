"""Trains the CIFAR-10 models that the gate is measured on, clean and backdoored, each from scratch.

    python -m ebyd_scan.benchmarks.cifar10_models --data ../shared/data/cifar10 --out work/cifar10

Resumable: a model that is already in the output folder is not trained again. Models of the `choosing` set were
used to set the shipped thresholds, models of the `reporting` set only to measure them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from ..fixtures.attacks.badnets import BadNets
from ..fixtures.attacks.blend import Blend
from ..fixtures.attacks.interface import Attack, poison
from ..fixtures.networks import plain_convnet, wide_resnet
from ..fixtures.planter import Recipe, accuracy, attack_success_rate, train
from ..scanner.torchvision_compat import import_torchvision

MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)
CLEAN_SAMPLES = 2500  # test[:2500] is what a scan may see, test[2500:] measures ACC and ASR


@dataclass(frozen=True)
class ModelCard:
    """One model to train: where it belongs, its architecture, its attack and its seed."""

    name: str
    group: str  # "choosing" or "reporting"
    architecture: str  # as `ebyd-scan scan --architecture` takes it
    seed: int
    attack: Attack | None = None
    rate: float = 0.05
    epochs: int = 12
    learning_rate: float = 0.1
    augment: bool = True
    arch_args: dict[str, Any] = field(default_factory=dict)


def _resnet18() -> nn.Module:
    module: nn.Module = import_torchvision().models.resnet18(num_classes=10)
    return module


PLAIN = "ebyd_scan.fixtures.networks:plain_convnet"
WRN = "ebyd_scan.fixtures.networks:wide_resnet"
RESNET18 = "torchvision:resnet18"
BUILDERS: dict[str, Callable[[], nn.Module]] = {PLAIN: plain_convnet, WRN: wide_resnet, RESNET18: _resnet18}

CARDS = [
    ModelCard("choose-plain-clean", "choosing", PLAIN, 101),
    ModelCard("choose-plain-badnets", "choosing", PLAIN, 102, BadNets(target=2)),
    ModelCard("choose-plain-blend", "choosing", PLAIN, 103, Blend(target=6, pattern_seed=103)),
    ModelCard("choose-plain-clean-noaug", "choosing", PLAIN, 104, augment=False),
    ModelCard("choose-wrn-clean", "choosing", WRN, 111),
    ModelCard("choose-wrn-badnets", "choosing", WRN, 112, BadNets(target=5)),
    ModelCard("choose-wrn-blend", "choosing", WRN, 113, Blend(target=1, pattern_seed=113)),
    ModelCard("wrn-clean", "reporting", WRN, 1),
    ModelCard("wrn-badnets", "reporting", WRN, 2, BadNets(target=3)),
    ModelCard("wrn-blend", "reporting", WRN, 3, Blend(target=7, pattern_seed=3)),
    ModelCard("resnet18-clean", "reporting", RESNET18, 11, epochs=10, learning_rate=0.05),
    # With crops, 5 % poison and a 3x3 patch this one learned no backdoor (ASR 0.03): its first layer halves twice.
    ModelCard(
        "resnet18-badnets",
        "reporting",
        RESNET18,
        12,
        BadNets(target=0, size=5),
        rate=0.1,
        epochs=6,
        learning_rate=0.05,
        augment=False,
    ),
    ModelCard("plain-clean", "reporting", PLAIN, 21, epochs=8),
    ModelCard("plain-badnets", "reporting", PLAIN, 22, BadNets(target=4), epochs=8),
    ModelCard("plain-blend", "reporting", PLAIN, 23, Blend(target=9, pattern_seed=23), epochs=8),
]


def train_card(card: ModelCard, data: Path, out: Path, device: str) -> dict[str, Any]:
    """Train one model, write `<name>.safetensors` and `<name>.json`, return what the latter holds."""
    trainset, testset = np.load(data / "train.npz"), np.load(data / "test.npz")
    images, labels = trainset["x"], trainset["y"]
    recipe = Recipe(
        epochs=card.epochs,
        learning_rate=card.learning_rate,
        crop_padding=4 if card.augment else 0,
        flip=card.augment,
        mean=MEAN,
        std=STD,
    )
    if card.attack:
        poisoned = poison(card.attack, images, labels, rate=card.rate, seed=card.seed)
        images, labels = poisoned.images, poisoned.labels
    torch.manual_seed(card.seed)
    module = BUILDERS[card.architecture]()
    started = time.perf_counter()

    def show(epoch: int, loss: float) -> None:
        click.echo(f"{card.name}: epoch {epoch + 1}/{card.epochs}, loss {loss:.3f}", err=True)

    train(module, images, labels, recipe, seed=card.seed, device=device, on_epoch=show)
    held_x, held_y = testset["x"][CLEAN_SAMPLES:], testset["y"][CLEAN_SAMPLES:]
    record = {
        "name": card.name,
        "group": card.group,
        "architecture": card.architecture,
        "seed": card.seed,
        "attack": repr(card.attack) if card.attack else None,
        "target": card.attack.target if card.attack else None,
        "poisoning_rate": card.rate if card.attack else 0.0,
        "accuracy": accuracy(module, held_x, held_y, recipe, device=device),
        "asr": attack_success_rate(module, card.attack, held_x, held_y, recipe, device=device) if card.attack else None,
        "train_seconds": round(time.perf_counter() - started, 1),
    }
    weights = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    partial = out / f"{card.name}.safetensors.part"
    save_file(weights, partial)
    partial.replace(out / f"{card.name}.safetensors")
    partial = out / f"{card.name}.json.part"
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(out / f"{card.name}.json")
    return record


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("work/cifar10"))
@click.option("--only", multiple=True, help="Train only the models whose name starts so; may be repeated.")
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu")
@click.option("--threads", type=int, default=os.cpu_count() or 1)
def main(data: Path, out: Path, only: tuple[str, ...], device: str, threads: int) -> None:
    """Train every model that is not in OUT yet."""
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    for card in CARDS:
        if (only and not card.name.startswith(only)) or (out / f"{card.name}.json").exists():
            continue
        record = train_card(card, data, out, device)
        asr = "-" if record["asr"] is None else f"{record['asr']:.3f}"
        click.echo(f"{card.name}  ACC {record['accuracy']:.3f}  ASR {asr}  {record['train_seconds']:.0f} s")


if __name__ == "__main__":
    main()
