"""Whatever is wrong, the exit code and one sentence say so; nothing is executed, lost or passed."""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from ebyd_scan.fixtures.networks import plain_convnet  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

Ebyd = Callable[..., Any]


class Canary:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch canary",)


@pytest.fixture
def scan(ebyd: Ebyd, digits_options: list[str], tmp_path: Path) -> Ebyd:
    """Scan a file in `tmp_path` as a digit model; a later option overrides an earlier one."""

    def go(model: str | Path, *options: str | Path) -> Any:
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        run = ebyd("scan", model, *digits_options, "--policy", "quick", *options, cwd=tmp_path)
        for path, data in before.items():
            assert path.read_bytes() == data, f"{path} has changed"
        assert not (tmp_path / "canary").exists()
        return run

    return go


@pytest.fixture
def weights(models: Path) -> dict[str, Any]:
    return load_file(models / "digits-clean.safetensors")


# --- model files -----------------------------------------------------------------------------------------------


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _directory(path: Path) -> None:
    path.mkdir()


def _truncated(path: Path) -> None:
    torch.save({"weight": torch.rand(100, 100)}, path)
    path.write_bytes(path.read_bytes()[:-3000])


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", pickle.dumps({}))
        archive.writestr("model/data/0", bytes(64 << 20))


def _random_bytes(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(50_000))


def _text(path: Path) -> None:
    path.write_text("<html>404 not found</html>")


def _hostile_zip(path: Path) -> None:
    torch.save({"weight": torch.rand(2), "extra": Canary()}, path)


def _hostile_legacy(path: Path) -> None:
    torch.save({"weight": torch.rand(2), "extra": Canary()}, path, _use_new_zipfile_serialization=False)


def _hostile_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Canary()))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (None, "does not exist"),
        (_empty, "is empty"),
        (_directory, "is a folder"),
        (_truncated, "fetch it again"),
        (_bomb, "bomb"),
        (_random_bytes, "is not a model file"),
        (_text, "is not a model file"),
        (_hostile_zip, "posix.system"),
        (_hostile_legacy, "posix.system"),
        (_hostile_pickle, "posix.system"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_file_that_is_no_safe_model(
    make: Callable[[Path], None] | None, said: str, scan: Ebyd, tmp_path: Path
) -> None:
    if make:
        make(tmp_path / "model.pth")
    run = scan("model.pth", "--allow-pickle")
    assert run.code == 3
    assert "model.pth" in run.text
    assert said in run.text
    assert run.seconds < 20


def test_nan_weights(scan: Ebyd, weights: dict[str, Any], tmp_path: Path) -> None:
    weights["fc.weight"][0, 0] = float("nan")
    save_file(weights, tmp_path / "nan.safetensors")
    run = scan("nan.safetensors")
    assert run.code == 3
    assert "nan.safetensors has NaN or infinity in 1 of its tensors, first in fc.weight" in run.text


def test_wrong_architecture_names_the_keys(scan: Ebyd, models: Path) -> None:
    run = scan(models / "digits-clean.safetensors", "--arch-arg", "batch_norm=false")
    assert run.code == 3
    assert "digits-clean.safetensors" in run.text
    assert "features.9.weight is [64] in the file" in run.text


def test_wrong_number_of_classes(scan: Ebyd, models: Path) -> None:
    run = scan(models / "digits-clean.safetensors", "--arch-arg", "num_classes=12")
    assert run.code == 3
    assert "fc.weight" in run.text or "fc.bias" in run.text
    assert "12" in run.text


def test_weights_without_architecture(ebyd: Ebyd, models: Path, pixels_options: list[str], tmp_path: Path) -> None:
    run = ebyd("scan", models / "digits-clean.safetensors", *pixels_options, cwd=tmp_path)
    assert run.code == 3
    assert "pass --architecture" in run.text


def test_a_whole_module_needs_allow_pickle(scan: Ebyd, badnets_module: Any, tmp_path: Path) -> None:
    torch.save(badnets_module, tmp_path / "whole.pth")
    refused = scan("whole.pth")
    assert refused.code == 3
    assert "--allow-pickle" in refused.text
    (tmp_path / "short.yaml").write_text(
        "version: 1\nname: short\nchecks: {file-safety: {}, sample-fit: {}}\non_inconclusive: inconclusive\n"
    )
    allowed = scan("whole.pth", "--allow-pickle", "--policy", "short.yaml")
    assert "99.8% of the 400 clean samples" in allowed.text
    assert allowed.code == 0


# --- samples ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def arrays(models: Path) -> tuple[Any, Any]:
    data = np.load(models / "digits-samples.npz")
    return data["x"], data["y"]


def _too_small(x: Any, y: Any) -> tuple[Any, Any]:
    return x[:, ::4, ::4], y


def _three_channels(x: Any, y: Any) -> tuple[Any, Any]:
    return x.repeat(3, axis=3), y


def _one_class(x: Any, y: Any) -> tuple[Any, Any]:
    return x[y == 4], y[y == 4]


def _class_missing(x: Any, y: Any) -> tuple[Any, Any]:
    return x[y != 4], y[y != 4]


def _class_too_many(x: Any, y: Any) -> tuple[Any, Any]:
    return np.concatenate([x, x[:20]]), np.concatenate([y, np.full(20, 10)])


def _permuted(x: Any, y: Any) -> tuple[Any, Any]:
    return x, (y + 3) % 10


def _shuffled(x: Any, y: Any) -> tuple[Any, Any]:
    return x, np.random.default_rng(0).permutation(y)


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (_too_small, 3, "--size"),
        (_three_channels, 3, "channels"),
        (_one_class, 3, "class"),
        (_class_missing, 3, "4"),
        (_class_too_many, 3, "10"),
        (_permuted, 4, "the order of the classes probably differs"),
        (_shuffled, 4, "wrong labels"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_samples_that_do_not_fit(
    change: Callable[..., tuple[Any, Any]],
    code: int,
    said: str,
    scan: Ebyd,
    models: Path,
    arrays: tuple[Any, Any],
    tmp_path: Path,
) -> None:
    x, y = change(*arrays)
    np.savez(tmp_path / "mine.npz", x=x, y=y)
    run = scan(models / "digits-clean.safetensors", "--samples", "mine.npz")
    assert run.code == code, run.text
    assert "mine.npz" in run.text
    assert said in run.text


def test_a_broken_npz(scan: Ebyd, models: Path, tmp_path: Path) -> None:
    whole = (models / "digits-samples.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    run = scan(models / "digits-clean.safetensors", "--samples", "cut.npz")
    assert run.code == 3
    assert "cut.npz" in run.text


def test_an_npz_with_a_pickle_runs_nothing(scan: Ebyd, models: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", x=np.array([Canary()], dtype=object), y=np.zeros(1, int), allow_pickle=True)
    run = scan(models / "digits-clean.safetensors", "--samples", "evil.npz")
    assert run.code == 3
    assert "evil.npz" in run.text


def test_wrong_normalisation_names_the_right_one(scan: Ebyd, tmp_path: Path, weights: dict[str, Any]) -> None:
    # A model that was trained on -1..1: the shipped one with its first layer behind a change of scale.
    class Rescaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = plain_convnet(channels=1, width=16)
            self.net.load_state_dict(weights)

        def forward(self, x: Any) -> Any:
            return self.net((x * 0.5 + 0.5 - 0.3) / 0.35)

    torch.jit.trace(Rescaled().eval(), torch.rand(2, 1, 16, 16)).save(tmp_path / "half.pt")
    run = scan("half.pt", "--mean", "0.9", "--std", "0.05")
    assert run.code == 4
    assert "--mean 0.5 --std 0.5" in run.text


# --- the command line and the policy ----------------------------------------------------------------------------


def test_a_typo_in_the_policy(scan: Ebyd, models: Path, tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").write_text("version: 1\nname: gate\nchecks:\n  file-safety: {}\n  sample-fitt: {}\n")
    run = scan(models / "digits-clean.safetensors", "--policy", "gate.yaml")
    assert run.code == 2
    assert "gate.yaml:5:3" in run.err
    assert "did you mean 'sample-fit'?" in run.err
    assert run.seconds < 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--policy", "release-gat"], "did you mean 'release-gate'?"),
        (["--mean", "0.1,x"], "is not a list of numbers"),
        (["--mean", "nan"], "not finite"),
        (["--mean", "123.7"], "divide by 255"),
        (["--std", "0"], "not above 0"),
        (["--size", "0"], "is not a size"),
        (["--seed", "-1"], "--seed"),
        (["--device", "gpu"], "auto, cpu, cuda"),
        (["--timeout", "nan"], "--timeout"),
        (["--timeout", "0"], "--timeout"),
        (["--memory", "inf"], "--memory"),
        (["--memory", "-1"], "--memory"),
        (["--arch-arg", "width"], "KEY=VALUE"),
        (["--architecture", "nonsense"], "torchvision:NAME"),
        (["--json", "missing/verdict.json"], "there is no folder"),
        (["--json", "."], "is a folder"),
        (["--json", "a.json", "--junit", "a.json"], "both"),
        (["--json", "model.safetensors"], "will not be overwritten"),
        (["--junit", "link.safetensors"], "will not be overwritten"),
        (["--json", "gate.yaml", "--policy", "gate.yaml"], "will not be overwritten"),
        (["--json", "nets.py", "--architecture", "nets.py:net"], "will not be overwritten"),
        (["--json", "classes.txt", "--classes", "classes.txt"], "will not be overwritten"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_errors_are_found_before_the_scan(options: list[str], said: str, scan: Ebyd, tmp_path: Path) -> None:
    # Reading this model would never end: nobody has opened it.
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "model.safetensors").write_bytes(b"not even a model")
    (tmp_path / "link.safetensors").symlink_to("model.safetensors")
    (tmp_path / "gate.yaml").write_text("version: 1\nname: gate\nchecks: {file-safety: {}}\n")
    (tmp_path / "nets.py").write_text("def net(): ...\n")
    (tmp_path / "classes.txt").write_text("0\n1\n")
    run = scan("model.safetensors", *options)
    assert run.code == 2
    assert said in run.text
    assert run.out == ""
    assert "file-safety" not in run.text  # no worker has spoken
    assert run.seconds < 10


def test_a_folder_that_cannot_be_written_to(scan: Ebyd, models: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.access(closed, os.W_OK):
        pytest.skip("root writes everywhere")
    run = scan(models / "digits-clean.safetensors", "--json", closed / "verdict.json")
    assert run.code == 2
    assert "is not writable" in run.text


def test_a_report_that_cannot_be_written_in_the_end(scan: Ebyd, tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"")
    run = scan("model.pth", "--json", "/dev/full", "--junit", "report.xml")
    assert run.code == 3
    assert "/dev/full: the report cannot be written" in run.text
    assert "model.pth is empty" in run.out  # the verdict is told all the same
    assert (tmp_path / "report.xml").exists()


def test_a_device_that_is_not_there(scan: Ebyd, models: Path) -> None:
    run = scan(models / "digits-clean.safetensors", "--device", "cuda:99")
    assert run.code == 2
    assert "--device cuda:99" in run.err


def test_samples_that_are_not_there(scan: Ebyd, models: Path) -> None:
    run = scan(models / "digits-clean.safetensors", "--samples", "nowhere")
    assert run.code == 2
    assert "nowhere: there is no such file or folder" in run.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scna", "x"], "did you mean 'scan'?"),
        (
            ["frobnicate"],
            "the commands are scan, inspect, remove, audit, selftest, policy, init, project, verify-report, "
            "completion, demo",
        ),
        (["scan", "model.pt"], "--samples"),
        (["scan", "--samples", "x"], "MODEL"),
        (["scan", "model.pt", "--smples", "x"], "--samples"),
        (["policy", "validate", "nowhere.yaml"], "there is no such file"),
        (["policy", "show", "quik"], "did you mean 'quick'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage(arguments: list[str], said: str, ebyd: Ebyd, tmp_path: Path) -> None:
    run = ebyd(*arguments, cwd=tmp_path)
    assert run.code == 2
    assert said in run.err
    assert run.out == ""


def test_a_name_that_is_no_text(scan: Ebyd, models: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.safetensors")
    (tmp_path / name).write_bytes((models / "digits-clean.safetensors").read_bytes())
    run = scan(name, "--json", "verdict.json")
    assert run.code == 3
    assert "caf\\xe9.safetensors: the name is not valid UTF-8" in run.err


def test_a_terminal_that_cannot_show_a_name(ebyd: Ebyd, tmp_path: Path) -> None:
    (tmp_path / "模型.pth").write_bytes(b"")
    run = ebyd("scan", "模型.pth", "--samples", "x", cwd=tmp_path, env={"PYTHONIOENCODING": "latin-1"})
    assert run.code == 3
    assert "\\u6a21" in run.text


def test_what_lies_in_the_current_folder_is_not_imported(scan: Ebyd, models: Path, tmp_path: Path) -> None:
    for name in ("torch", "numpy", "json", "random", "psutil", "safetensors", "pydantic"):
        (tmp_path / f"{name}.py").write_text("open('canary', 'w')\n")
    run = scan(models / "digits-clean.safetensors", "--policy", "short.yaml")
    assert run.code == 2
    (tmp_path / "short.yaml").write_text("version: 1\nname: short\nchecks: {file-safety: {}, sample-fit: {}}\n")
    run = scan(models / "digits-clean.safetensors", "--policy", "short.yaml")
    assert run.code == 0, run.text
