"""How many numbers the weights are: the same as torch says, from headers and pickles alone."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from ebyd_scan.scanner.models.identify import identify
from ebyd_scan.scanner.models.parameter_count import Numbers, count_numbers

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402


def _net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5)).eval()


def _told_by_torch(state: dict[str, torch.Tensor]) -> Numbers:
    numbers: Numbers = {}
    for tensor in state.values():
        name = {torch.float32: "F32", torch.int64: "I64", torch.float16: "F16"}[tensor.dtype]
        numbers[name] = numbers.get(name, 0) + tensor.numel()
    return numbers


def _export(net: nn.Module, path: Path) -> None:
    torch.export.save(torch.export.export(net, (torch.zeros(2, 3, 4, 4),)), path)


WRITERS: dict[str, Callable[[nn.Module, Path], None]] = {
    "safetensors": lambda net, path: save_file(net.state_dict(), path),
    "zip": lambda net, path: torch.save(net.state_dict(), path),
    "zip, protocol 4": lambda net, path: torch.save(net.state_dict(), path, pickle_protocol=4),
    "legacy": lambda net, path: torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False),
    "nested": lambda net, path: torch.save({"epoch": 3, "state_dict": net.state_dict()}, path),
    "whole module": lambda net, path: torch.save(net, path),
    "scripted": lambda net, path: torch.jit.save(torch.jit.script(net), path),
    "exported": _export,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_says_what_torch_says(kind: str, tmp_path: Path) -> None:
    net = _net()
    path = tmp_path / ("net.safetensors" if kind == "safetensors" else "net.pt")
    WRITERS[kind](net, path)
    assert count_numbers(identify(path)) == _told_by_torch(net.state_dict())


def test_weights_that_are_frozen_into_the_code(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    torch.jit.save(torch.jit.freeze(torch.jit.script(net)), tmp_path / "net.pt")
    numbers = count_numbers(identify(tmp_path / "net.pt"))
    assert numbers is not None and numbers["F32"] == 6 * 5 + 5 + 5 * 3 + 3


def test_shared_storages_count_once(tmp_path: Path) -> None:
    weight = torch.zeros(10, 4)
    for legacy in (False, True):
        path = tmp_path / "tied.pt"
        torch.save({"a": weight, "b": weight, "rows": weight[3:5]}, path, _use_new_zipfile_serialization=not legacy)
        assert count_numbers(identify(path)) == {"F32": 40}


def test_types_are_told_apart(tmp_path: Path) -> None:
    kinds = {
        **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
        **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8},
        **{"BOOL": torch.bool, "C64": torch.complex64},
    }
    state = {name: torch.zeros(index + 2, dtype=kind) for index, (name, kind) in enumerate(kinds.items())}
    torch.save(state, tmp_path / "kinds.pt")
    assert count_numbers(identify(tmp_path / "kinds.pt")) == {name: len(tensor) for name, tensor in state.items()}


def test_a_folder_counts_its_shards_once(tmp_path: Path) -> None:
    parts = {"a.weight": torch.zeros(4, 4), "b.weight": torch.zeros(3).half()}
    names = [f"model-{index}-of-00002.safetensors" for index in ("00001", "00002")]
    for name, (key, tensor) in zip(names, parts.items(), strict=True):
        save_file({key: tensor}, tmp_path / name)
    index = {"metadata": {}, "weight_map": dict(zip(parts, names, strict=True))}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    torch.save(parts, tmp_path / "pytorch_model.bin")  # the same once more, which nobody loads
    assert count_numbers(identify(tmp_path)) == {"F32": 16, "F16": 3}


def test_a_folder_with_torchs_own_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for legacy in (False, True):
        torch.save({"a": torch.zeros(7)}, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
        assert count_numbers(identify(tmp_path)) == {"F32": 7}


def _repacked(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, change(name, data))


def test_what_cannot_be_told_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"a": torch.zeros(300)}, path)
    _repacked(path, lambda name, data: data[:-4] if name.endswith("data/0") else data)
    assert count_numbers(identify(path)) is None  # the storage is shorter than the pickle says
    torch.save({"a": torch.zeros(4)}, path)
    _repacked(path, lambda name, data: data.replace(b"FloatStorage", b"OtherStorage"))
    assert count_numbers(identify(path)) is None
    path.write_bytes(pickle.dumps({"a": 1}))
    assert count_numbers(identify(path)) is None


def test_an_export_whose_weights_are_a_checkpoint_within(tmp_path: Path) -> None:
    """As torch wrote them before 2.9."""
    inner = io.BytesIO()
    torch.save({"w": torch.zeros(6, 2)}, inner)
    path = tmp_path / "old.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("serialized_state_dict.pt", inner.getvalue())
        archive.writestr("version", "8.1")
    artifact = identify(path)
    assert artifact.format == "torch-export"
    assert count_numbers(artifact) == {"F32": 12}


@pytest.mark.parametrize("table", ["[]", "{}", '{"config": {"w": {"path_name": "a"}}}', '{"config": 3}'])
def test_an_export_with_an_odd_table(table: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("odd/archive_format", "pt2")
        archive.writestr("odd/data/weights/model_weights_config.json", table)
    assert count_numbers(identify(path)) is None


def test_the_shipped_models(tmp_path: Path) -> None:
    from safetensors import safe_open

    models = Path(__file__).parents[2] / "fixtures" / "models"
    for path in sorted(models.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            total = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
        numbers = count_numbers(identify(path))
        assert numbers is not None and sum(numbers.values()) == total > 50_000
