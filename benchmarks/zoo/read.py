"""Reads built models back: from the folder they were built in, or from the weights that are committed here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ...evidence.classifier import Classifier
from ...evidence.samples import CleanSamples, SamplePart
from ...fixtures import networks
from ...fixtures.planter import to_pixels
from .data import DataSet

MODELS = Path(__file__).parent / "models"


@dataclass(frozen=True)
class ZooModel:
    """A model's card, as it was written beside its weights."""

    path: Path
    card: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.card["name"])

    @property
    def clean(self) -> bool:
        return self.card["attack"] is None

    def classifier(self, device: str = "cpu") -> Classifier:
        """The model in eval mode, weights widened to fp32."""
        module = getattr(networks, self.card["architecture"].rpartition(":")[2])(**self.card["arch_args"])
        weights = load_file(self.path)
        module.load_state_dict({key: value.to(module.state_dict()[key].dtype) for key, value in weights.items()})
        return Classifier(
            module=module.to(device).eval(),
            num_classes=10,
            mean=tuple(self.card["mean"]),
            std=tuple(self.card["std"]),
            device=device,
            architecture=self.card["architecture"],
            trainable=True,
            has_batch_norm=any(isinstance(part, torch.nn.BatchNorm2d) for part in module.modules()),
        )


def models(folder: Path = MODELS, group: str | None = None) -> list[ZooModel]:
    """Every model in `folder` (of one half, if named), in the order of the cards."""
    found = []
    for path in sorted(folder.glob("*.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        if group is None or card["group"] == group:
            found.append(ZooModel(path.with_suffix(".safetensors"), card))
    return found


def clean_samples(data: DataSet, per_class: int, *, seed: int, held_out: int | None = None) -> CleanSamples:
    """`per_class` samples of each class to expose and search on, and `held_out` (as many, if not said) held out."""
    held_out = per_class if held_out is None else held_out
    images, labels = data.clean_samples(per_class + held_out, seed=seed)
    pixels, classes = to_pixels(images), torch.from_numpy(labels)
    exposure = torch.zeros(len(classes), dtype=torch.bool)
    for label in range(10):
        exposure[torch.nonzero(classes == label).flatten()[:per_class]] = True
    return CleanSamples(
        path=Path(data.name),
        sha256="0" * 64,
        num_classes=10,
        class_names=tuple(str(label) for label in range(10)),
        exposure=SamplePart(pixels[exposure], classes[exposure]),
        held_out=SamplePart(pixels[~exposure], classes[~exposure]),
    )
