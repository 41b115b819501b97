"""Every format to a classifier, and every way in which that goes wrong to one sentence."""

from __future__ import annotations

import argparse
import copy
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.evidence.classifier import Classifier
from ebyd_scan.evidence.errors import ScanError, UsageError

torch = pytest.importorskip("torch")
import numpy as np  # noqa: E402
from ebyd_scan.scanner.models.identify import identify  # noqa: E402
from ebyd_scan.scanner.models.load import load_classifier  # noqa: E402
from ebyd_scan.scanner.torchvision_compat import import_torchvision  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=4, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 5, 3)
        self.bn = nn.BatchNorm2d(5)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(5, num_classes)

    def forward(self, x):
        return self.fc(self.drop(torch.relu(self.bn(self.conv(x))).mean((2, 3))))

class Wrapped(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.net, self.how = Net(), how

    def forward(self, x):
        y = self.net(x)
        return {"dict": {"logits": y, "z": y}, "tuple": (y, y[:, :, None]), "two": (y, y + 1), "one": y[:, :1],
                "text": "no", "rank": y[:, :, None], "nan": y * float("nan"), "int": y.argmax(1)}[self.how]

def broken():
    raise ValueError("first line\\nsecond line")

def leaves():
    raise SystemExit(3)

def number():
    return 7

not_callable = 3
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arch") / "nets_for_load_tests.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def net(source: Path) -> nn.Module:
    from ebyd_scan.scanner.models.architecture import build_architecture

    module = build_architecture(f"{source}:Net", {})
    with torch.no_grad():
        module.bn.running_mean.normal_()
        module.bn.running_var.uniform_(0.5, 2)
    return module.eval()


PIXELS = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def load(path: Path, architecture: str | None = None, **options: Any) -> Classifier:
    settings: dict[str, Any] = {
        "arch_args": {},
        "mean": (0.5,) * 3,
        "std": (0.25,) * 3,
        "input_shape": (3, 8, 8),
        "device": "cpu",
        "allow_pickle": False,
    }
    return load_classifier(identify(path), architecture=architecture, **settings | options)


def fails(path: Path, architecture: str | None = None, *words: str, **options: Any) -> str:
    with pytest.raises(ScanError) as caught:
        load(path, architecture, **options)
    message = str(caught.value)
    assert "\n" not in message, message
    for word in words:
        assert word in message, message
    return message


def expected(net: nn.Module) -> Tensor:
    with torch.no_grad():
        return copy.deepcopy(net).eval()((PIXELS - 0.5) / 0.25)


def assert_trains(classifier: Classifier) -> None:
    """A deep copy learns in train mode, moves its BatchNorm, and leaves the original alone."""
    before = {name: value.clone() for name, value in classifier.module.state_dict().items()}
    module = copy.deepcopy(classifier.module)
    worker = classifier.with_module(module)
    module.train()
    assert not torch.equal(worker.logits(PIXELS), worker.logits(PIXELS)), "dropout is off in train mode"
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(worker.logits(PIXELS), torch.tensor([0, 1, 2, 3])).backward()
        optimizer.step()
    module.eval()
    assert torch.equal(worker.logits(PIXELS), worker.logits(PIXELS))
    after = module.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("running_mean" in name for name in moved) and any("fc.weight" in name for name in moved)
    assert all(torch.equal(before[name], value) for name, value in classifier.module.state_dict().items())
    assert all(parameter.grad is None for parameter in classifier.module.parameters())
    again = copy.deepcopy(module).train()  # a copy of a copy, as several exposers in a row make them
    assert not torch.equal(worker.with_module(again).logits(PIXELS), worker.with_module(again).logits(PIXELS))


def save_as(kind: str, net: nn.Module, path: Path) -> None:
    dynamic = ({0: torch.export.Dim("batch")},)
    match kind:
        case "zip":
            torch.save(net.state_dict(), path)
        case "legacy":
            torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False)
        case "safetensors":
            save_file(net.state_dict(), path)
        case "traced":
            torch.jit.save(torch.jit.trace(net, torch.zeros(1, 3, 8, 8)), path)
        case "scripted":
            torch.jit.save(torch.jit.script(net), path)
        case "exported":
            torch.export.save(torch.export.export(net, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=dynamic), path)
        case "decomposed":
            program = torch.export.export(net, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=dynamic)
            torch.export.save(program.run_decompositions(), path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "traced", "scripted", "exported", "decomposed"])
def test_format_loads_trains_and_copies(kind: str, net: nn.Module, source: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    save_as(kind, net, path)
    weights_only = kind in ("zip", "legacy", "safetensors")
    classifier = load(path, f"{source}:Net" if weights_only else None)
    assert torch.allclose(classifier.logits(PIXELS), expected(net), atol=1e-6)
    assert classifier.num_classes == 4 and classifier.trainable and classifier.has_batch_norm
    assert not classifier.normalisation_frozen and not classifier.module.training
    if kind != "decomposed":  # run_decompositions drops an eval mode's dropout from the graph
        assert_trains(classifier)
    else:
        module = copy.deepcopy(classifier.module).train()
        classifier.with_module(module).logits(PIXELS).sum().backward()
        name = next(name for name in module.state_dict() if name.endswith("running_mean"))
        assert not torch.equal(module.state_dict()[name], classifier.module.state_dict()[name])


def test_resnet18_saved_six_ways(tmp_path: Path) -> None:
    import_torchvision()
    from torchvision.models import resnet18

    net = resnet18(weights=None, num_classes=10).eval()
    save_file(net.state_dict(), tmp_path / "a.safetensors")
    torch.save(net.state_dict(), tmp_path / "b.pt")
    torch.save(net.state_dict(), tmp_path / "c.pt", _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.trace(net, torch.zeros(1, 3, 32, 32)), tmp_path / "d.pt")
    torch.jit.save(torch.jit.script(net), tmp_path / "e.pt")
    program = torch.export.export(net, (torch.zeros(2, 3, 32, 32),), dynamic_shapes=({0: torch.export.Dim("n")},))
    torch.export.save(program, tmp_path / "f.pt2")
    torch.save(net, tmp_path / "g.pt")
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        want = net((pixels - 0.5) / 0.25)
        for path in sorted(tmp_path.iterdir()):
            weights_only = path.name[0] in "abc"
            classifier = load(
                path,
                "torchvision:resnet18" if weights_only else None,
                arch_args={"num_classes": 10} if weights_only else {},
                input_shape=(3, 32, 32),
                allow_pickle=path.name == "g.pt",
            )
            assert torch.allclose(classifier.logits(pixels), want, atol=1e-5), path
            assert classifier.num_classes == 10 and classifier.trainable and not classifier.normalisation_frozen


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "module.module."]
)
@pytest.mark.parametrize("key", [None, "state_dict", "model", "net", "model_state_dict", "model_ema"])
def test_prefixes_and_keys(prefix: str, key: str | None, net: nn.Module, source: Path, tmp_path: Path) -> None:
    state = OrderedDict((prefix + name, value) for name, value in net.state_dict().items())
    torch.save(state if key is None else {key: state, "epoch": 7}, tmp_path / "m.pt")
    assert torch.allclose(load(tmp_path / "m.pt", f"{source}:Net").logits(PIXELS), expected(net), atol=1e-6)


def test_compiled_submodule_and_average(net: nn.Module, source: Path, tmp_path: Path) -> None:
    state = {name.replace("conv.", "conv._orig_mod."): value for name, value in net.state_dict().items()}
    wrong = {name: value + 1 for name, value in net.state_dict().items()}
    torch.save({"model_ema": wrong, "state_dict": state}, tmp_path / "m.pt")
    assert torch.allclose(load(tmp_path / "m.pt", f"{source}:Net").logits(PIXELS), expected(net), atol=1e-6)
    swa = torch.optim.swa_utils.AveragedModel(net)
    torch.save(swa.state_dict(), tmp_path / "m.pt")
    assert torch.allclose(load(tmp_path / "m.pt", f"{source}:Net").logits(PIXELS), expected(net), atol=1e-6)


@pytest.mark.parametrize("legacy", [False, True])
def test_values_beside_the_weights(legacy: bool, net: nn.Module, source: Path, tmp_path: Path) -> None:
    optimizer = torch.optim.Adam(net.parameters())
    net((PIXELS - 0.5) / 0.25).sum().backward()
    optimizer.step()
    checkpoint = {
        "state_dict": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "best_acc": np.float64(0.5),
        "f32": np.float32(0.5),
        "count": np.int64(5),
        "confusion": np.eye(2),
        "args": argparse.Namespace(lr=0.1, out=Path("x")),
        "size": torch.zeros(2, 3).size(),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
    }
    torch.save(checkpoint, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
    assert torch.allclose(load(tmp_path / "m.pt", f"{source}:Net").logits(PIXELS), expected(net), atol=1e-6)


def test_numpy_state_dict_and_old_numpy_spelling(net: nn.Module, source: Path, tmp_path: Path) -> None:
    torch.save({name: value.numpy() for name, value in net.state_dict().items()}, tmp_path / "m.pt")
    assert torch.allclose(load(tmp_path / "m.pt", f"{source}:Net").logits(PIXELS), expected(net), atol=1e-6)
    torch.save({"state_dict": net.state_dict(), "best": np.float64(1)}, tmp_path / "new.pt")
    with zipfile.ZipFile(tmp_path / "new.pt") as new, zipfile.ZipFile(tmp_path / "old.pt", "w") as old:
        for name in new.namelist():
            old.writestr(name, new.read(name).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert load(tmp_path / "old.pt", f"{source}:Net").num_classes == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype: Any, net: nn.Module, source: Path, tmp_path: Path) -> None:
    save_file(
        {name: v.to(dtype) if v.is_floating_point() else v for name, v in net.state_dict().items()}, tmp_path / "m"
    )
    classifier = load(tmp_path / "m", f"{source}:Net")
    assert {parameter.dtype for parameter in classifier.module.parameters()} == {torch.float32}
    assert torch.allclose(classifier.logits(PIXELS), expected(net), atol=0.1)


def test_old_checkpoint_without_num_batches_tracked(net: nn.Module, source: Path, tmp_path: Path) -> None:
    state = net.state_dict()
    del state["bn.num_batches_tracked"]
    torch.save(state, tmp_path / "m.pt")
    assert load(tmp_path / "m.pt", f"{source}:Net").num_classes == 4


def test_weights_that_do_not_fit(net: nn.Module, source: Path, tmp_path: Path) -> None:
    path, arch = tmp_path / "m.pt", f"{source}:Net"
    torch.save(net.state_dict(), path)
    fails(path, None, "--architecture", "conv.weight", "9 tensors")
    fails(path, arch, "fc.weight is [4, 5] in the file, [9, 5]", "num_classes=4", arch_args={"num_classes": 9})
    fails(path, arch, "conv.weight is [5, 3, 3, 3] in the file", arch_args={"channels": 1})
    state = net.state_dict()
    del state["bn.bias"]
    torch.save(state | {"extra.weight": torch.zeros(1)}, path)
    fails(path, arch, "misses bn.bias", "has extra.weight")
    torch.save({"epoch": 3}, path)
    fails(path, arch, "no weights", "epoch")
    torch.save([1, 2], path)
    fails(path, arch, "holds a list")


def test_nan_weights(net: nn.Module, source: Path, tmp_path: Path) -> None:
    state = net.state_dict()
    state["bn.running_var"][0] = float("inf")
    state["fc.bias"][1] = float("nan")
    save_file(state, tmp_path / "m")
    fails(tmp_path / "m", f"{source}:Net", "2 of its tensors", "bn.running_var")


def test_architectures_that_fail(net: nn.Module, source: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(net.state_dict(), path)
    (tmp_path / "syntax_error_net.py").write_text("def (")
    fails(path, f"{source}:broken", "ValueError: first line")
    fails(path, f"{source}:leaves", "SystemExit")
    fails(path, f"{source}:number", "returned a int")
    fails(path, f"{source}:not_callable", "cannot be called")
    fails(path, f"{source}:Nett", "did you mean Net")
    fails(path, f"{tmp_path}/missing.py:Net", "does not exist")
    fails(path, f"{tmp_path}/syntax_error_net.py:Net", "cannot be imported", "SyntaxError")
    fails(path, "no_such_package.nets:Net", "cannot be imported")
    fails(path, "torchvision:resnet81", "did you mean resnet18")
    fails(path, "torchvision:fasterrcnn_resnet50_fpn", "no such classifier")
    fails(path, f"{source}:Net", "TypeError", arch_args={"layers": 3})
    fails(path, "torchvision:resnet18", "leave it out", arch_args={"weights": "DEFAULT"})
    with pytest.raises(UsageError):
        load(path, "resnet18")
    with pytest.raises(UsageError, match="channels"):
        load(path, f"{source}:Net", mean=(0.5,))


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ("two", "not clear"),
        ("one", "1 output"),
        ("text", "str"),
        ("rank", "[2, 4, 1]"),
        ("nan", "NaN"),
        ("int", "int64"),
    ],
)
def test_outputs_that_are_no_scores(how: str, word: str, net: nn.Module, source: Path, tmp_path: Path) -> None:
    torch.save({f"net.{name}": value for name, value in net.state_dict().items()}, tmp_path / "m.pt")
    fails(tmp_path / "m.pt", f"{source}:Wrapped", word, arch_args={"how": how})


@pytest.mark.parametrize("how", ["dict", "tuple"])
def test_wrapped_outputs(how: str, net: nn.Module, source: Path, tmp_path: Path) -> None:
    torch.save({f"net.{name}": value for name, value in net.state_dict().items()}, tmp_path / "m.pt")
    classifier = load(tmp_path / "m.pt", f"{source}:Wrapped", arch_args={"how": how})
    assert torch.allclose(classifier.logits(PIXELS), expected(net), atol=1e-6)
    assert_trains(classifier)
    assert set(classifier.module.state_dict()) == {f"net.{name}" for name in net.state_dict()}


def test_wrong_samples(net: nn.Module, source: Path, tmp_path: Path) -> None:
    for kind in ("zip", "traced", "exported"):
        save_as(kind, net, tmp_path / "m.pt2")
        options: dict[str, Any] = {"input_shape": (1, 8, 8), "mean": (0.5,), "std": (0.5,)}
        fails(tmp_path / "m.pt2", f"{source}:Net" if kind == "zip" else None, "1 x 8 x 8", "--size", **options)


def test_frozen_script_is_not_trainable(net: nn.Module, tmp_path: Path) -> None:
    torch.jit.save(torch.jit.freeze(torch.jit.script(net)), tmp_path / "m.pt")
    classifier = load(tmp_path / "m.pt")
    assert not classifier.trainable and not classifier.has_batch_norm and classifier.num_classes == 4


def plain_norm(x: torch.Tensor, mean: torch.Tensor, var: torch.Tensor) -> torch.Tensor:
    return nn.functional.batch_norm(x, mean, var)


class FreeFunctionNorm(nn.Module):
    """Its BatchNorm is in a function of its own, where no train mode reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("var", torch.ones(3))
        self.fc = nn.Linear(192, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(plain_norm(x, self.mean, self.var).flatten(1))


def test_normalisation_out_of_reach_is_told(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(FreeFunctionNorm()), tmp_path / "m.pt")
    classifier = load(tmp_path / "m.pt")
    assert classifier.has_batch_norm and classifier.normalisation_frozen and classifier.trainable


def test_module_in_the_working_folder(
    net: nn.Module, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets_in_the_working_folder.py").write_text(SOURCE)
    torch.save(net.state_dict(), "m.pt")
    assert load(Path("m.pt"), "nets_in_the_working_folder:Net").num_classes == 4


def test_scripted_container_without_forward(tmp_path: Path) -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([nn.Flatten(), nn.BatchNorm1d(192), nn.Linear(192, 4)])

        def forward(self, x: Tensor) -> Tensor:
            for part in self.parts:
                x = part(x)
            return x

    torch.jit.save(torch.jit.trace(Parts().eval(), torch.zeros(2, 3, 8, 8)), tmp_path / "m.pt")
    classifier = load(tmp_path / "m.pt")
    assert classifier.has_batch_norm and not classifier.normalisation_frozen


def test_fixed_batch_is_told(net: nn.Module, tmp_path: Path) -> None:
    torch.export.save(torch.export.export(net, (torch.zeros(2, 3, 8, 8),)), tmp_path / "m.pt2")
    fails(tmp_path / "m.pt2", None, "batches of exactly 2", "dynamic")

    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).view(2, 4)

    torch.jit.save(torch.jit.trace(Fixed(), torch.zeros(2, 3, 8, 8)), tmp_path / "m.pt")
    fails(tmp_path / "m.pt", None, "batches of 2 but not of 3")


def test_whole_module(net: nn.Module, source: Path, tmp_path: Path) -> None:
    path, canary = tmp_path / "m.pt", tmp_path / "canary"
    torch.save({"model": net, "epoch": 3}, path)
    fails(path, None, "safetensors", "--allow-pickle")
    fails(path, None, "must not be loaded", "nets_for_load_tests.Net", allow_pickle=True)
    classifier = load(path, f"{source}:Net", allow_pickle=True)
    assert torch.allclose(classifier.logits(PIXELS), expected(net), atol=1e-6)
    assert_trains(classifier)

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (canary,)

    torch.save({"model": net, "evil": Evil()}, path)
    fails(path, f"{source}:Net", allow_pickle=True)
    fails(path, f"{source}:Net")
    assert not canary.exists()


def test_hostile_export_is_refused_by_the_loader_too(net: nn.Module, tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (canary,)

    save_as("exported", net, tmp_path / "good.pt2")
    torch.save((Evil(),), tmp_path / "evil.pt")
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as bad:
        for name in good.namelist():
            evil = name.endswith("sample_inputs/model.pt")
            bad.writestr(name, (tmp_path / "evil.pt").read_bytes() if evil else good.read(name))
    fails(tmp_path / "bad.pt2", None, "must not be loaded")
    assert not canary.exists()


def test_damaged_files(net: nn.Module, source: Path, tmp_path: Path) -> None:
    arch, path = f"{source}:Net", tmp_path / "m.bin"
    for kind in ("zip", "legacy", "safetensors", "traced", "exported"):
        save_as(kind, net, path)
        data = path.read_bytes()
        for keep in (len(data) // 2, len(data) - 3):
            path.write_bytes(data[:keep])
            fails(path, arch, str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02garbage")
    fails(path, arch, str(path))
    path.write_bytes(pickle.dumps({"a": 1}))
    fails(path, arch, "no model")


def test_aux_outputs_in_train_mode(tmp_path: Path) -> None:
    import_torchvision()
    from torchvision.models import googlenet

    net = googlenet(weights=None, num_classes=3, init_weights=False, aux_logits=True)
    torch.save(net.state_dict(), tmp_path / "m.pt")
    classifier = load(tmp_path / "m.pt", "torchvision:googlenet", arch_args={"num_classes": 3}, input_shape=(3, 64, 64))
    module = copy.deepcopy(classifier.module).train()
    assert classifier.with_module(module).logits(torch.rand(2, 3, 64, 64)).shape == (2, 3)
