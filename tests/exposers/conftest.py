"""The shipped digit models and their clean samples, for all exposers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import ebyd_scan.fixtures.digits as shipped  # noqa: E402
import numpy as np  # noqa: E402
from ebyd_scan.evidence.classifier import Classifier  # noqa: E402
from ebyd_scan.evidence.samples import CleanSamples, SamplePart  # noqa: E402
from ebyd_scan.fixtures.networks import plain_convnet  # noqa: E402
from ebyd_scan.fixtures.planter import to_pixels  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch import nn  # noqa: E402


def as_classifier(module: nn.Module, **changes: Any) -> Classifier:
    known = {"trainable": True, "has_batch_norm": True, "num_classes": 10, "mean": (0.3,), "std": (0.35,), **changes}
    return Classifier(module=module.eval(), device="cpu", architecture="x", **known)


def _shipped(name: str) -> Classifier:
    card = json.loads((shipped.MODELS / f"{name}.json").read_text())
    module = plain_convnet(**card["arch_args"])
    module.load_state_dict(load_file(shipped.MODELS / f"{name}.safetensors"))
    return as_classifier(module, mean=tuple(card["mean"]), std=tuple(card["std"]))


@pytest.fixture(scope="session")
def backdoored() -> Classifier:
    """A BadNets patch to label 7."""
    return _shipped("digits-badnets")


@pytest.fixture(scope="session")
def clean() -> Classifier:
    return _shipped("digits-clean")


@pytest.fixture(scope="session")
def digit_samples() -> CleanSamples:
    stored = np.load(shipped.MODELS / "digits-samples.npz")
    pixels, labels = to_pixels(stored["x"]), torch.from_numpy(stored["y"])
    return CleanSamples(
        path=Path("digits.npz"),
        sha256="0" * 64,
        num_classes=10,
        class_names=tuple(str(label) for label in range(10)),
        exposure=SamplePart(pixels[:200], labels[:200]),
        held_out=SamplePart(pixels[200:], labels[200:]),
    )
