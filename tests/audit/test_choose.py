"""Which executor, how many workers, and what a model needs, with GPUs that this machine does not have."""

from __future__ import annotations

from typing import Any

import pytest
from ebyd_scan.evidence.errors import UsageError
from ebyd_scan.evidence.result import ModelInfo
from ebyd_scan.scanner.audit.executors.choose import choose, weight_bytes
from ebyd_scan.scanner.audit.executors.in_process import InProcess
from ebyd_scan.scanner.audit.executors.processes import Processes
from ebyd_scan.scanner.audit.work import Work
from ebyd_scan.scanner.digests import file_digest
from ebyd_scan.scanner.read_request import read_request

from .audit_parts import MODELS, options

CHOOSE = "ebyd_scan.scanner.audit.executors.choose"
AUTO: dict[str, Any] = {"models": 9, "device": "auto", "workers": None, "cpus": None, "ray_address": None}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(cores: int, *gib: int) -> None:
        monkeypatch.setattr(f"{CHOOSE}.os.cpu_count", lambda: cores)
        monkeypatch.setattr(f"{CHOOSE}.gpu_memory", lambda: [one << 30 for one in gib])

    return make


def work(name: str = "digits-clean.safetensors") -> Work:
    path = MODELS / name
    policy, request = read_request(**options(path))
    model = ModelInfo(path=str(path), sha256=file_digest(path), format="safetensors")
    return Work(0, name, request, policy, "settings", "samples", model=model)


def test_without_a_gpu_the_cores_are_shared(machine: Any) -> None:
    machine(8)
    how = choose("auto", **AUTO)
    assert isinstance(how.make(), Processes) and how.make().slots == 8 and how.cpus == 1
    assert choose("auto", **{**AUTO, "models": 2}).cpus == 4
    assert choose("auto", **{**AUTO, "workers": 3}).cpus == 2
    assert how.need_of(work()).gpus == 0
    assert isinstance(choose("in-process", **AUTO).make(), InProcess)


def test_with_gpus_each_is_a_worker(machine: Any) -> None:
    machine(8, 80, 80)
    how = choose("auto", **AUTO)
    assert how.make().slots == 2 and how.cpus == 4
    assert how.need_of(work()).gpus == 1
    assert choose("auto", **{**AUTO, "device": "cuda:1"}).make().slots == 1
    assert choose("auto", **{**AUTO, "device": "cpu"}).need_of(work()).gpus == 0
    assert choose("auto", **{**AUTO, "workers": 4}).make().slots == 4
    with pytest.raises(UsageError, match="2 CUDA"):
        choose("auto", **{**AUTO, "device": "cuda:2"})


def test_a_model_too_large_for_one_gets_several(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(8, 80, 80, 80, 80)
    how = choose("auto", **AUTO)
    monkeypatch.setattr(f"{CHOOSE}.weight_bytes", lambda work: 36 << 30)
    assert how.need_of(work()).gpus == 3
    monkeypatch.setattr(f"{CHOOSE}.weight_bytes", lambda work: 280 << 30)
    assert how.need_of(work()).gpus == 4  # all there are; what is missing is told when it is loaded


def test_weights_are_counted_as_float32() -> None:
    one = work()
    assert weight_bytes(one) == pytest.approx(one.request.model.stat().st_size, rel=0.05)  # float32 in the file
    one.model = None
    assert weight_bytes(one) == one.request.model.stat().st_size


def test_options_that_do_not_go_together(machine: Any) -> None:
    machine(2)
    with pytest.raises(UsageError, match="--executor ray"):
        choose("processes", **{**AUTO, "ray_address": "somewhere:1"})
    with pytest.raises(UsageError, match="0 CUDA"):
        choose("auto", **{**AUTO, "device": "cuda"})
