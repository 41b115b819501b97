"""Digit models, one with a backdoor and one without: not those that are shipped, another seed and another target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TARGET = 2


@pytest.fixture(scope="session")
def digit_samples() -> Any:
    torch = pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from ebyd_scan.evidence.samples import CleanSamples, SamplePart
    from ebyd_scan.fixtures.digits import load_digits
    from ebyd_scan.fixtures.planter import to_pixels

    digits = load_digits()
    pixels, labels = to_pixels(digits.sample_x), torch.from_numpy(digits.sample_y)
    return CleanSamples(
        path=Path("digits.npz"),
        sha256="0" * 64,
        num_classes=10,
        class_names=tuple(f"digit {label}" for label in range(10)),
        exposure=SamplePart(pixels[:200], labels[:200]),
        held_out=SamplePart(pixels[200:], labels[200:]),
    )


def _planted(attack: Any, seed: int) -> Any:
    import torch
    from ebyd_scan.evidence.classifier import Classifier
    from ebyd_scan.fixtures.digits import RECIPE, load_digits, plant

    torch.set_num_threads(1)
    return Classifier(
        module=plant(load_digits(), attack, seed=seed).eval(),
        num_classes=10,
        mean=RECIPE.mean,
        std=RECIPE.std,
        device="cpu",
        architecture="digits",
        trainable=True,
        has_batch_norm=True,
    )


@pytest.fixture(scope="session")
def backdoored_digits(digit_samples: Any) -> Any:
    from ebyd_scan.fixtures.attacks.badnets import BadNets

    return _planted(BadNets(target=TARGET), seed=14)


@pytest.fixture(scope="session")
def clean_digits(digit_samples: Any) -> Any:
    return _planted(None, seed=12)
