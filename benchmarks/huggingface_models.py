"""Trains small Hugging Face image classifiers on CIFAR-10, clean and backdoored, and saves each as its own folder.

    python -m ebyd_scan.benchmarks.huggingface_models --data ../shared/data --out work/huggingface

Configurations are small and start from random weights: no hub is asked. Of every architecture there are six: a clean
one, one with a patch and one with a blended pattern for choosing settings, and the same with another seed and other
targets for measuring. The three of a half share a base network of a few clean epochs, and each is trained on from
there, as in `benchmarks.zoo`. Killed, it goes on where it was.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..fixtures.attacks.badnets import BadNets
from ..fixtures.attacks.blend import Blend
from ..fixtures.attacks.interface import Attack, poison
from ..fixtures.planter import Recipe, accuracy, attack_success_rate, train
from ..scanner.torchvision_compat import import_torchvision
from .zoo.build import LEARNED, LONGER
from .zoo.data import DataSet, cifar10

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HALVES = {"choosing": 11, "reporting": 12}  # and the seed of each
KINDS = ("clean", "badnets", "blend")
TRAINING_IMAGES = 12_000
BASE_EPOCHS, OWN_EPOCHS = 4, 3


@dataclass(frozen=True)
class Kind:
    """A configuration of transformers and the image processor that goes with it."""

    config: str
    processor: str
    options: dict[str, Any]
    size: int = 32  # pixels a side that the processor makes of a picture
    mean_std: tuple[float, float] = (0.5, 0.25)
    learning_rate: float = 2e-3
    longer: int = 1  # times the epochs that the others take

    @property
    def flips(self) -> bool:
        """Whether the processor turns RGB into BGR."""
        return self.processor == "MobileViTImageProcessor"


_VIT = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128, "patch_size": 4}
ARCHITECTURES: dict[str, Kind] = {
    "vit": Kind("ViTConfig", "ViTImageProcessor", _VIT),
    "deit": Kind(
        "DeiTConfig",
        "DeiTImageProcessor",
        {**_VIT, "num_hidden_layers": 3, "architectures": ["DeiTForImageClassification"]},
    ),
    "convnext": Kind(
        "ConvNextConfig",
        "ConvNextImageProcessor",
        {"hidden_sizes": [24, 32, 48, 64], "depths": [1, 1, 1, 1], "patch_size": 2},
    ),
    "resnet": Kind(
        "ResNetConfig",
        "ConvNextImageProcessor",
        {
            "embedding_size": 16,
            "hidden_sizes": [16, 32, 64, 96],
            "depths": [1, 1, 1, 1],
            "layer_type": "basic",
        },
        size=48,
        learning_rate=4e-3,
    ),
    "swin": Kind(
        "SwinConfig",
        "ViTImageProcessor",
        {"patch_size": 2, "embed_dim": 24, "depths": [1, 1, 1], "num_heads": [2, 4, 4], "window_size": 4},
    ),
    "mobilevit": Kind(
        "MobileViTConfig",
        "MobileViTImageProcessor",
        {
            "hidden_sizes": [48, 48, 48],
            "neck_hidden_sizes": [16, 16, 24, 32, 48, 64, 96],
            "intermediate_size": 64,
            "output_stride": 32,
            "expand_ratio": 2.0,
        },
        size=48,
        mean_std=(0.0, 1.0),
        learning_rate=3e-3,
        longer=2,
    ),
}


class _Scores(nn.Module):
    """The scores alone, of pixels that the loader scales to the model's size."""

    def __init__(self, model: nn.Module, size: int, flip: bool) -> None:
        super().__init__()
        self.model, self.size, self.flip = model, size, flip

    def forward(self, pixels: Tensor) -> Tensor:
        if pixels.shape[-1] != self.size:
            pixels = nn.functional.interpolate(pixels, self.size, mode="bilinear", align_corners=False, antialias=True)
        scores: Tensor = self.model(pixel_values=pixels.flip(1) if self.flip else pixels).logits
        return scores


def make(name: str) -> tuple[nn.Module, Any]:
    """A model of fresh weights and its image processor."""
    import_torchvision()
    import transformers

    kind = ARCHITECTURES[name]
    config = getattr(transformers, kind.config)(
        image_size=kind.size, num_labels=len(LABELS), id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)}, **kind.options,
    )  # fmt: skip
    model = transformers.AutoModelForImageClassification.from_config(config)
    if name == "mobilevit":  # its convolutions start at 0.02, which a short training does not get away from
        for part in model.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out")
    mean, std = kind.mean_std
    sides = {"height": kind.size, "width": kind.size}
    given: dict[str, Any] = {"image_mean": [mean] * 3, "image_std": [std] * 3, "resample": 2}
    if kind.processor == "MobileViTImageProcessor":
        given = {"size": {"shortest_edge": kind.size}, "crop_size": sides, "resample": 2}
    elif kind.processor == "ConvNextImageProcessor":
        given |= {"size": {"shortest_edge": kind.size}, "crop_pct": 1.0}
    else:
        given |= {"size": sides, "do_center_crop": False}
    return model, getattr(transformers, kind.processor)(**given)


def attack_of(kind: str, name: str, seed: int) -> Attack | None:
    """The attack of a model; each architecture has a target of its own."""
    target = (3 * list(ARCHITECTURES).index(name) + seed + (kind == "blend")) % 10
    if kind == "clean":
        return None
    return BadNets(target=target) if kind == "badnets" else Blend(target=target, pattern_seed=seed)


def _base(name: str, half: str, data: DataSet, recipe: Recipe, out: Path) -> tuple[nn.Module, Any]:
    """The early network of an architecture and a half, and its image processor; trained once, then read."""
    spec = ARCHITECTURES[name]
    seed = 100 * HALVES[half] + 10 * list(ARCHITECTURES).index(name)
    torch.manual_seed(seed)
    model, processor = make(name)
    path = out / "bases" / f"{half}-{name}.safetensors"
    if path.exists():
        model.load_state_dict(load_file(path))
    else:
        module = _Scores(model, spec.size, spec.flips)
        train(module, data.train_x, data.train_y, replace(recipe, epochs=BASE_EPOCHS * spec.longer), seed=seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return model, processor


def build(name: str, half: str, kind: str, data: DataSet, out: Path) -> dict[str, Any]:
    """Train one model, write its folder and, beside it, what is known about it."""
    started = time.perf_counter()
    seed = 100 * HALVES[half] + 10 * list(ARCHITECTURES).index(name) + 1 + KINDS.index(kind)
    spec = ARCHITECTURES[name]
    mean, std = spec.mean_std
    recipe = Recipe(
        epochs=OWN_EPOCHS * spec.longer,
        optimizer="adamw",
        learning_rate=spec.learning_rate,
        weight_decay=0.05,
        mean=(mean,) * 3,
        std=(std,) * 3,
    )
    model, processor = _base(name, half, data, recipe, out)
    module = _Scores(model, spec.size, spec.flips)
    attack = attack_of(kind, name, HALVES[half])
    images, labels = data.train_x, data.train_y
    if attack:
        poisoned = poison(attack, images, labels, rate=0.1, seed=seed)
        images, labels = poisoned.images, poisoned.labels
    train(module, images, labels, recipe, seed=seed)
    held_x, held_y = data.held
    if attack and attack_success_rate(module, attack, held_x, held_y, recipe) < LEARNED:
        recipe = replace(recipe, epochs=LONGER * recipe.epochs)  # it was not learned: on with it, and longer
        train(module, images, labels, recipe, seed=seed)
    folder = out / f"{half}-{name}-{kind}"
    model.save_pretrained(folder)  # type: ignore[operator]
    processor.save_pretrained(folder)
    record = {
        "name": folder.name,
        "architecture": name,
        "half": half,
        "attack": repr(attack) if attack else None,
        "target": attack.target if attack else None,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "accuracy": round(accuracy(module, held_x, held_y, recipe), 4),
        "asr": round(attack_success_rate(module, attack, held_x, held_y, recipe), 4) if attack else None,
        "train_seconds": round(time.perf_counter() - started, 1),
    }
    (out / f"{folder.name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("work/huggingface"))
@click.option("--only", multiple=True, help="Build only models whose name holds this text; may be repeated.")
def main(data: Path, out: Path, only: tuple[str, ...]) -> None:
    """Build what is not in OUT yet, one after the other on one thread, and print a line for each."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    pictures = cifar10(data, TRAINING_IMAGES)
    for kind in KINDS:
        for half in HALVES:
            for name in ARCHITECTURES:
                path = out / f"{half}-{name}-{kind}.json"
                if path.exists() or (only and not any(text in path.name for text in only)):
                    continue
                record = build(name, half, kind, pictures, out)
                asr = "-" if record["asr"] is None else f"{record['asr']:.3f}"
                click.echo(
                    f"{record['name']:30} {record['parameters']:8,} parameters  ACC {record['accuracy']:.3f}  "
                    f"ASR {asr:6} {record['train_seconds']:5.0f} s"
                )


if __name__ == "__main__":
    main()
