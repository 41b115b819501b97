"""--architecture timm:NAME, and weights that come without the versions of their layers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ebyd_scan.evidence.errors import MissingExtra, ScanError, UsageError
from ebyd_scan.scanner.models.arch_args import parse_architecture, trusted_modules

torch = pytest.importorskip("torch")
from ebyd_scan.scanner.models.architecture import build_architecture  # noqa: E402
from ebyd_scan.scanner.models.checkpoint import fit  # noqa: E402
from ebyd_scan.scanner.models.identify import identify  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402


@pytest.mark.parametrize("name", ["resnet18", "resnet18.a1_in1k", "tf_efficientnetv2_b0.in1k", "vit_tiny_patch16_224"])
def test_names_of_timm(name: str) -> None:
    spec = parse_architecture(f"timm:{name}")
    assert (spec.kind, spec.name) == ("timm", name)
    assert trusted_modules(f"timm:{name}") == ()


def test_a_callable_in_timm_is_a_module_like_any_other() -> None:
    assert parse_architecture("timm.models.resnet:resnet18").kind == "module"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "hf-hub:timm/resnet18.a1_in1k",
        "hf_hub:timm/resnet18",
        "local-dir:model",
        "timm/resnet18",
        "../x",
        "a.b.c",
        ".",
    ],
)
def test_what_timm_would_fetch_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="nothing is downloaded"):
        parse_architecture(f"timm:{name}")


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtra, match=r"ebyd-scan\[timm\]"):
        build_architecture("timm:resnet18", {})


def test_timm_is_built_without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")

    def fetch(*_: object, **__: object) -> None:
        raise AssertionError("weights were asked for")

    monkeypatch.setattr(timm.models._builder, "load_pretrained", fetch)
    for name in ("resnet18", "resnet18.a1_in1k"):
        module = build_architecture(f"timm:{name}", {"num_classes": 3, "in_chans": 1, "pretrained": False})
        assert module.eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 3)
    module = build_architecture("timm:vit_tiny_patch16_224", {"num_classes": 3, "img_size": 32})
    assert module.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resne18", "no such model, did you mean resnet18"),
        ("qqqqqqqq", "no such model: it has"),
        ("resnet18.a4_in1k", "no such weights, did you mean resnet18.a"),
        ("resne18.a1_in1k", "no such model"),
    ],
)
def test_unknown_to_timm(name: str, said: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(ScanError, match=said):
        build_architecture(f"timm:{name}", {})


@pytest.mark.parametrize("argument", ["pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path"])
def test_weights_of_timm_are_refused(argument: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(ScanError, match=f"{argument}: weights come from the scanned file only"):
        build_architecture("timm:resnet18", {argument: "model.pth"})


def test_an_argument_that_timm_does_not_take() -> None:
    pytest.importorskip("timm")
    with pytest.raises(ScanError, match="raised TypeError"):
        build_architecture("timm:resnet18", {"bogus": 1})


def test_weights_without_the_versions_of_layers(tmp_path: Path) -> None:
    """MNASNet refuses to load what torch.save has not given a version."""
    torch.manual_seed(0)
    spec, arguments = "torchvision:mnasnet0_5", {"num_classes": 3}
    state = build_architecture(spec, arguments).state_dict()
    save_file(state, tmp_path / "m.safetensors")
    module = build_architecture(spec, arguments)
    fit(identify(tmp_path / "m.safetensors"), module, load_file(tmp_path / "m.safetensors"), spec)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_a_state_dict_without_versions(tmp_path: Path) -> None:
    class Plain(torch.nn.Linear):
        def state_dict(self, *args: object, **kwargs: object) -> dict[str, object]:
            return dict(super().state_dict(*args, **kwargs))

    save_file({"weight": torch.ones(3, 2), "bias": torch.ones(3)}, tmp_path / "m.safetensors")
    module = Plain(2, 3)
    fit(identify(tmp_path / "m.safetensors"), module, load_file(tmp_path / "m.safetensors"), "x.py:Plain")
    assert bool((module.weight == 1).all())


def test_a_name_of_timm_imports_no_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ebyd_scan.scanner.models.whole_module import load_whole_module

    (tmp_path / "resnet18.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    torch.save(torch.nn.Linear(2, 3), tmp_path / "m.pt")
    assert load_whole_module(identify(tmp_path / "m.pt"), "timm:resnet18").out_features == 3
