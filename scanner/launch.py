"""Starts the process that scans: a new interpreter, which takes seconds to import torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import IO, Protocol


class Worker(Protocol):
    """A process that leads a group of its own; the channels are its standard input and output."""

    @property
    def pid(self) -> int: ...
    @property
    def stdin(self) -> IO[bytes]: ...
    @property
    def stdout(self) -> IO[bytes]: ...

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """The same once it has ended. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        ...

    def kill(self) -> None:
        """End the process alone; not the group."""
        ...


Launch = Callable[[bool], Worker]
"""Takes whether the worker may write to our standard error."""


class _Process:
    """A Popen with both channels."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin and process.stdout
        self.pid, self.stdin, self.stdout = process.pid, process.stdin, process.stdout
        self.poll, self.wait, self.kill = process.poll, process.wait, process.kill


def start_worker(verbose: bool) -> Worker:
    """A new interpreter."""
    return _Process(
        subprocess.Popen(
            # -P: what lies in the current folder, a `torch.py` for example, must not stand in for what is installed.
            [sys.executable, "-P", "-m", "ebyd_scan.scanner.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if verbose else subprocess.DEVNULL,
            start_new_session=True,
            env=environment(),
        )
    )


def environment() -> dict[str, str]:
    """No hub, no network surprises: models and configurations come from the disk only."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
