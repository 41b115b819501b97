"""Which audit does which scan, where several share a store.

A claim ends with the process that made it: on the same machine that is looked up, elsewhere an owner without a sign of
life for `STALE_SECONDS` counts for nothing.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from ...evidence.errors import ScanError
from .store import Store

STALE_SECONDS = 120.0
BEAT_SECONDS = 15.0


class Claims:
    """The claims of this process, which gives a sign of life as long as they are open."""

    def __init__(self, store: Store) -> None:
        import psutil

        self.owner = secrets.token_hex(8)
        self._store = store
        self._closed = threading.Event()
        born = psutil.Process().create_time()
        store.rows("INSERT INTO owners VALUES (?, ?, ?, ?, ?)", self.owner, _host(), os.getpid(), born, time.time())
        threading.Thread(target=self._live, name="signs of life", daemon=True).start()

    def claim(self, key: str) -> bool:
        """Whether the scan is this process's to do now; a claim of one that is gone is taken over."""
        with self._store.writing():
            found = self._store.rows(
                "SELECT owner, host, pid, born, beat FROM claims LEFT JOIN owners USING (owner) WHERE key = ?", key
            )
            if found and found[0][0] != self.owner and _lives(*found[0][1:]):
                return False
            self._store.rows("INSERT OR REPLACE INTO claims VALUES (?, ?)", key, self.owner)
        return True

    def release(self, key: str) -> None:
        """Somebody else may do it."""
        self._store.rows("DELETE FROM claims WHERE key = ? AND owner = ?", key, self.owner)

    def close(self) -> None:
        """Give all back, and forget those that are gone."""
        self._closed.set()
        with self._store.writing():
            self._store.rows("DELETE FROM claims WHERE owner = ?", self.owner)
            self._store.rows("DELETE FROM owners WHERE owner = ?", self.owner)
            for owner, *known in self._store.rows("SELECT owner, host, pid, born, beat FROM owners"):
                if not _lives(*known):
                    self._store.rows("DELETE FROM claims WHERE owner = ?", owner)
                    self._store.rows("DELETE FROM owners WHERE owner = ?", owner)

    def _live(self) -> None:
        """In a thread with a connection of its own: the audit's may be busy with a model for an hour."""
        while not self._closed.wait(BEAT_SECONDS):
            with suppress(ScanError):  # the audit itself will tell
                store = Store(self._store.path)
                store.rows("UPDATE owners SET beat = ? WHERE owner = ?", time.time(), self.owner)
                store.close()


def owner_lives(store: Store, owner: str) -> bool:
    """Whether the process of that name is still there, as far as can be told from here."""
    found = store.rows("SELECT host, pid, born, beat FROM owners WHERE owner = ?", owner)
    return bool(found) and _lives(*found[0])


def _lives(host: str | None, pid: int | None, born: float | None, beat: float | None) -> bool:
    import psutil

    if host is None or pid is None or born is None or beat is None:
        return False
    if host == _host():
        try:
            return abs(psutil.Process(pid).create_time() - born) < 1
        except psutil.Error:
            return False
    return time.time() - beat < STALE_SECONDS


def _host() -> str:
    """This boot of this machine: process numbers mean something in it alone."""
    boot = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    with suppress(OSError):  # containers on one machine count their processes apart
        boot += f" {Path('/proc/self/ns/pid').readlink()}"
    return f"{socket.gethostname()} {boot}"
