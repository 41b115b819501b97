"""safetensors and what torch.save wrote: same names, types and surroundings, other numbers."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import numpy as np  # noqa: E402
from ebyd_scan.evidence.errors import ScanError  # noqa: E402
from ebyd_scan.scanner.models.repaired.write import check_writable_format, write_repaired  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import nn  # noqa: E402

from .conftest import ARCHITECTURE, load, moved, near, net  # noqa: E402

Repair = Callable[..., Any]
ROUNDING = {torch.float32: 0.0, torch.float64: 0.0, torch.float16: 1e-3, torch.bfloat16: 8e-3}
TIED = {"arch_args": {"tied": True}}


def _as(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {n: t.to(dtype) if t.is_floating_point() else t for n, t in net().state_dict().items()}


def _kinds(state: dict[str, Any]) -> dict[str, Any]:
    return {name: (tensor.dtype, tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_safetensors(dtype: torch.dtype, tmp_path: Path, repair: Repair) -> None:
    path = tmp_path / "net.safetensors"
    state = {f"module.{name}": tensor for name, tensor in _as(dtype).items()}
    save_file(state, path, metadata={"format": "pt", "note": "äh"})
    place, written, repaired, loaded = repair(path, ARCHITECTURE)
    assert near(loaded, repaired, ROUNDING[dtype])
    assert _kinds(load_file(place)) == _kinds(state)
    with safe_open(place, "pt") as new, safe_open(path, "pt") as old:
        assert new.metadata() == old.metadata() and list(new.keys()) == list(old.keys())
    assert place.stat().st_size == path.stat().st_size
    assert written.changed == written.total == len(state)
    assert any("rounded to" in note for note in written.notes) == (dtype in (torch.float16, torch.bfloat16))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_state_dict(dtype: torch.dtype, zipped: bool, tmp_path: Path, repair: Repair) -> None:
    path = tmp_path / "net.pt"
    state = OrderedDict(_as(dtype))
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    place, written, repaired, loaded = repair(path, ARCHITECTURE)
    assert near(loaded, repaired, ROUNDING[dtype])
    assert _kinds(torch.load(place, weights_only=True)) == _kinds(state)
    assert (written.changed, written.total) == (len(state), len(state))


def test_only_what_changed_is_written(tmp_path: Path, repair: Repair) -> None:
    """A number that float32 cannot hold stays what it was, where the repair did not touch its tensor."""
    path = tmp_path / "net.safetensors"
    state = {
        name: tensor + 1e-12 if tensor.is_floating_point() else tensor for name, tensor in _as(torch.float64).items()
    }
    save_file(state, path)
    place, written, _, _ = repair(path, ARCHITECTURE, only="head")
    new = load_file(place)
    assert {name for name in state if not state[name].equal(new[name])} == {"head.weight", "head.bias"}
    assert (written.changed, written.total) == (2, len(state))


def _training(state: Any) -> dict[str, Any]:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.rand(4, 3, 8, 8)).sum().backward()
    optimizer.step()
    rest = {
        "epoch": 7,
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.5),
        "optimizer": optimizer.state_dict(),
    }
    return {"state_dict": state, **rest}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_what_lies_beside_the_weights_is_kept(zipped: bool, tmp_path: Path, repair: Repair) -> None:
    path = tmp_path / "checkpoint.pth"
    state = OrderedDict((f"module.{name}", tensor) for name, tensor in net().state_dict().items())
    state._metadata = {"": {"version": 2}}  # type: ignore[attr-defined]
    saved = _training(state)
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    place, written, repaired, loaded = repair(path, ARCHITECTURE)
    new = torch.load(place, weights_only=False)
    assert near(loaded, repaired)
    assert list(new) == list(saved) and list(new["state_dict"]) == list(state)
    assert new["state_dict"]._metadata == {"": {"version": 2}}
    assert (new["epoch"], new["args"], new["best"]) == (7, argparse.Namespace(lr=0.1), 0.5)
    momenta = [entry["momentum_buffer"] for entry in saved["optimizer"]["state"].values()]
    assert all(m.equal(e["momentum_buffer"]) for m, e in zip(momenta, new["optimizer"]["state"].values(), strict=True))
    notes = " ".join(written.notes)
    assert '"optimizer"' in notes and "do not resume training" in notes and "Dropped" not in notes


def _nearly(scale: float = 0.98) -> dict[str, torch.Tensor]:
    return {n: t * scale if t.is_floating_point() else t for n, t in net().state_dict().items()}


COPIES: dict[str, Callable[[], Any]] = {
    "model_ema": _nearly,
    "ema": lambda: {"decay": 0.99, "shadow_params": [t * 0.9 for t in net().parameters()]},
    "teacher": lambda: {"module": {"module": {f"module.{name}": tensor for name, tensor in _nearly().items()}}},
    "halves": lambda: {n: t.half() for n, t in net().state_dict().items()},
    "namespace": lambda: argparse.Namespace(best=_nearly()),
    "flat": lambda: torch.cat([t.flatten() for t in net().parameters()]),
    "lookahead": lambda: {"state": {0: {"slow_buffer": net().conv.weight * 0.95}}, "param_groups": []},
    "array": lambda: {"kernel": net().conv.weight.detach().numpy() * 1.1},
    "model": _nearly,
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_of_the_weights_are_dropped(name: str, tmp_path: Path, repair: Repair) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save(_training(net().state_dict()) | {name: COPIES[name]()}, path)
    place, written, repaired, loaded = repair(path, ARCHITECTURE)
    assert near(loaded, repaired)
    assert set(torch.load(place, weights_only=False)) == {"state_dict", "epoch", "args", "best", "optimizer"}
    assert any("Dropped" in note and f'"{name}"' in note for note in written.notes)


def test_another_network_beside_it_is_kept_and_told(tmp_path: Path, repair: Repair) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.manual_seed(5)
    other = nn.Sequential(nn.Conv2d(3, 16, 5), nn.Linear(16, 4)).state_dict()
    torch.save({"model": {"model_ema": net().state_dict(), **net().state_dict()}, "critic": other}, path)
    place, written, repaired, loaded = repair(path, ARCHITECTURE)
    new = torch.load(place, weights_only=True)
    assert set(new) == {"model", "critic"}
    assert any('"critic"' in note and "Kept" in note for note in written.notes)
    assert near(loaded, repaired)


def test_no_old_number_is_left_in_a_shared_storage(tmp_path: Path, repair: Repair) -> None:
    path = tmp_path / "flat.pt"
    state = net().state_dict()
    flat = torch.cat([state["head.weight"].flatten(), state["head.bias"], torch.full((5000,), 7.0)])
    state["head.weight"], state["head.bias"] = flat[:32].view(4, 8), flat[32:36]
    torch.save(state, path)
    place, _, _, _ = repair(path, ARCHITECTURE, only="head.weight")
    assert path.stat().st_size - place.stat().st_size > 15000


def test_parameters_arrays_and_tied_tensors_stay_such(tmp_path: Path, repair: Repair) -> None:
    path = tmp_path / "net.pt"
    model = net(tied=True)
    state: dict[str, Any] = dict(model.state_dict())
    state["conv.weight"] = model.conv.weight
    state["head.bias"] = model.head.bias.detach().numpy()
    torch.save({"model": state}, path)
    place, _, repaired, loaded = repair(path, ARCHITECTURE, **TIED)
    new = torch.load(place, weights_only=False)["model"]
    assert isinstance(new["conv.weight"], nn.Parameter) and isinstance(new["head.bias"], np.ndarray)
    assert new["first.weight"].data_ptr() == new["second.weight"].data_ptr()
    assert near(loaded, repaired)


def test_tied_tensors_in_safetensors(tmp_path: Path, repair: Repair) -> None:
    path = tmp_path / "net.safetensors"
    save_file({name: tensor.clone() for name, tensor in net(tied=True).state_dict().items()}, path)
    place, _, repaired, loaded = repair(path, ARCHITECTURE, **TIED)
    assert load_file(place)["first.weight"].equal(load_file(place)["second.weight"])
    assert near(loaded, repaired)


def test_a_counter_that_the_file_lacks(tmp_path: Path, repair: Repair) -> None:
    path = tmp_path / "old.pt"
    torch.save({n: t for n, t in net().state_dict().items() if "num_batches" not in n}, path)
    place, _, _, _ = repair(path, ARCHITECTURE)
    assert "norm.num_batches_tracked" not in torch.load(place, weights_only=True)


def _refused(path: Path, repaired: Callable[[Any], Any], says: str, place: Path, **more: Any) -> None:
    artifact, original = load(path, ARCHITECTURE, **more)
    with pytest.raises(ScanError, match=says):
        write_repaired(artifact, original, repaired(original), place)


def _with(change: Callable[[Any], object]) -> Callable[[Any], Any]:
    def apply(classifier: Any) -> Any:
        after = moved(classifier)
        with torch.no_grad():
            change(after.module)
        return after

    return apply


def test_refused(tmp_path: Path) -> None:
    path, half = tmp_path / "net.safetensors", tmp_path / "half.safetensors"
    save_file(net().state_dict(), path)
    save_file(_as(torch.float16), half)
    place = tmp_path / "out.safetensors"
    _refused(path, _with(lambda m: m.head.weight.fill_(float("nan"))), "NaN or infinity in head.weight", place)
    _refused(half, _with(lambda m: m.head.weight.fill_(1e6)), "as float16, in which a repaired number", place)
    _refused(path, _with(lambda m: m.add_module("more", nn.Linear(2, 2))), "other tensors", place)
    _refused(path, _with(lambda m: setattr(m, "head", nn.Linear(8, 5))), "other tensors", place)
    artifact, original = load(path, ARCHITECTURE)
    save_file(_as(torch.float16), path)
    with pytest.raises(ScanError, match="was changed since"):
        write_repaired(artifact, original, moved(original), place)
    assert not place.exists()


def test_a_whole_module_is_refused_before_the_work(tmp_path: Path) -> None:
    path = tmp_path / "whole.pt"
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), path)
    artifact, original = load(path, allow_pickle=True)
    with pytest.raises(ScanError, match="is a pickled module, which is not written again"):
        check_writable_format(artifact, original)
