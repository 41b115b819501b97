"""The count of activations, which docs/scaling.md rests on where nothing can be run."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")
from ebyd_scan.benchmarks.search_memory import counted, measure
from ebyd_scan.evidence import at_once


def test_a_residual_network_holds_four_times_as_much_for_twice_the_side() -> None:
    small, large = (counted("resnet-18", side, weights=False) for side in (64, 128))
    assert large == pytest.approx(4 * small, rel=0.02)
    # its first convolution alone gives 64 planes of half the side, and what BatchNorm and ReLU need of them
    assert small > 2 * 4 * 64 * 32 * 32


def test_gradients_of_the_weights_hold_more_where_layers_are_linear() -> None:
    assert counted("vit-s", 64, weights=True) > 1.2 * counted("vit-s", 64, weights=False)


def test_a_step_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_once, "PIXELS", at_once.PIXELS)  # so that it is put back
    found = measure("resnet-18", 32, 1 << 12)
    assert at_once.PIXELS == 1 << 12  # four pictures of 32x32
    assert found["peak"] >= 0 and found["cpu"] > 0
