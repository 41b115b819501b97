"""The worker and every process it started, as far as they have been seen: their memory and their end."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psutil

from .launch import Worker


class Family:
    """Watches a worker that leads a process group of its own."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._root = psutil.Process(worker.pid)
        self._seen: dict[int, psutil.Process] = {}

    def resident(self) -> int:
        """Bytes of memory held by the worker and its descendants; what is gone counts nothing."""
        try:
            members = [self._root, *_descendants(self._root)]
        except psutil.Error:
            return 0
        self._seen |= {member.pid: member for member in members[1:]}
        total = 0
        for member in members:
            try:
                total += member.memory_info().rss
            except psutil.Error:
                continue
        return total

    def kill(self) -> None:
        """End the group, and those that left it."""
        self.resident()
        if sys.platform != "win32":
            try:
                os.killpg(self._worker.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self._worker.kill()
        else:
            self._worker.kill()
        for member in self._seen.values():
            try:
                member.kill()  # compares the time it was started: never another process of the same number
            except psutil.Error:
                continue
        self._worker.wait()


def _descendants(root: psutil.Process) -> list[psutil.Process]:
    """Children and theirs. Linux tells those of one process; psutil looks at every process of the machine for it."""
    found: list[psutil.Process] = []
    left = [root.pid]
    try:
        while left:
            pid = left.pop()
            for thread in Path(f"/proc/{pid}/task").iterdir():
                left += [int(child) for child in (thread / "children").read_text(encoding="ascii").split()]
            if pid != root.pid:
                found.append(psutil.Process(pid))
    except (OSError, ValueError, psutil.Error):  # one of them has just ended, or this is no Linux
        return root.children(recursive=True)
    return found
