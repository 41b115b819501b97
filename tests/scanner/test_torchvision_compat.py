"""torchvision works where its compiled operators do not load; each case in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

USE = """
import torch
from ebyd_scan.scanner import torchvision_compat as compat
torchvision = compat.import_torchvision()
assert compat.import_torchvision() is torchvision
scores = torchvision.models.resnet18(num_classes=3).eval()(torch.zeros(1, 3, 32, 32))
from torchvision.transforms import v2
assert scores.shape == (1, 3) and v2.Resize(8)(torch.zeros(3, 16, 16)).shape == (3, 8, 8)
print(compat._library is not None)
"""


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_models_and_transforms_work_and_schemas_only_where_needed() -> None:
    ours = _run(USE)
    assert ours.returncode == 0, ours.stderr
    without_us = _run("import torchvision; torchvision.ops.nms")
    loads_by_itself = without_us.returncode == 0
    assert ours.stdout.strip() == str(not loads_by_itself)


def test_where_the_import_failed_before_it_works_now() -> None:
    failed = _run("import torchvision")
    if failed.returncode == 0:
        pytest.skip("torchvision's operators load here")
    assert "torchvision::nms" in failed.stderr
    assert _run(USE).returncode == 0
