"""Runs one scan in a worker process under limits and makes a result of what the worker said.

The supervisor never opens the model and imports no torch. Whatever the worker does (crash, hang, eat all memory,
talk nonsense), the answer is a result.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from typing import IO

from pydantic import ValidationError

from ..evidence.context import Progress, silent
from ..evidence.errors import MissingExtra, UsageError
from ..evidence.finding import Finding, Outcome
from ..evidence.removal import MAX_CANDIDATES, CandidateInfo
from ..evidence.result import (
    ExposureInfo,
    ModelInfo,
    PolicyInfo,
    SamplesInfo,
    ScanResult,
    ToolInfo,
    Verdict,
)
from ..policies.decide import decide
from ..policies.load import LoadedPolicy
from . import events
from .handover import MAX_TRIGGERS, Handed, WordsForm
from .planted import Planted
from .removal_order import Repaired
from .request import ScanRequest

MAX_LINE = 8 << 20  # bytes of one event; a longer one is nonsense
MAX_SAID = 256 << 20  # bytes of all events of one scan
MAX_WAITING = 16  # lines read ahead of what has been understood
POLL_SECONDS = 0.1
LAST_WORDS_SECONDS = 1.0


@dataclass
class _Heard:
    """What the worker has said so far."""

    model: ModelInfo
    samples: SamplesInfo
    environment: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    exposure: ExposureInfo | None = None
    recovered: list[Handed] = field(default_factory=list)
    words: list[WordsForm] = field(default_factory=list)
    planted: Planted | None = None
    candidates: list[CandidateInfo] = field(default_factory=list)
    repaired: Repaired | None = None
    timings: dict[str, float] = field(default_factory=dict)
    stopped: str | None = None
    error: str | None = None
    usage: bool = False
    done: bool = False
    said: int = 0  # bytes


@dataclass
class Stop:
    """Set by somebody else, a handler of signals say, it ends a scan that is going on."""

    reason: str | None = None


def supervise(
    request: ScanRequest,
    policy: LoadedPolicy,
    *,
    progress: Progress = silent,
    verbose: bool = False,
    stop: Stop | None = None,
    keep: Callable[[Handed], None] | None = None,
    keep_words: Callable[[WordsForm], None] | None = None,
    on_plant: Callable[[Planted], None] | None = None,
    on_repair: Callable[[list[CandidateInfo], Repaired | None], None] | None = None,
) -> ScanResult:
    """Scan one model in a process of its own, under the policy's limits.

    Args:
        stop: looked at many times a second; its reason makes the result an error.
        keep: gets every recovered trigger that came whole, once the scan has ended and unless it ended in an error.
        keep_words: the same of trigger words with texts.
        on_plant: gets what came of the backdoor that the request orders, if the worker came so far.
        on_repair: gets the figures of the removers that the request orders, as far as the worker came.

    Raises:
        UsageError: the worker found the command line wrong (a device that is not there, say).
    """
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    heard = _Heard(
        ModelInfo(path=str(request.model), architecture=request.architecture), SamplesInfo(path=str(request.samples))
    )
    _listen(request, heard, progress, verbose, stop or Stop())
    if heard.usage:
        raise UsageError(heard.error)
    heard.timings["total"] = time.monotonic() - clock
    result = _result(request, policy, heard, started)
    if keep and result.verdict is not Verdict.ERROR:
        for recovered in heard.recovered:
            if not recovered.missing:
                keep(recovered)
    if keep_words and result.verdict is not Verdict.ERROR:
        for form in heard.words:
            keep_words(form)
    if on_plant and heard.planted:
        on_plant(heard.planted)
    if on_repair:
        on_repair(heard.candidates, None if heard.error else heard.repaired)
    return result


def require_torch() -> None:
    """See that what every scan needs is installed, without importing torch. Raises MissingExtra."""
    if find_spec("torch") is None:
        raise MissingExtra("torch", "torch")
    try:
        import psutil  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtra("psutil", "torch") from None


def _listen(request: ScanRequest, heard: _Heard, progress: Progress, verbose: bool, stop: Stop) -> None:
    try:
        require_torch()
    except MissingExtra as problem:
        heard.error = str(problem)  # a result like any other, so that reports are written and none is an older scan's
        return
    if stop.reason:  # before it began
        heard.error = f"{request.model}: {stop.reason}"
        return
    from .family import Family

    limits = request.policy.limits
    memory_bytes = int(limits.memory * 2**30)
    worker = subprocess.Popen(
        # -P: what lies in the current folder, a `torch.py` for example, must not stand in for what is installed.
        [sys.executable, "-P", "-m", "ebyd_scan.scanner.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if verbose else subprocess.DEVNULL,
        start_new_session=True,
        env=_environment(),
    )
    assert worker.stdin and worker.stdout
    lines: queue.Queue[bytes | None] = queue.Queue(maxsize=MAX_WAITING)
    reader = threading.Thread(target=_read_lines, args=(worker.stdout, lines), daemon=True)
    reader.start()
    family = Family(worker)
    deadline, look = time.monotonic() + limits.timeout, 0.0
    try:
        _order(worker.stdin, request, memory_bytes)
        while not (heard.done or heard.error):
            now, used = time.monotonic(), 0
            if now >= look:
                look, used = now + POLL_SECONDS, family.resident()
            if now > deadline:
                heard.error = f"{request.model}: the scan took longer than the limit of {limits.timeout:g} s; " + (
                    "raise it with --timeout or in the policy"
                )
            elif stop.reason:
                heard.error = f"{request.model}: {stop.reason}"
            elif used > memory_bytes:
                heard.error = (
                    f"{request.model}: the scan used {used / 2**30:.1f} GiB, more than the memory limit of "
                    f"{limits.memory:g} GiB; raise it with --memory or in the policy"
                )
            else:
                _hear_next(lines, heard, progress, worker, request)
    finally:
        family.kill()
        _close(worker, reader, lines)


def _order(stdin: IO[bytes], request: ScanRequest, memory_bytes: int) -> None:
    order = {"memory_bytes": memory_bytes, "request": request.model_dump(mode="json")}
    try:
        stdin.write(json.dumps(order).encode() + b"\n")
        stdin.flush()
    except BrokenPipeError:
        pass  # it died already; the queue will tell


def _read_lines(stdout: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    while line := stdout.readline(MAX_LINE):
        lines.put(line)
    lines.put(None)


def _hear_next(
    lines: queue.Queue[bytes | None],
    heard: _Heard,
    progress: Progress,
    worker: subprocess.Popen[bytes],
    request: ScanRequest,
) -> None:
    try:
        line = lines.get(timeout=POLL_SECONDS)
    except queue.Empty:
        if worker.poll() is None:
            return
        try:  # it is gone; something that it started may hold the channel open for ever
            line = lines.get(timeout=LAST_WORDS_SECONDS)
        except queue.Empty:
            line = None
    if line is None:
        heard.error = f"{request.model}: the worker process {_how_it_ended(worker)} before it had an answer"
        return
    heard.said += len(line)
    if heard.said > MAX_SAID:
        heard.error = f"{request.model}: the worker process said more than {MAX_SAID >> 20} MiB; it is not trusted"
        return
    try:
        event = events.PARSER.validate_json(line)
    except ValidationError:
        heard.error = f"{request.model}: the worker process said something that is no event; its answer is not trusted"
        return
    match event:
        case events.ProgressEvent():
            progress(event.stage, event.done, event.total)
        case events.ModelEvent():
            heard.model = event.model
        case events.SamplesEvent():
            heard.samples = event.samples
        case events.EnvironmentEvent():
            heard.environment = event.environment
        case events.FindingEvent():
            heard.findings.append(event.finding)
        case events.ExposureEvent():
            earlier = heard.exposure.runs if heard.exposure else []
            heard.exposure = ExposureInfo(method=event.run.method, runs=[*earlier, event.run])
        case events.RecoveredEvent():
            if not request.keep_witness or len(heard.recovered) >= MAX_TRIGGERS:
                heard.error = f"{request.model}: the worker process handed over what nobody asked for"
            heard.recovered.append(Handed(event.form))
        case events.PieceEvent():
            _take(event.data, heard, request)
        case events.WordsEvent():
            if not request.keep_witness or len(heard.words) >= MAX_TRIGGERS:
                heard.error = f"{request.model}: the worker process handed over what nobody asked for"
            heard.words.append(event.form)
        case events.PlantedEvent():
            if not request.plant or heard.planted or event.planted.attack != request.plant.attack:
                heard.error = f"{request.model}: the worker process planted what nobody asked for"
            heard.planted = event.planted
        case events.CandidateEvent():
            if not request.removal or len(heard.candidates) >= MAX_CANDIDATES:
                heard.error = f"{request.model}: the worker process repaired what nobody asked for"
            else:
                heard.candidates.append(event.candidate)
        case events.RepairedEvent():
            if not request.removal or heard.repaired:
                heard.error = f"{request.model}: the worker process repaired what nobody asked for"
            heard.repaired = event.repaired
        case events.TimingEvent():
            heard.timings[event.stage] = event.seconds
        case events.StoppedEvent():
            heard.stopped = event.reason
        case events.ErrorEvent():
            heard.error, heard.usage = event.message, event.usage
        case events.DoneEvent():
            heard.done = True


def _take(data: str, heard: _Heard, request: ScanRequest) -> None:
    try:
        heard.recovered[-1].add(data)
    except (IndexError, ValueError):
        heard.error = f"{request.model}: the worker process handed over something else than it announced"


def _result(request: ScanRequest, policy: LoadedPolicy, heard: _Heard, started: str) -> ScanResult:
    """Every check of the policy gets a finding, so that no report is silent about one."""
    findings = list(heard.findings)
    silent_about = set(request.policy.checks) - {finding.check for finding in findings}
    if heard.done and not heard.stopped and silent_about:
        heard.error = f"{request.model}: the worker process gave no answer about {', '.join(sorted(silent_about))}"
    if heard.error:
        findings.append(Finding(check="scan", outcome=Outcome.ERROR, message=heard.error[:4000]))
    reached = {finding.check for finding in findings}
    why = heard.error or heard.stopped or "the scan did not reach it"
    for name in request.policy.checks:
        if name not in reached:
            message = f"not reached: {why}"[:4000]
            findings.append(Finding(check=name, outcome=Outcome.SKIPPED, message=message))
    verdict, reason = decide(request.policy, findings)
    if heard.error and verdict is not Verdict.FAILED:
        verdict, reason = Verdict.ERROR, heard.error
    return ScanResult(
        tool=ToolInfo(version=version("ebyd-scan")),
        model=heard.model,
        samples=heard.samples,
        policy=PolicyInfo(name=request.policy.name, sha256=policy.sha256),
        seed=request.seed,
        started=started,
        verdict=verdict,
        reason=reason,
        findings=findings,
        exposure=heard.exposure,
        timings={stage: round(seconds, 3) for stage, seconds in heard.timings.items()},
        environment=heard.environment,
    )


def _environment() -> dict[str, str]:
    """No hub, no network surprises: models and configurations come from the disk only."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


def _how_it_ended(worker: subprocess.Popen[bytes]) -> str:
    try:
        code = worker.wait(timeout=2)
    except subprocess.TimeoutExpired:
        return "closed its channel"
    if code < 0:
        name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
        return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"ended with status {code}"


def _close(worker: subprocess.Popen[bytes], reader: threading.Thread, lines: queue.Queue[bytes | None]) -> None:
    """Close the channels, never waiting for a process that got away and still holds one."""
    for _ in range(20):
        with contextlib.suppress(queue.Empty):
            while True:
                lines.get_nowait()  # the reader may wait for room
        reader.join(timeout=0.05)
        if not reader.is_alive():
            break
    for stream in (worker.stdin, None if reader.is_alive() else worker.stdout):
        if stream:
            with contextlib.suppress(BrokenPipeError, ValueError):
                stream.close()
