"""Exposers work with batch statistics and without noise, whichever way a network brings its noise in."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402
from ebyd_scan.exposers.common import batches, training_mode  # noqa: E402
from ebyd_scan.scanner.models.architecture import build_architecture  # noqa: E402
from ebyd_scan.scanner.torchvision_compat import import_torchvision  # noqa: E402
from torch import Tensor, nn  # noqa: E402

X = torch.rand(8, 4, 6, 6, generator=torch.Generator().manual_seed(0))


class DropPath(nn.Module):
    """As timm and transformers write it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, training=self.training)


class SwinDropPath(DropPath):
    """transformers puts the model's name before it."""


class Residual(nn.Module):
    def __init__(self, noise: nn.Module) -> None:
        super().__init__()
        self.norm, self.noise = nn.BatchNorm2d(4), noise

    def forward(self, x: Tensor) -> Tensor:
        return x + self.noise(self.norm(x))


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).mT
        return x + self.attention(tokens, tokens, tokens)[0].mT.view_as(x)


def _stochastic_depth() -> nn.Module:
    import_torchvision()
    from torchvision.ops import StochasticDepth

    return StochasticDepth(0.5, "row")


@pytest.mark.parametrize(
    "make",
    [_stochastic_depth, DropPath, SwinDropPath, Attends, nn.Dropout, nn.Dropout3d, nn.AlphaDropout, nn.RReLU],
    ids=lambda make: make.__name__,
)
def test_noise_is_off_and_batch_statistics_are_on(make: Any) -> None:
    net = Residual(make())
    assert not torch.equal(net.train()(X), net(X)), "the noise is not there to begin with"
    training_mode(net)
    assert torch.equal(net(X), net(X))
    assert net.norm.training
    before = net.norm.running_mean.clone()
    net(X)
    assert not torch.equal(before, net.norm.running_mean)


def test_noise_inside_of_which_something_normalises() -> None:
    class PatchDropout(DropPath):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.norm(x))

    net = PatchDropout()
    training_mode(net)
    assert torch.equal(net(X), net(X))
    assert net.norm.training


def test_scripted_networks() -> None:
    net = torch.jit.script(Residual(nn.Dropout(0.5)))
    training_mode(net)
    assert torch.equal(net(X), net(X))
    assert net.norm.training


def test_functional_dropout_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.ViTConfig(
        **shape, image_size=8, patch_size=4, attention_probs_dropout_prob=0.5, hidden_dropout_prob=0.5
    )
    net = transformers.ViTForImageClassification(config)
    x = torch.rand(2, 3, 8, 8)
    assert not torch.equal(net.train()(x).logits, net(x).logits)
    training_mode(net)
    assert torch.equal(net(x).logits, net(x).logits)


def test_batch_norm_of_transformers_stays_on() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    net = transformers.ResNetForImageClassification(config)
    training_mode(net)
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    assert norms and all(norm.training for norm in norms)


def test_functional_dropout_of_torchvision_and_timm() -> None:
    pytest.importorskip("timm")
    torch.manual_seed(0)
    x = torch.rand(2, 3, 32, 32)
    arguments: dict[str, dict[str, object]] = {
        "torchvision:densenet121": {"drop_rate": 0.5},
        "torchvision:swin_t": {"attention_dropout": 0.5},
        "timm:vit_tiny_patch16_224": {"img_size": 32, "attn_drop_rate": 0.5, "drop_path_rate": 0.5},
    }
    for spec, noise in arguments.items():
        net = build_architecture(spec, {"num_classes": 3, **noise})
        training_mode(net)
        assert torch.equal(net(x), net(x)), spec
        norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
        assert all(norm.training for norm in norms)


def test_timms_normalisation_stays_on() -> None:
    pytest.importorskip("timm")
    net = build_architecture("timm:efficientnet_b0", {"num_classes": 3})
    training_mode(net)
    norms = [part for part in net.modules() if "BatchNorm" in type(part).__name__]
    assert norms and all(norm.training for norm in norms)


def test_heads_that_small_pictures_do_not_fit() -> None:
    net = build_architecture("torchvision:inception_v3", {"num_classes": 3})
    x = torch.rand(2, 3, 75, 75)
    with pytest.raises(RuntimeError, match="size"):
        net.train()(x)
    training_mode(net)
    assert net(x).shape == (2, 3)


@pytest.mark.parametrize("count", range(1, 12))
@pytest.mark.parametrize("size", [2, 3, 4, 32])
def test_no_batch_of_one(count: int, size: int) -> None:
    found = batches(count, size, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(found).tolist()) == list(range(count))
    assert min(map(len, found)) > 1 or count == 1
