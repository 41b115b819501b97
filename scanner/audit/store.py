"""What audits have found, in SQLite: each finding is committed when it is made, and none is made twice.

`scans` hold what is known about one model under one policy with one set of samples (`keys.py`), whoever asked;
`audits` and `entries` say which audit has looked at which models, and how each ended. Any number of audits may share a
store: a scan is claimed by the one that does it (`claims.py`), and what is there already is never written over.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...evidence.errors import ScanError
from ...evidence.exposure import ExposureRun
from ...evidence.finding import Finding
from ...evidence.result import ModelInfo, SamplesInfo
from ..tiers import TIERS, Tier

VERSION = 1
_APPLICATION = 0x45425944  # "EBYD", in the file's head
_WAIT_SECONDS = 60.0  # for another audit's commit
_SCHEMA = """
CREATE TABLE scans (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, samples TEXT, environment TEXT, started TEXT NOT NULL, stopped TEXT,
    error TEXT, tiers INTEGER NOT NULL DEFAULT 0 CHECK (tiers BETWEEN 0 AND 3), finished TEXT);
CREATE TABLE findings (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, made TEXT NOT NULL,
    UNIQUE (key, name));
CREATE TABLE exposures (key TEXT NOT NULL, seed INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (key, seed));
CREATE TABLE timings (key TEXT NOT NULL, stage TEXT NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (key, stage));
CREATE TABLE triggers (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, family TEXT NOT NULL, label INTEGER NOT NULL, form TEXT NOT NULL,
    data BLOB, UNIQUE (key, family, label));
CREATE TABLE files (path TEXT PRIMARY KEY, signature TEXT NOT NULL, model TEXT NOT NULL);
CREATE TABLE refused (place TEXT PRIMARY KEY, error TEXT NOT NULL);
CREATE TABLE policies (sha256 TEXT PRIMARY KEY, body TEXT NOT NULL, source TEXT NOT NULL);
CREATE TABLE audits (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL, plan TEXT NOT NULL, owner TEXT NOT NULL, started TEXT NOT NULL,
    ended TEXT, seconds REAL NOT NULL DEFAULT 0, left_out TEXT NOT NULL DEFAULT '[]');
CREATE TABLE entries (
    audit INTEGER NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL, path TEXT NOT NULL, request TEXT,
    policy TEXT, key TEXT, error TEXT, unsearched TEXT, source TEXT, verdict TEXT, ended TEXT,
    PRIMARY KEY (audit, name));
CREATE TABLE owners (owner TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, born REAL NOT NULL,
    beat REAL NOT NULL);
CREATE TABLE claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL);
"""


@dataclass
class Known:
    """What is known about one key."""

    model: ModelInfo
    started: str
    samples: SamplesInfo | None = None
    environment: dict[str, str] = field(default_factory=dict)
    stopped: str | None = None
    error: str | None = None  # that another try would not mend
    tiers: int = 0  # how many are done, from the cheapest
    findings: list[Finding] = field(default_factory=list)
    exposures: list[ExposureRun] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to be done."""
        return self.tiers >= len(TIERS) or self.stopped is not None or self.error is not None

    @property
    def next_tier(self) -> Tier:
        """The first that is not done."""
        return TIERS[self.tiers]


class Store:
    """One connection to a store; for one thread."""

    def __init__(self, path: Path) -> None:
        """Open a store, or make one where there is no file.

        Raises:
            ScanError: the file is no store of ours, damaged, of a later version, or cannot be written.
        """
        self.path = path
        try:
            self.db = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)
            self._prepare()
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def close(self) -> None:
        """Let go of the file."""
        self.db.close()

    def _prepare(self) -> None:
        self.db.execute("PRAGMA trusted_schema=OFF")
        with self.writing():
            tables = self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            application = self.db.execute("PRAGMA application_id").fetchone()[0]
            found = self.db.execute("PRAGMA user_version").fetchone()[0]
            if not tables and not application:
                for statement in _SCHEMA.split(";"):
                    self.db.execute(statement)
                self.db.execute(f"PRAGMA application_id={_APPLICATION}")
                self.db.execute(f"PRAGMA user_version={VERSION}")
            elif application != _APPLICATION:
                raise ScanError(f"{self.path} is a database of another program, not a store of audits: name another")
            elif found != VERSION:
                raise ScanError(
                    f"{self.path} is a store of version {found}, and this is for version {VERSION}: name another, or "
                    "use the release of ebyd-scan that made it"
                )
        # A commit survives the end of any process; of the last moments before a power cut the scans are done again.
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=NORMAL")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction: all of it or nothing, and nobody else writes meanwhile. May stand within another."""
        if self.db.in_transaction:
            yield
            return
        try:
            self.db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite may have done it by itself, on a full disk say
                self.db.execute("ROLLBACK")
            raise
        try:
            self.db.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self.db.execute("ROLLBACK")
            raise self._unusable(error) from None

    def rows(self, query: str, *values: Any) -> list[Any]:
        """All rows of a query, or what a statement changed. Raises ScanError."""
        try:
            return self.db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _unusable(self, error: sqlite3.Error) -> ScanError:
        return ScanError(f"the store {self.path} cannot be used ({error}): check its place, or name another")

    def broken(self, error: Exception) -> ScanError:
        """For a row that is not what was written."""
        return ScanError(f"the store {self.path} is damaged ({type(error).__name__}): name another, and scan again")

    # -- files: which model lay where --

    def model_at(self, path: str, signature: str | None) -> ModelInfo | None:
        """The model that lay there when its files had this signature."""
        found = self.rows("SELECT model FROM files WHERE path = ? AND signature = ?", path, signature)
        return self._parsed(ModelInfo, found[0][0]) if found else None

    def beside(self, path: str) -> list[str]:
        """Names of the files that the model there had beside it when it was last read."""
        found = self.rows("SELECT model FROM files WHERE path = ?", path)
        return list((self._parsed(ModelInfo, found[0][0])).files or {}) if found else []

    def put_model_at(self, path: str, signature: str, model: ModelInfo) -> None:
        """Remember what lies there."""
        self.rows("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", path, signature, model.model_dump_json())

    def refusal(self, place: str) -> str | None:
        """Why what lies there, with its signature and settings, is no model that can be scanned."""
        found = self.rows("SELECT error FROM refused WHERE place = ?", place)
        return found[0][0] if found else None

    def put_refusal(self, place: str, error: str) -> None:
        """Remember it."""
        self.rows("INSERT OR REPLACE INTO refused VALUES (?, ?)", place, error)

    # -- scans: what is known of a key --

    def known(self, key: str) -> Known | None:
        """All that is known of a key but its triggers; None where nothing is."""
        found = self.rows(
            "SELECT model, started, samples, environment, stopped, error, tiers FROM scans WHERE key = ?", key
        )
        if not found:
            return None
        model, started, samples, environment, stopped, error, tiers = found[0]
        try:
            return Known(
                self._parsed(ModelInfo, model),
                started,
                self._parsed(SamplesInfo, samples) if samples else None,
                {str(name): str(value) for name, value in json.loads(environment or "{}").items()},
                stopped,
                error,
                range(len(TIERS) + 1)[tiers],
                [
                    self._parsed(Finding, body)
                    for (body,) in self.rows("SELECT body FROM findings WHERE key = ? ORDER BY number", key)
                ],
                [
                    self._parsed(ExposureRun, body)
                    for (body,) in self.rows("SELECT body FROM exposures WHERE key = ? ORDER BY seed", key)
                ],
                {str(stage): float(seconds) for stage, seconds in self.rows(
                    "SELECT stage, seconds FROM timings WHERE key = ? ORDER BY rowid", key)},
            )  # fmt: skip
        except (ValueError, TypeError, AttributeError, IndexError) as problem:
            raise self.broken(problem) from None

    def finished(self, key: str) -> bool:
        """Whether nothing is left to be done for a key."""
        return bool(self.rows("SELECT 1 FROM scans WHERE key = ? AND finished IS NOT NULL", key))

    def _parsed(self, kind: Any, text: str) -> Any:
        try:
            return kind.model_validate_json(text)
        except ValidationError as problem:
            raise self.broken(problem) from None
