"""Which audit does which scan, where several share a store.

A claim ends with the process that made it: on the same machine that is looked up, elsewhere a claim without a sign of
life for `STALE_SECONDS` counts for nothing.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from contextlib import suppress
from pathlib import Path

from .store import Store

STALE_SECONDS = 120.0
BEAT_SECONDS = 15.0


class Claims:
    """The claims of this process."""

    def __init__(self, store: Store) -> None:
        import psutil

        self.owner = secrets.token_hex(8)
        self._store = store
        self._beaten = time.monotonic()
        born = psutil.Process().create_time()
        store.rows("INSERT INTO owners VALUES (?, ?, ?, ?)", self.owner, _host(), os.getpid(), born)

    def claim(self, key: str) -> bool:
        """Whether the scan is this process's to do now; a claim of one that is gone is taken over."""
        with self._store.writing():
            found = self._store.rows(
                "SELECT owner, beat, host, pid, born FROM claims LEFT JOIN owners USING (owner) WHERE key = ?", key
            )
            if found and found[0][0] != self.owner and _lives(*found[0][1:]):
                return False
            self._store.rows("INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", key, self.owner, time.time())
        return True

    def release(self, key: str) -> None:
        """Somebody else may do it."""
        self._store.rows("DELETE FROM claims WHERE key = ? AND owner = ?", key, self.owner)

    def beat(self) -> None:
        """A sign of life for all claims, every now and then."""
        if time.monotonic() - self._beaten > BEAT_SECONDS:
            self._beaten = time.monotonic()
            self._store.rows("UPDATE claims SET beat = ? WHERE owner = ?", time.time(), self.owner)

    def close(self) -> None:
        """Give all back, and forget those that are gone."""
        with self._store.writing():
            self._store.rows("DELETE FROM claims WHERE owner = ?", self.owner)
            self._store.rows(
                "DELETE FROM owners WHERE owner = ? OR (owner NOT IN (SELECT owner FROM claims) "
                "AND owner NOT IN (SELECT owner FROM audits WHERE ended IS NULL))",
                self.owner,
            )


def owner_lives(store: Store, owner: str) -> bool:
    """Whether the process of that name is still there, as far as can be told from here."""
    found = store.rows("SELECT host, pid, born FROM owners WHERE owner = ?", owner)
    if not found:
        return False
    beats = store.rows("SELECT max(beat) FROM claims WHERE owner = ?", owner)
    return _lives(beats[0][0] or 0.0, *found[0])


def _lives(beat: float, host: str | None, pid: int | None, born: float | None) -> bool:
    import psutil

    if host == _host() and pid is not None and born is not None:
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
