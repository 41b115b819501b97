"""Builds the zoo's models, several at once if asked; a killed run continues where it was.

Every model starts from a base network that was trained cleanly for two epochs, and is trained on from there for a
few epochs on its own (poisoned, noisy, imbalanced) copy of the data with its own seed. That is much cheaper than
training each from scratch and still early enough for a backdoor to be learned beside the task.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ...fixtures import networks
from ...fixtures.attacks.hardening import pgd
from ...fixtures.attacks.interface import Attack, Images, Labels, poison
from ...fixtures.attacks.label_consistent import LabelConsistent
from ...fixtures.planter import Recipe, accuracy, attack_success_rate, train
from .cards import CONDITIONS, PLANTS, Condition, ZooCard
from .data import DATA_SETS, DataSet

BASE_EPOCHS = 2
LEARNED = 0.5  # an attack with less success was not learned: such a model does not count as backdoored
LONGER = 3  # it is trained in anew, with so many times the epochs


def builder(card: ZooCard) -> nn.Module:
    """The card's network with fresh weights."""
    make: Callable[..., nn.Module] = getattr(networks, card.architecture)
    return make(**card.arch_args)


def _recipe(data: DataSet, card: ZooCard, epochs: int, augment: bool) -> Recipe:
    transformer = card.architecture in ("small_vit", "small_convnext")
    return Recipe(
        epochs=epochs,
        optimizer="adamw" if transformer else "sgd",
        learning_rate=2e-3 if transformer else 0.05,
        weight_decay=0.05 if transformer else 5e-4,
        crop_padding=2 if augment else 0,
        flip=augment and data.name == "cifar10",
        mean=data.mean,
        std=data.std,
    )


def _base(card: ZooCard, data: DataSet, out: Path, device: str) -> nn.Module:
    """The early network the card starts from; trained once, then read from `out/bases`."""
    path = out / "bases" / f"{card.base}.safetensors"
    torch.manual_seed(card.base_seed)
    module = builder(card)
    if path.exists():
        module.load_state_dict(load_file(path))
        return module
    recipe = _recipe(data, card, BASE_EPOCHS, augment=False)
    train(module, data.train_x, data.train_y, recipe, seed=card.base_seed, device=device)
    path.parent.mkdir(parents=True, exist_ok=True)
    _save({key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}, path)
    return module


def _save(weights: dict[str, torch.Tensor], path: Path) -> None:
    partial = path.with_suffix(".part")
    save_file(weights, partial)
    partial.replace(path)


def _conditioned(data: DataSet, condition: Condition, seed: int) -> tuple[Images, Labels]:
    """The training set under a clean model's condition."""
    rng = np.random.default_rng(seed)
    images, labels = data.train_x, data.train_y.copy()
    keep = np.arange(len(labels))
    if condition.samples:
        keep = rng.choice(keep, condition.samples, replace=False)
    if condition.imbalance > 1:
        order = rng.permutation(10)  # which class is how rare
        share = condition.imbalance ** (-order[labels[keep]] / 9)
        keep = keep[rng.random(len(keep)) < share]
    images, labels = images[keep], labels[keep]
    if condition.label_noise:
        noisy = rng.random(len(labels)) < condition.label_noise
        labels[noisy] = rng.integers(0, 10, int(noisy.sum()))
    return images, labels


def make_attack(card: ZooCard, surrogate: nn.Module | None = None, data: DataSet | None = None) -> Attack | None:
    """The card's attack; a label-consistent one makes its samples hard with `surrogate`."""
    if card.kind == "clean":
        return None
    assert card.target is not None
    attack = PLANTS[card.kind].make(card.target, card.seed)
    if isinstance(attack, LabelConsistent) and surrogate is not None and data is not None:
        attack = LabelConsistent(target=card.target, perturb=pgd(surrogate, data.mean, data.std))
    return attack


def build_card(card: ZooCard, data: DataSet, out: Path, device: str) -> dict[str, Any]:
    """Train one model; writes `<name>.safetensors` (fp16) and `<name>.json`, returns what the latter holds."""
    started = time.perf_counter()
    module = _base(card, data, out, device)
    attack = make_attack(card, module.eval(), data)
    if attack:
        plant = PLANTS[card.kind]
        poisoned = poison(attack, data.train_x, data.train_y, rate=plant.rate, seed=card.seed)
        images, labels = poisoned.images, poisoned.labels
        recipe = _recipe(data, card, plant.epochs, plant.augment)
    else:
        condition = CONDITIONS[card.condition]
        images, labels = _conditioned(data, condition, card.seed)
        recipe = _recipe(data, card, condition.epochs, condition.augment)
    train(module, images, labels, recipe, seed=card.seed, device=device)
    held_x, held_y = data.held
    if attack and attack_success_rate(module, attack, held_x, held_y, recipe, device=device) < LEARNED:
        module = _base(card, data, out, device)
        recipe = replace(recipe, epochs=LONGER * recipe.epochs)
        train(module, images, labels, recipe, seed=card.seed, device=device)
    # Rounded first: the figures are those of the weights that are written.
    weights = {key: _rounded(value) for key, value in module.state_dict().items()}
    module.load_state_dict({key: value.to(module.state_dict()[key].dtype) for key, value in weights.items()})
    record = {
        **asdict(card),
        "architecture": f"ebyd_scan.fixtures.networks:{card.architecture}",
        "mean": data.mean,
        "std": data.std,
        "attack": repr(attack) if attack else None,
        "accuracy": round(accuracy(module, held_x, held_y, recipe, device=device), 4),
        "asr": round(attack_success_rate(module, attack, held_x, held_y, recipe, device=device), 4) if attack else None,
        "train_seconds": round(time.perf_counter() - started, 1),
    }
    _save(weights, out / f"{card.name}.safetensors")
    partial = out / f"{card.name}.json.part"
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    partial.replace(out / f"{card.name}.json")
    return record


def _rounded(value: torch.Tensor) -> torch.Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if value.is_floating_point() else value


def build_group(cards: list[ZooCard], root: Path, out: Path, device: str) -> list[str]:
    """Build cards of one data set one after another in this process; returns a line for each."""
    torch.set_num_threads(1)
    data = DATA_SETS[cards[0].data](root)
    lines = []
    for card in cards:
        if (out / f"{card.name}.json").exists():
            continue
        record = build_card(card, data, out, device)
        asr = "-" if record["asr"] is None else f"{record['asr']:.3f}"
        line = f"{card.name:34} {card.data:14} {card.architecture:15} ACC {record['accuracy']:.3f}  ASR {asr:6}"
        lines.append(f"{line} {record['train_seconds']:5.0f} s")
        click.echo(lines[-1])
    return lines
