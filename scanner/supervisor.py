"""Runs one scan in a worker process under limits and makes a result of what the worker said.

The supervisor never opens the model and imports no torch. Whatever the worker does (crash, hang, eat all memory,
talk nonsense), the answer is a result.
"""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import IO

from pydantic import ValidationError

from ..evidence.context import Progress, silent
from ..evidence.errors import MissingExtra, UsageError
from ..evidence.removal import CandidateInfo
from ..evidence.result import ScanResult, Verdict
from ..policies.load import LoadedPolicy
from . import events
from .handover import Handed, WordsForm
from .heard import Heard, result_of
from .launch import Launch, Worker, start_worker
from .planted import Planted
from .removal_order import Repaired
from .request import ScanRequest

MAX_LINE = 8 << 20  # bytes of one event; a longer one is nonsense
MAX_SAID = 256 << 20  # bytes of all events of one scan
MAX_WAITING = 16  # lines read ahead of what has been understood
POLL_SECONDS = 0.1
LAST_WORDS_SECONDS = 1.0


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
    heard = Heard.nothing(request)
    listen(request, heard, progress=progress, verbose=verbose, stop=stop)
    if heard.usage:
        raise UsageError(heard.error)
    heard.timings["total"] = time.monotonic() - clock
    result = result_of(request, policy, heard, started)
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


def listen(
    request: ScanRequest,
    heard: Heard,
    *,
    progress: Progress = silent,
    verbose: bool = False,
    stop: Stop | None = None,
    on_event: Callable[[events.Event], None] = lambda event: None,
    launch: Launch = start_worker,
) -> None:
    """Have the request answered by a process of its own, under the policy's limits, and hear it to the end.

    Args:
        heard: gets what is said; after this it is done, or has an error.
        on_event: gets each event when it has been understood, but for progress.
        launch: starts the process.
    """
    stop = stop or Stop()
    try:
        require_torch()
    except MissingExtra as problem:
        heard.error = str(problem)  # a result like any other, so that reports are written and none is an older scan's
        heard.again = True
        return
    if stop.reason:  # before it began
        heard.error, heard.again = f"{request.model}: {stop.reason}", True
        return
    worker = launch(verbose)
    lines: queue.Queue[bytes | None] = queue.Queue(maxsize=MAX_WAITING)
    reader = threading.Thread(target=_read_lines, args=(worker.stdout, lines), daemon=True)
    reader.start()
    try:
        _listen(worker, lines, request, heard, progress, stop, on_event)
    finally:
        _close(worker, reader, lines)


def _listen(
    worker: Worker,
    lines: queue.Queue[bytes | None],
    request: ScanRequest,
    heard: Heard,
    progress: Progress,
    stop: Stop,
    on_event: Callable[[events.Event], None],
) -> None:
    from .family import Family

    family = Family(worker)
    limits = request.policy.limits
    memory_bytes = int(limits.memory * 2**30)
    deadline, look = time.monotonic() + limits.timeout, 0.0
    try:
        _order(worker.stdin, request, memory_bytes)
        while not (heard.done or heard.error):
            now, used = time.monotonic(), 0
            if now >= look:
                look, used = now + POLL_SECONDS, family.resident()
            if now > deadline:
                broken = f"the scan took longer than the limit of {limits.timeout:g} s; raise it with --timeout or in "
                broken += "the policy"
            elif stop.reason:
                broken = stop.reason
            elif used > memory_bytes:
                broken = (
                    f"the scan used {used / 2**30:.1f} GiB, more than the memory limit of {limits.memory:g} GiB; raise "
                    "it with --memory or in the policy"
                )
            else:
                _hear_next(lines, heard, progress, worker, request, on_event)
                continue
            heard.error, heard.again = f"{request.model}: {broken}", True
    finally:
        family.kill()


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
    heard: Heard,
    progress: Progress,
    worker: Worker,
    request: ScanRequest,
    on_event: Callable[[events.Event], None],
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
        heard.again = heard.lost = True
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
    if isinstance(event, events.ProgressEvent):
        progress(event.stage, event.done, event.total)
    else:
        heard.take(event, request)
        if not heard.error:  # else it is not what was asked for, or says so itself
            on_event(event)


def _how_it_ended(worker: Worker) -> str:
    try:
        code = worker.wait(timeout=2)
    except subprocess.TimeoutExpired:
        return "closed its channel"
    if code < 0:
        name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
        return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"ended with status {code}"


def _close(worker: Worker, reader: threading.Thread, lines: queue.Queue[bytes | None]) -> None:
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
