"""The worker process: reads a request from standard input, scans, writes events to standard output.

Run by the supervisor as `python -P -m ebyd_scan.scanner.worker`. Whatever the model or the architecture's code
prints goes to standard error, so that it cannot pass for an event; if it asks for input there is none.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import IO

from pydantic import ValidationError

from ..evidence.errors import MissingExtra, ScanError, UsageError
from . import events
from .out_of_memory import is_out_of_memory
from .request import ScanRequest
from .scan import Emit, scan
from .tiers import FileChanged


def main() -> None:
    """Answer one request; the exit status says nothing, the last event does."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)
    orders = os.fdopen(os.dup(0), encoding="utf-8")
    _no_input()
    order = json.loads(orders.readline())
    _limit_memory(order["memory_bytes"], order["request"]["device"])
    _die_with_parent(orders)

    def emit(event: events.Event) -> None:
        channel.write(event.model_dump_json() + "\n")
        channel.flush()

    emit(_answer(ScanRequest.model_validate(order["request"]), emit))
    channel.flush()
    os._exit(0)  # no thread or exit handler of a foreign library keeps us


def _no_input() -> None:
    """The orders come from standard input: an `input()` in the architecture's code must not wait for one."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def _answer(request: ScanRequest, emit: Emit) -> events.Event:
    try:
        scan(request, emit)
    except UsageError as problem:
        return events.ErrorEvent(message=_clip(str(problem)), usage=True)
    except ScanError as problem:
        again = isinstance(problem, MissingExtra | FileChanged) or isinstance(problem.__context__, OSError)
        return events.ErrorEvent(message=_clip(str(problem)), again=again)
    except ValidationError as problem:
        return events.ErrorEvent(message=_clip(f"a check gave an invalid finding: {problem}"))
    except Exception as problem:
        if is_out_of_memory(problem):
            return events.ErrorEvent(
                message=f"{request.model}: the scan needs more than the memory limit of "
                f"{request.policy.limits.memory:g} GiB; raise it with --memory or in the policy",
                again=True,
            )
        import traceback

        traceback.print_exc()
        text = str(problem).strip().splitlines()
        detail = f"{type(problem).__name__}: {text[0] if text else ''}"
        return events.ErrorEvent(message=_clip(f"{request.model}: the scan broke: {detail}"), again=True)
    return events.DoneEvent()


def _limit_memory(limit: int, device: str) -> None:
    """A hard limit below the supervisor's watch; CUDA maps far more than it uses, so not with a GPU."""
    try:
        import resource
    except ModuleNotFoundError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux" and not (device.startswith("cuda") or (device == "auto" and _has_nvidia())):
        allowed = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = min(limit, sys.maxsize if allowed == resource.RLIM_INFINITY else allowed)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _has_nvidia() -> bool:
    return os.path.exists("/dev/nvidiactl")  # noqa: PTH110


def _die_with_parent(orders: IO[str]) -> None:
    """The orders' channel closes when the supervisor goes, however it went; what was started here goes too."""
    leader = sys.platform != "win32" and os.getpgrp() == os.getpid()
    if sys.platform == "linux" and leader:
        import fcntl

        # The kernel itself kills the group: the thread below waits for the interpreter, which a call into C may hold.
        fcntl.fcntl(orders, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(orders, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(orders, fcntl.F_SETFL, fcntl.fcntl(orders, fcntl.F_GETFL) | os.O_ASYNC)

    def wait() -> None:
        orders.read()
        if leader:
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _clip(text: str) -> str:
    return text if len(text) <= 4000 else text[:3990] + " [...]"


if __name__ == "__main__":
    main()
