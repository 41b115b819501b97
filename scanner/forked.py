"""Workers that a zygote forks: the side of the process that wants them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import IO, Final

from .launch import Launch, Worker, environment, start_worker
from .tiers import Tier
from .zygote import HEAVY, LIGHT

AVAILABLE: Final = sys.platform == "linux"
_START_SECONDS: Final = 120.0  # torch on a slow disk
_LOST: Final = -int(signal.SIGKILL)  # how a worker ended whose zygote is gone


class Zygote:
    """Starts workers, from any thread; a new zygote is started where the last one has died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def launcher(self, tier: Tier | None) -> Launch:
        """Starts workers for a tier: forks, or new interpreters where those cannot be had."""

        def launch(verbose: bool) -> Worker:
            if AVAILABLE:
                with contextlib.suppress(OSError, EOFError):
                    return self._fork(LIGHT if tier == "static" else HEAVY, verbose)
            return start_worker(verbose)

        return launch

    def close(self) -> None:
        """Let the zygote go; workers end with the channels of their own."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._control:
            self._control.close()
        if self._process:
            try:
                self._process.wait(timeout=2)
            except subprocess.TimeoutExpired:  # still importing
                self._process.kill()
                self._process.wait()
        self._control = self._process = None

    def _fork(self, message: bytes, verbose: bool) -> Worker:
        theirs: list[int] = []
        mine: list[int] = []
        try:
            orders, to_worker = os.pipe()
            theirs += [orders]
            mine += [to_worker]
            from_worker, answers = os.pipe()
            theirs += [answers]
            mine += [from_worker]
            theirs.append(os.dup(2) if verbose else os.open(os.devnull, os.O_WRONLY))
            status, tell = os.pipe()
            theirs += [tell]
            mine += [status]
            with self._lock:
                socket.send_fds(self._connected(), [message], theirs)
            for fd in theirs:
                os.close(fd)
            theirs.clear()
            return _Forked(to_worker, from_worker, status)
        except BaseException:
            for fd in (*theirs, *mine):
                with contextlib.suppress(OSError):
                    os.close(fd)
            raise

    def _connected(self) -> socket.socket:
        if self._process and self._process.poll() is not None:
            self._close()
        if self._control is None:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "ebyd_scan.scanner.zygote", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    env=environment(),
                )
        return self._control


class _Forked:
    """A worker that is the zygote's child: how it ended is told through a pipe."""

    def __init__(self, to_worker: int, from_worker: int, status: int) -> None:
        self._status = status
        self._told = b""
        self._code: int | None = None
        pid = self._line(_START_SECONDS)
        if pid is None:
            raise EOFError("the zygote did not start a worker")
        self.pid = int(pid)
        self.stdin: IO[bytes] = os.fdopen(to_worker, "wb")
        self.stdout: IO[bytes] = os.fdopen(from_worker, "rb")

    def poll(self) -> int | None:
        """The exit code, once there is one."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("worker", timeout or 0)
        return code

    def kill(self) -> None:
        """End it."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self._code is None:
            try:
                line = self._line(timeout)
            except EOFError:
                line = str(_LOST)
            if line is not None:
                self._code = int(line)
                os.close(self._status)
        return self._code

    def _line(self, timeout: float | None) -> str | None:
        """The next line of the status; None where none came in time. Raises EOFError where none will come."""
        deadline = None if timeout is None else time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._status, select.POLLIN)
        while b"\n" not in self._told:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not poll.poll(None if left is None else left * 1000):
                return None
            more = os.read(self._status, 64)
            if not more:
                raise EOFError("the zygote is gone")
            self._told += more
        line, _, self._told = self._told.partition(b"\n")
        return line.decode()
