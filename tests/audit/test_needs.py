"""Planning memory from the size of the weights."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ebyd_scan.scanner.audit.needs import GIB, gpus_needed, memory_needed, weights_within


def test_the_stated_formula() -> None:
    assert memory_needed(0) == 4 * GIB
    assert memory_needed(GIB) == 4 * GIB + 4 * GIB  # the least activations
    assert memory_needed(10 * GIB) == 40 * GIB + 15 * GIB


@pytest.mark.parametrize(
    ("weights", "gpu", "count"),
    [
        (45_000_000, 8 * GIB, 1),  # a ResNet-18
        (440_000_000, 16 * GIB, 1),  # a BERT base
        (28_000_000_000, 80 * GIB, 2),  # 7 billion parameters
        (28_000_000_000, 24 * GIB, 7),
        (10 * GIB, 56 * GIB, 1),  # just within
        (10 * GIB, 56 * GIB - 1, 2),
    ],
)
def test_gpus(weights: int, gpu: int, count: int) -> None:
    assert gpus_needed(weights, gpu) == count


def test_what_a_device_may_take_is_what_it_needs_memory_for() -> None:
    part = weights_within(56 * GIB)
    assert part == 10 * GIB and memory_needed(part) == 55 * GIB
    assert weights_within(GIB) == weights_within(0) == 0


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        gpus_needed(1, GIB)
    with pytest.raises(ValueError, match="-1 bytes"):
        memory_needed(-1)


def test_planning_needs_no_torch() -> None:
    code = (
        "import sys, ebyd_scan.scanner.audit.needs, ebyd_scan.scanner.models.placement; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr
