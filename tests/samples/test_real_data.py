"""Real samples beside the repository, where they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from ebyd_scan.scanner.samples.load import check_against_model, load_samples

CIFAR10 = Path(__file__).parents[3] / "shared" / "data" / "cifar10" / "test.npz"


@pytest.mark.data
@pytest.mark.skipif(not CIFAR10.exists(), reason=f"needs CIFAR-10 in {CIFAR10.parent.name}, beside the repository")
def test_cifar10_is_taken_as_it_is() -> None:
    options = {"num_classes": None, "size": None, "channels": None, "held_out": 0.5, "min_per_class": 5}
    samples = check_against_model(load_samples(CIFAR10, seed=0, max_count=200, **options), 10)
    assert samples.exposure.pixels.shape == (100, 3, 32, 32)
    assert len(samples.held_out) == 100
    assert samples.exposure.labels.bincount().tolist() == [10] * 10
