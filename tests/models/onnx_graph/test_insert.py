"""BatchNorm that an exporter folded, inserted again: the same scores, and batch statistics where they are wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
from ebyd_scan.evidence.artifact import Artifact  # noqa: E402
from ebyd_scan.scanner.models.onnx_file import load_onnx  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.insert import insert_batch_norm, lacks_normalisation  # noqa: E402
from torch import nn  # noqa: E402

SHAPE = (3, 12, 12)


class _Net(nn.Module):
    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=not norm)
        self.norm: nn.Module = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=not norm)
        self.other: nn.Module = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.other(self.second(x))) + x
        return self.fc(x.mean((2, 3)))


def _trained_norms(net: _Net) -> _Net:
    """Statistics, scales and shifts as training leaves them."""
    torch.manual_seed(1)
    for part in (net.norm, net.other):
        part.running_mean.normal_()  # type: ignore[union-attr,operator]
        part.running_var.uniform_(0.5, 2)  # type: ignore[union-attr,operator]
        nn.init.uniform_(part.weight, 0.5, 2)  # type: ignore[arg-type]
        nn.init.normal_(part.bias)  # type: ignore[arg-type]
    return net.eval()


def _load(path: Path) -> Any:
    return load_onnx(Artifact(path=path, format="onnx", sha256="0" * 64, size=1), SHAPE)


def test_scores_stay_and_train_mode_normalises(export: Callable[..., Path]) -> None:
    torch.manual_seed(0)
    net = _trained_norms(_Net())
    pixels = torch.rand(64, *SHAPE)
    module = _load(export(net, SHAPE))
    assert lacks_normalisation(module.plan) and not module.batch_norms()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    inserted = insert_batch_norm(module, pixels)
    assert len(inserted.batch_norms()) == 2 and not lacks_normalisation(inserted.plan)
    assert torch.allclose(inserted(pixels), net(pixels), atol=1e-5)
    other = torch.rand(64, *SHAPE) * 3 - 1  # the samples only set statistics, the scores hold for every input
    assert torch.allclose(inserted(other), net(other), atol=1e-4)
    inserted.train()
    net.train()
    shifted = pixels * 2 + 1
    # Batch statistics undo what a shift of the input does to a convolution, as they did before folding.
    assert (inserted(shifted) - module(shifted)).abs().max() > 10 * (inserted(shifted) - inserted(pixels)).abs().max()
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_quiet_channels_are_made_louder(export: Callable[..., Path]) -> None:
    """A channel that hardly moves on clean samples moves more; one that never moves stays silent."""
    net = _Net(norm=False)
    with torch.no_grad():
        net.first.weight[0] *= 0.01
        net.first.weight[1] = 0
    pixels = torch.rand(64, *SHAPE)
    module = _load(export(net.eval(), SHAPE))
    even, plain = insert_batch_norm(module, pixels, even=True), insert_batch_norm(module, pixels)
    first = next(node for node in even.plan.nodes if node.operator == "BatchNormalization")

    def scale(of: Any) -> Any:
        return getattr(of, next(key for key, name in of.names.items() if name == first.inputs[1]))

    assert scale(even)[0] > 3 * scale(plain)[0]
    assert scale(even)[1] == scale(plain)[1]
    assert scale(even).std() < scale(plain).std()
    shift = next(key for key, name in even.names.items() if name == first.inputs[2])
    assert torch.equal(getattr(even, shift), getattr(plain, shift))


def test_gradients_and_copies(export: Callable[..., Path]) -> None:
    import copy

    module = insert_batch_norm(_load(export(_trained_norms(_Net()), SHAPE)), torch.rand(16, *SHAPE))
    twin = copy.deepcopy(module).train()
    twin(torch.rand(8, *SHAPE)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in twin.parameters())
    assert all(parameter.grad is None for parameter in module.parameters())


class _ChannelNorm(nn.LayerNorm):
    def forward(self, x: Any) -> Any:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    "norm", [nn.InstanceNorm2d(8, affine=True), nn.GroupNorm(2, 8), nn.BatchNorm2d(8), _ChannelNorm(8)]
)
def test_a_graph_that_normalises_is_left_alone(norm: nn.Module, export: Callable[..., Path]) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()
    new = isinstance(norm, nn.BatchNorm2d)
    more: dict[str, Any] = {"opset_version": 13} if isinstance(norm, nn.LayerNorm) else {}
    more |= {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False} if new else {}
    module = _load(export(net, SHAPE, **more))
    assert not lacks_normalisation(module.plan)
    linear = _load(export(nn.Sequential(nn.Flatten(), nn.Linear(432, 4)).eval(), SHAPE))
    assert not lacks_normalisation(linear.plan)  # nothing to insert it after
