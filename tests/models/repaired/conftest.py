"""A small network, its loader, and a change that stands for a repair."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from ebyd_scan.scanner.models.identify import identify  # noqa: E402
from ebyd_scan.scanner.models.load import load_classifier  # noqa: E402
from ebyd_scan.scanner.models.repaired.write import check_writable_format, write_repaired  # noqa: E402
from torch import nn  # noqa: E402

ARCHITECTURE = "ebyd_scan.tests.models.repaired.conftest:Net"


class Net(nn.Module):
    """Convolution, BatchNorm, a tied pair of layers."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)
        if tied:
            self.second.weight = self.first.weight

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.norm(self.conv(pixels))).mean((2, 3))
        return self.head(torch.relu(self.second(torch.relu(self.first(hidden)))))


def net(tied: bool = False) -> Net:
    """Drawn with a seed; BatchNorm has seen something."""
    torch.manual_seed(0)
    made = Net(tied)
    made(torch.rand(16, 3, 8, 8))
    return made.eval()


def load(path: Path, architecture: str | None = None, **more: Any) -> Any:
    """The artifact and its classifier."""
    settings: dict[str, Any] = {"architecture": architecture, "arch_args": {}, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    settings |= {"input_shape": (3, 8, 8), "device": "cpu", "allow_pickle": False}
    artifact = identify(path)
    return artifact, load_classifier(artifact, **settings | more)


def moved(classifier: Any, only: str = "") -> Any:
    """The classifier with other parameters and BatchNorm statistics, as a repair leaves them."""
    module = copy.deepcopy(classifier.module)
    with torch.no_grad():
        for index, (name, tensor) in enumerate(module.state_dict().items()):
            if only in name and tensor.is_floating_point():
                tensor.mul_(0.75).add_(0.01 * (index + 1))
            elif only in name:
                tensor.add_(3)
    return classifier.with_module(module)


@pytest.fixture
def repair(tmp_path: Path) -> Callable[..., Any]:
    """Load, change, write, load again; returns the path, what was written, the repaired and the new classifier."""

    def run(path: Path, architecture: str | None = None, only: str = "", samples: Any = None, **more: Any) -> Any:
        artifact, original = load(path, architecture, **more)
        check_writable_format(artifact)
        check_writable_format(artifact, original)
        repaired = moved(original, only)
        before = {name: tensor.clone() for name, tensor in original.module.state_dict().items()}
        folder = tmp_path / "staging"
        folder.mkdir()
        place = folder / f"repaired{path.suffix}"
        written = write_repaired(artifact, original, repaired, place, samples)
        assert all(t.equal(before[n]) for n, t in original.module.state_dict().items())
        again, loaded = load(place, architecture, **more)
        assert again.format == artifact.format and again.sha256 != artifact.sha256
        return place, written, repaired, loaded

    return run


def near(loaded: Any, repaired: Any, tolerance: float = 0.0) -> bool:
    """Whether the tensors of two classifiers are the same, up to rounding."""
    theirs = repaired.module.state_dict()
    return all(
        torch.allclose(t, theirs[n], rtol=tolerance, atol=tolerance) for n, t in loaded.module.state_dict().items()
    )
