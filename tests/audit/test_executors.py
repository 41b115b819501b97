"""Real models in real processes, by every executor: the same findings as a scan, and a bad model costs itself alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ebyd_scan.evidence.finding import Finding
from ebyd_scan.evidence.result import Verdict
from ebyd_scan.scanner.audit.assemble import audit_from
from ebyd_scan.scanner.audit.audits import audits
from ebyd_scan.scanner.audit.executors.devices import DevicePool
from ebyd_scan.scanner.audit.executors.in_process import InProcess
from ebyd_scan.scanner.audit.executors.interface import Ended, Need, Task
from ebyd_scan.scanner.audit.executors.processes import Processes
from ebyd_scan.scanner.audit.plan import Plan
from ebyd_scan.scanner.audit.store import Store
from ebyd_scan.scanner.forked import AVAILABLE, Zygote
from ebyd_scan.scanner.heard import Heard
from ebyd_scan.scanner.read_request import read_request
from ebyd_scan.scanner.supervisor import Stop, listen, supervise

from .audit_parts import MODELS, POLICY, audit, options, plan_of

pytest.importorskip("torch")
BAD, CLEAN = MODELS / "digits-badnets.safetensors", MODELS / "digits-clean.safetensors"
HOSTILE = """
import os, signal, time
def hangs(**_):
    time.sleep(1000)
def eats(**_):
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1 << 20)) * 64)
def dies(**_):
    os.kill(os.getpid(), signal.SIGKILL)
def leaves(**_):
    os._exit(0)
"""


def _ray() -> Any:
    pytest.importorskip("ray")
    from ebyd_scan.scanner.audit.executors.ray_cluster import RayCluster

    return RayCluster(address=None, workers=2, cpus=1)


EXECUTORS: dict[str, Callable[[], Any]] = {
    "in-process": lambda: InProcess(devices=DevicePool()),
    "processes": lambda: Processes(workers=2, devices=DevicePool()),
    "ray": _ray,
}


@pytest.fixture(params=list(EXECUTORS))
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = EXECUTORS[request.param]()
    yield made
    made.close()


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY, encoding="utf-8")
    return path


def found(findings: list[Finding]) -> list[Finding]:
    """Without what differs from run to run."""
    return [one.model_copy(update={"seconds": 0.0}) for one in findings]


def test_findings_are_those_of_a_scan_and_a_bad_model_costs_itself_alone(
    tmp_path: Path, policy: Path, executor: Any
) -> None:
    code = tmp_path / "hostile.py"
    code.write_text(HOSTILE, encoding="utf-8")
    planned = list(plan_of(tmp_path, {"bad": BAD, "clean": CLEAN}, policy).planned)
    hostile = ("hangs", "eats", "dies", "leaves") if executor.name == "processes" else ("dies",)
    for name in hostile:
        limit = {"timeout": 6.0} if name == "hangs" else {"memory": 1.5} if name == "eats" else {}
        copy = tmp_path / f"{name}.safetensors"
        copy.write_bytes(CLEAN.read_bytes())
        one = plan_of(tmp_path, {name: copy}, policy, architecture=f"{code}:{name}", arch_args={}, **limit).planned[0]
        planned.insert(0, one)
    store = tmp_path / "s.sqlite"
    came = audit(Plan(tmp_path, tuple(planned)), store, executor, threads=1)
    assert came.finished
    opened = Store(store)
    models = {model.name: model.result for model in audit_from(opened, audits(opened)[0]).models}
    opened.close()
    loaded, request = read_request(**options(BAD, policy))
    alone = supervise(request.model_copy(update={"threads": 1}), loaded)
    assert found(models["bad"].findings) == found(alone.findings)
    assert models["bad"].verdict is alone.verdict is Verdict.FAILED
    assert models["clean"].verdict is not Verdict.ERROR
    told = {name: result.reason for name, result in models.items() if result.verdict is Verdict.ERROR}
    assert set(told) == set(hostile)
    words = {"hangs": "the limit of 6 s", "eats": "limit of 1.5 GiB", "dies": "SIGKILL", "leaves": "with status 0"}
    assert [name for name in hostile if words[name] not in told[name]] == [], told["eats"]


@pytest.mark.skipif(not AVAILABLE, reason="forks are for Linux")
def test_a_forked_worker_finds_what_a_new_interpreter_finds(policy: Path) -> None:
    _, request = read_request(**options(CLEAN, policy))
    zygote = Zygote()
    heard = [Heard.nothing(request) for _ in range(3)]
    listen(request, heard[0])
    for one in heard[1:]:
        listen(request, one, launch=zygote.launcher(None))
    zygote.close()
    assert [one.error for one in heard] == [None] * 3
    assert found(heard[0].findings) == found(heard[1].findings) == found(heard[2].findings)
    runs = [[run.model_copy(update={"seconds": 0}) for run in one.exposure.runs] for one in heard if one.exposure]
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.skipif(not AVAILABLE, reason="forks are for Linux")
def test_a_zygote_that_is_killed_costs_its_workers_and_is_made_anew(policy: Path) -> None:
    _, request = read_request(**options(CLEAN, policy))
    zygote = Zygote()
    launch = zygote.launcher("static")
    worker = launch(False)
    parent = psutil.Process(worker.pid).parent()
    assert parent is not None and worker.poll() is None
    parent.kill()
    assert worker.wait(timeout=10) == -signal.SIGKILL
    os.kill(worker.pid, signal.SIGKILL)
    heard = Heard.nothing(request)
    while psutil.pid_exists(parent.pid) and parent.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    listen(request.model_copy(update={"policy": request.policy}), heard, launch=zygote.launcher(None))
    zygote.close()
    assert heard.error is None and heard.findings


@pytest.mark.skipif(not AVAILABLE, reason="forks are for Linux")
def test_workers_end_when_nobody_waits_for_them_and_hold_no_channel_of_others() -> None:
    zygote = Zygote()
    first, second = (zygote.launcher("static")(False) for _ in range(2))
    parent = psutil.Process(first.pid).parent()
    assert parent is not None and parent == psutil.Process(second.pid).parent()
    deadline = time.monotonic() + 60  # it has been forked, and may not have come so far
    while os.getsid(first.pid) != first.pid and time.monotonic() < deadline:
        time.sleep(0.01)
    assert os.getsid(first.pid) == first.pid
    first.stdin.write(b'{"memory_bytes": 1073741824, "request": {"device": "cpu"}}\n')  # no whole order: it stumbles
    first.stdin.close()
    assert first.wait(timeout=60) != 0
    assert second.poll() is None  # not ended by what ended the first
    second.stdin.close()
    assert second.wait(timeout=60) != 0
    zygote.close()
    parent.wait(timeout=60) if parent.is_running() else None
    assert not parent.is_running() or parent.status() == psutil.STATUS_ZOMBIE


def test_devices_are_given_out_and_come_back() -> None:
    pool = DevicePool(["cuda:0", "cuda:1", "cuda:2"], per_gpu=2)
    assert pool.slots == 6 and pool.take(0) == "cpu"
    one = pool.take(1)
    assert one == "cuda:0"
    assert pool.take(2) == "cuda:1+cuda:2"  # each of them to itself
    assert pool.take(2) is None and pool.take(3) is None
    assert pool.take(1) == "cuda:0" and pool.take(1) is None
    pool.give("cuda:1+cuda:2")
    pool.give("cuda:0")
    pool.give("cuda:0")
    assert pool.take(3) == "cuda:0+cuda:1+cuda:2"
    assert DevicePool().take(1) == "cpu" and DevicePool().slots is None


def test_a_task_that_waits_for_gpus_ends_with_the_audit() -> None:
    """A stop ends what nobody has started, too: else the audit would wait for it for ever."""
    _, request = read_request(**options(CLEAN))
    pool = DevicePool(["cuda:0", "cuda:1"])
    assert pool.take(1) == "cuda:0"  # another task has it
    executor = Processes(workers=2, devices=pool)
    stop = Stop()
    tasks = [Task(1, request, Need(gpus=2))]
    said: list[Any] = []

    def next_task() -> Task | None:
        stop.reason = "stopped"  # while it is being given out
        return tasks.pop() if tasks else None

    executor.run(next_task, lambda task, one: said.append((task.id, one)), lambda: not said, stop)
    executor.close()
    assert said == [(1, Ended(f"{CLEAN}: stopped", again=True))]
