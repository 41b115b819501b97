"""A process that has imported torch and forks a worker for each scan, which so starts in milliseconds, not seconds.

`python -P -m ebyd_scan.scanner.zygote FD`. It never sees a model, a path or an order: each worker is a fork of its own,
with channels that are handed over beside an empty message, and ends with its scan. It starts no threads and no CUDA,
which could not be forked. Linux only; elsewhere every worker is a new interpreter.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

# What a scan imports on its way; what is not installed here is an extra that nobody uses.
_LIGHT = ("ebyd_scan.scanner.worker", "ebyd_scan.checks.graph_logic")
_HEAVY = (
    "torch",
    "ebyd_scan.scanner.models.load",
    "ebyd_scan.scanner.samples.load",
    "ebyd_scan.checks.trigger_search",
    "ebyd_scan.exposers.clean_unlearning",
)
LIGHT, HEAVY = b"l", b"h"
"""Messages: a worker for the file alone, or one that needs torch, which is imported when the first is wanted."""
_FDS = 4  # channels in a message: orders, answers, errors, status


def main() -> None:
    """Fork for as long as whoever started this holds the other end."""
    control = socket.socket(fileno=int(sys.argv[1]))
    heavy = False
    _preload(_LIGHT)
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    statuses: dict[int, int] = {}  # pidfd -> where to tell how it ended
    while True:
        for key, _ in selector.select():
            if key.fileobj is not control:
                _reap(key.fd, statuses.pop(key.fd), selector)
                continue
            message, fds, _, _ = socket.recv_fds(control, len(HEAVY), _FDS)
            if not message:
                os._exit(0)
            if message == HEAVY and not heavy:
                heavy = True
                _preload(_HEAVY)
            try:
                if len(fds) == _FDS:
                    _fork(fds, control, selector, statuses)
                    continue
            except OSError:  # no more processes: this worker cannot be had, the others go on
                pass
            for fd in fds:
                with contextlib.suppress(OSError):
                    os.close(fd)


def _preload(names: Sequence[str]) -> None:
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if names is _HEAVY:
        from .torchvision_compat import import_torchvision

        with contextlib.suppress(Exception):  # not installed, or broken: told by the scan that needs it
            import_torchvision()
    gc.collect()
    gc.freeze()  # pages that are not written to stay shared


def _fork(fds: list[int], control: socket.socket, selector: selectors.BaseSelector, statuses: dict[int, int]) -> None:
    orders, answers, errors, status = fds
    pid = os.fork()
    if pid == 0:
        ours = [control.fileno(), *statuses, *statuses.values(), status]
        _be_worker(orders, answers, errors, ours)
    try:
        watch = os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    for fd in (orders, answers, errors):
        os.close(fd)
    statuses[watch] = status
    selector.register(watch, selectors.EVENT_READ, pid)
    _tell(status, pid)


def _be_worker(orders: int, answers: int, errors: int, ours: list[int]) -> NoReturn:
    """The fork: a session of its own, and no channel but its own."""
    try:
        os.setsid()
        for standard, fd in enumerate((orders, answers, errors)):
            os.dup2(fd, standard)
        for fd in (orders, answers, errors, *ours):
            if fd > 2:
                os.close(fd)
        from .worker import main as work

        work()
    except BaseException:
        import traceback

        traceback.print_exc()
    os._exit(1)


def _reap(watch: int, status: int, selector: selectors.BaseSelector) -> None:
    pid = selector.get_key(watch).data
    selector.unregister(watch)
    _, ended = os.waitpid(pid, 0)
    _tell(status, os.waitstatus_to_exitcode(ended))
    os.close(watch)
    os.close(status)


def _tell(status: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(status, b"%d\n" % number)


if __name__ == "__main__":
    main()
