"""Models over several devices. There need not be a GPU: see `pretended` and `SAME`."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from ebyd_scan.checks.trigger_inversion import invert_labels
from ebyd_scan.evidence.classifier import Classifier
from ebyd_scan.evidence.errors import MissingExtra, ScanError, UsageError
from ebyd_scan.evidence.samples import CleanSamples, SamplePart
from ebyd_scan.exposers.clean_unlearning import CleanUnlearning
from ebyd_scan.fixtures import networks
from ebyd_scan.scanner.audit.needs import GIB
from ebyd_scan.scanner.compute import resolve_device, tune
from ebyd_scan.scanner.models.outputs import return_scores
from ebyd_scan.scanner.models.placement import devices_of, place_over, put_on
from torch import nn

pytest.importorskip("accelerate")

SAME = ["cpu", "cpu"]  # two places on one device: the hooks and copies of a placed model, and figures to compare
NETWORKS = [f"small_{kind}" for kind in ("resnet", "vgg", "convnext", "mobilenet", "vit")]
NETWORKS += ["wide_resnet", "plain_convnet"]


def network(name: str = "wide_resnet") -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = getattr(networks, name)(num_classes=4)
    return made.eval()


def as_classifier(module: nn.Module) -> Classifier:
    norm = any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    return Classifier(module, 4, (0.5,) * 3, (0.25,) * 3, "cpu", "net", True, norm)


@pytest.fixture(scope="module")
def samples() -> CleanSamples:
    from pathlib import Path

    pixels = torch.rand(48, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(48) % 4
    half = SamplePart(pixels[:24], labels[:24]), SamplePart(pixels[24:], labels[24:])
    return CleanSamples(Path("noise"), "0" * 64, 4, tuple("abcd"), *half)


def pair(name: str = "wide_resnet") -> tuple[Classifier, Classifier]:
    plain = network(name)
    return as_classifier(plain), as_classifier(place_over(copy.deepcopy(plain), SAME))


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_and_gradients_are_equal(name: str, samples: CleanSamples) -> None:
    plain, placed = pair(name)
    assert len({hook.execution_device for hook in hooks_of(placed.module)}) == 1  # all on the CPU, by hooks
    for train in (False, True):
        found = []
        for classifier in (plain, placed):
            classifier.module.train(train)
            pixels = samples.exposure.pixels.clone().requires_grad_()
            torch.manual_seed(3)  # dropout
            scores = classifier.logits(pixels)
            gradients = torch.autograd.grad(scores.square().sum(), [pixels, *classifier.module.parameters()])
            found.append([scores.detach(), *gradients, *classifier.module.buffers()])
        assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_exposures_are_equal_and_the_original_is_left_alone(samples: CleanSamples) -> None:
    plain, placed = pair()
    before = copy.deepcopy(placed.module.state_dict())
    for classifier in (plain, placed):
        tune(classifier, samples)  # channels_last
    one, other = (CleanUnlearning(max_epochs=3).expose(which, samples, seed=5) for which in (plain, placed))
    assert one.run.model_dump(exclude={"seconds"}) == other.run.model_dump(exclude={"seconds"})
    assert one.classifier.same_tensors(other.classifier)
    assert not placed.same_tensors(other.classifier) and placed.same_tensors(plain)
    assert all(torch.equal(tensor, before[name]) for name, tensor in placed.module.state_dict().items())


@pytest.mark.parametrize("family", ["patch", "warp"])
def test_trigger_searches_are_equal(family: str, samples: CleanSamples) -> None:
    found = [
        invert_labels(which, samples.exposure, [0, 2], family=family, steps=8, batch_size=4, seed=1) for which in pair()
    ]
    for one, other in zip(*found, strict=True):
        assert (one.size, one.success, one.found) == (other.size, other.success, other.found)
        assert all(torch.equal(part, other.parts[name]) for name, part in one.parts.items())


def test_a_copy_is_placed_and_moves_by_itself() -> None:
    placed = place_over(network(), SAME)
    clone = copy.deepcopy(placed)
    assert clone.to.__self__ is clone  # type: ignore[attr-defined]  # accelerate's own stays with the original
    assert not {id(tensor) for tensor in placed.parameters()} & {id(tensor) for tensor in clone.parameters()}
    parts, hooks = set(map(id, clone.modules())), hooks_of(clone)
    assert hooks and all(hook.tied_params_map is None for hook in hooks)
    assert all(id(part.forward.args[0]) in parts for part in clone.modules() if hasattr(part, "_hf_hook"))
    assert devices_of(as_classifier(clone)) == "cpu+cpu"
    assert list(clone.state_dict()) == list(network().state_dict())


def hooks_of(module: nn.Module) -> list[Any]:
    return [part._hf_hook for part in module.modules() if hasattr(part, "_hf_hook")]


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., nn.Module]]:
    """Three devices that are not there, `cpu:0` to `cpu:2`: torch's fake tensors refuse to mix them as GPUs would."""
    import accelerate.hooks
    from torch._subclasses.fake_tensor import FakeTensorMode

    def move(module: Any, name: str, device: torch.device, **_: object) -> None:
        *path, last = name.split(".")
        for part in path:
            module = getattr(module, part)
        table = module._parameters if last in module._parameters else module._buffers
        tensor = table[last].detach().to(device)
        table[last] = tensor.requires_grad_() if last in module._parameters else tensor

    monkeypatch.setattr(accelerate.hooks, "set_module_tensor_to_device", move)

    def place(module: nn.Module) -> nn.Module:
        devices = [f"cpu:{number}" for number in range(3)]
        placed = place_over(module, devices, max_memory=dict.fromkeys(range(3), 80 * GIB))
        there = {str(tensor.device) for tensor in [*placed.parameters(), *placed.buffers()]}
        assert "cpu" not in there and "cpu:0" in there and len(there) > 1, there
        return return_scores(placed)

    with FakeTensorMode(allow_non_fake_inputs=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield place


def torchvision_model(name: str) -> nn.Module:
    from ebyd_scan.scanner.torchvision_compat import import_torchvision

    made: nn.Module = getattr(import_torchvision().models, name)(num_classes=4)
    return made.eval()


def text_model(kind: str, **more: Any) -> nn.Module:
    from ebyd_scan.scanner.models.huggingface import import_transformers

    transformers = import_transformers()
    config = getattr(transformers, f"{kind}Config")(vocab_size=200, pad_token_id=0, use_cache=False, **more)
    made: nn.Module = transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    return made.eval()


_SMALL = {"num_hidden_layers": 4, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
TEXTS: dict[str, dict[str, Any]] = {
    "Bert": _SMALL,
    "Roberta": _SMALL,
    "Electra": _SMALL | {"embedding_size": 32},
    "DistilBert": {"n_layers": 4, "dim": 32, "n_heads": 2, "hidden_dim": 64},
    "GPT2": {"n_layer": 4, "n_embd": 32, "n_head": 2},
    "Llama": _SMALL | {"num_key_value_heads": 2},
    "Qwen2": _SMALL | {"num_key_value_heads": 2},
}


@pytest.mark.parametrize(
    ("make", "side"),
    [pytest.param(lambda name=name: network(name), 32, id=name) for name in NETWORKS]
    + [pytest.param(lambda: torchvision_model("resnet18"), 64, id="resnet18")]
    + [
        pytest.param(lambda name=name: torchvision_model(name), side, id=name, marks=pytest.mark.slow)
        for name, side in (("densenet121", 64), ("convnext_tiny", 64), ("vit_b_16", 224))
    ],
)
def test_pictures_cross_devices(make: Callable[[], nn.Module], side: int, pretended: Callable[..., nn.Module]) -> None:
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    with unset_fake_temporarily():
        module = make()
    check_crossing(pretended(module), lambda placed: placed(torch.rand(2, 3, side, side, device="cpu:0")))


@pytest.mark.parametrize("kind", list(TEXTS))
def test_texts_cross_devices(kind: str, pretended: Callable[..., nn.Module]) -> None:
    pytest.importorskip("transformers")
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    with unset_fake_temporarily():
        module = text_model(kind, **TEXTS[kind])
    placed = pretended(module)
    assert str(placed.get_input_embeddings().weight.device) == "cpu:0"  # trigger words are put in there
    texts = torch.ones(2, 12, dtype=torch.long, device="cpu:0")
    check_crossing(placed, lambda placed: placed(input_ids=texts, attention_mask=texts))


def check_crossing(placed: nn.Module, run: Callable[[nn.Module], torch.Tensor]) -> None:
    for one in (placed, copy.deepcopy(placed)):
        scores = run(one)
        assert str(scores.device) == "cpu:0"
        scores.sum().backward()
        assert all(p.grad is None or p.grad.device == p.device for p in one.parameters())
        assert any(p.grad is not None for p in one.parameters())


def test_a_text_classifier_placed_over_a_group_scores_the_same(text_models: Any) -> None:
    from ebyd_scan.scanner.models.identify import identify
    from ebyd_scan.scanner.models.text_classifier import load_text_classifier
    from ebyd_scan.scanner.models.tokenizer import read_codec

    artifact = identify(text_models.clean)
    codec = read_codec(text_models.clean, None, text_models.clean)
    one, other = (load_text_classifier(artifact, codec, device) for device in ("cpu", "cpu+cpu"))
    texts = codec.encode(["a lovely film", "a boring plot with a weak end"])
    assert other.device == "cpu" and devices_of(other) == "cpu+cpu" and devices_of(one) == "cpu"
    assert torch.equal(one.logits(texts), other.logits(texts)) and one.same_tensors(other)


def test_what_does_not_fit_is_refused_with_what_is_missing() -> None:
    module = nn.Sequential(*(nn.Linear(256, 256) for _ in range(8)))
    with pytest.raises(ScanError, match=r"about 4\.01 GiB, and 1\.00 GiB are free on cpu, cpu: 3\.01 GiB are missing"):
        place_over(module, SAME, max_memory={0: GIB // 2, 1: GIB // 2})
    one_large = nn.Sequential(nn.Linear(1024, 1024))
    with pytest.raises(ScanError, match=r"and 5\.03 GiB are free on .*: 0\.\d\d GiB are missing for its layers"):
        place_over(one_large, ["cpu"] * 5, max_memory=dict.fromkeys(range(5), GIB + 6_000_000))
    assert not hooks_of(module) and not hooks_of(one_large)


def test_graphs_are_refused() -> None:
    with pytest.raises(ScanError, match="one graph"):
        place_over(torch.jit.trace(network(), torch.rand(1, 3, 16, 16)), SAME)


def test_without_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingExtra, match=r'pip install "ebyd-scan\[accelerate\]"'):
        put_on(network(), "cpu+cpu")


def test_groups_are_of_devices_that_are_there() -> None:
    assert resolve_device("cpu+cpu") == "cpu+cpu"
    for wrong in ("cuda:0+cpu", "cuda:0+cuda:0", "cuda+cuda:1", "auto+cpu"):
        with pytest.raises(UsageError, match="a group is of different GPUs"):
            resolve_device(wrong)
    if torch.cuda.device_count() < 99:
        with pytest.raises(UsageError, match="CUDA device"):
            resolve_device("cuda:0+cuda:98")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs: real memory and real transfers")
def test_two_gpus(samples: CleanSamples) -> None:
    from dataclasses import replace

    plain = replace(as_classifier(network().to("cuda:0")), device="cuda:0")
    placed = replace(as_classifier(place_over(network(), ["cuda:0", "cuda:1"])), device="cuda:0")
    assert {p.device.index for p in placed.module.parameters()} == {0, 1}
    pixels = samples.exposure.pixels.to("cuda:0")
    torch.testing.assert_close(plain.logits(pixels), placed.logits(pixels))
    one, other = (CleanUnlearning(max_epochs=2).expose(which, samples, seed=1) for which in (plain, placed))
    assert one.run.after and other.run.after and abs(one.run.after.accuracy - other.run.after.accuracy) < 0.1
    for which in (plain, placed):
        invert_labels(which, samples.exposure, [0, 1], family="patch", steps=8, batch_size=4, seed=1)
