"""The audits of a store: when each was, over which models, and how each model's scan ended in it."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ...evidence.audit import LeftOut
from ...evidence.errors import UsageError
from ...evidence.verdict import Verdict
from ...policies.load import LoadedPolicy
from ...policies.model import Policy
from ..request import ScanRequest
from .claims import owner_lives
from .record import now
from .store import Store


@dataclass(frozen=True)
class AuditRow:
    """One audit."""

    id: int
    source: str
    started: str
    ended: str | None
    seconds: float
    left_out: list[LeftOut]


@dataclass(frozen=True)
class Entry:
    """One model of an audit. Not ended: the audit was stopped before it came so far."""

    position: int
    name: str
    path: str
    request: ScanRequest | None = None  # None where the options already were wrong
    policy: LoadedPolicy | None = None
    key: str | None = None  # None where the file was never read
    error: str | None = None
    unsearched: str | None = None  # why the search for triggers was left out
    source: str | None = None  # "scanned" or "store"
    verdict: Verdict | None = None
    ended: str | None = None


def open_audit(store: Store, source: str, plan: str, owner: str) -> tuple[int, bool]:
    """The number of the audit that this run is, and whether it goes on with one that was stopped.

    An audit goes on where one with the same plan has no end and its process is gone.
    """
    with store.writing():
        for number, other in store.rows(
            "SELECT id, owner FROM audits WHERE plan = ? AND ended IS NULL ORDER BY id DESC", plan
        ):
            if not owner_lives(store, other):
                store.rows("UPDATE audits SET owner = ? WHERE id = ?", owner, number)
                return int(number), True
        store.rows("INSERT INTO audits (source, plan, owner, started) VALUES (?, ?, ?, ?)", source, plan, owner, now())
        return int(store.rows("SELECT last_insert_rowid()")[0][0]), False


def put_entries(
    store: Store, audit: int, entries: list[Entry], left_out: list[LeftOut], keep: Container[str] = ()
) -> None:
    """What the audit is going to look at; of earlier entries only those whose names are to be kept stay as they are."""
    with store.writing():
        names = {entry.name for entry in entries}
        for (name,) in store.rows("SELECT name FROM entries WHERE audit = ?", audit):
            if name not in names or name not in keep:
                store.rows("DELETE FROM entries WHERE audit = ? AND name = ?", audit, name)
        for entry in entries:
            request = entry.request.model_dump_json(exclude={"policy", "part"}) if entry.request else None
            policy = entry.policy.sha256 if entry.policy else None
            store.rows(
                "INSERT INTO entries (audit, position, name, path, request, policy) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET position = excluded.position, path = excluded.path, "
                "request = excluded.request, policy = excluded.policy",
                audit, entry.position, entry.name, entry.path, request, policy,
            )  # fmt: skip
        for loaded in {entry.policy.sha256: entry.policy for entry in entries if entry.policy}.values():
            store.rows(
                "INSERT OR IGNORE INTO policies VALUES (?, ?, ?)",
                loaded.sha256, loaded.policy.model_dump_json(), loaded.source,
            )  # fmt: skip
        told = json.dumps([one.model_dump() for one in left_out])
        store.rows("UPDATE audits SET left_out = ? WHERE id = ?", told, audit)


def end_entry(store: Store, audit: int, entry: Entry) -> None:
    """The model's scan has ended in this audit."""
    store.rows(
        "UPDATE entries SET key = ?, error = ?, unsearched = ?, source = ?, verdict = ?, ended = ? "
        "WHERE audit = ? AND name = ?",
        entry.key, entry.error, entry.unsearched, entry.source, entry.verdict, now(), audit, entry.name,
    )  # fmt: skip


def add_seconds(store: Store, audit: int, seconds: float) -> None:
    """Time that the audit has taken, over all its runs."""
    store.rows("UPDATE audits SET seconds = seconds + ? WHERE id = ?", seconds, audit)


def end_audit(store: Store, audit: int) -> None:
    """All of it has been looked at."""
    store.rows("UPDATE audits SET ended = ? WHERE id = ?", now(), audit)


def entries_of(store: Store, audit: int) -> list[Entry]:
    """The models of an audit, in order."""
    policies: dict[str, LoadedPolicy] = {}
    found = []
    for row in store.rows(
        "SELECT position, name, path, request, policy, key, error, unsearched, source, verdict, ended FROM entries "
        "WHERE audit = ? ORDER BY position",
        audit,
    ):
        position, name, path, request, policy, *rest = row
        if policy is not None and policy not in policies:
            policies[policy] = _policy(store, policy)
        loaded = policies.get(policy) if policy else None
        found.append(Entry(position, name, path, _request(store, request, loaded), loaded, *_ended(store, rest)))
    return found


def audits(store: Store, source: str | None = None) -> list[AuditRow]:
    """The audits of a store, the oldest first; with a source those of it alone."""
    where, values = (" WHERE source = ?", [source]) if source is not None else ("", [])
    rows = store.rows(f"SELECT id, source, started, ended, seconds, left_out FROM audits{where} ORDER BY id", *values)
    try:
        return [
            AuditRow(number, place, started, ended, seconds, [LeftOut(**one) for one in json.loads(left)])
            for number, place, started, ended, seconds, left in rows
        ]
    except (ValueError, TypeError) as problem:
        raise store.broken(problem) from None


def audit_of(store: Store, wanted: str) -> AuditRow:
    """By its number, or `last`, or `last~N` for the Nth before it. Raises UsageError."""
    every = audits(store)
    if not every:
        raise UsageError(f"{store.path} holds no audit yet: make one with `ebyd-scan audit FOLDER`")
    word, _, back = wanted.partition("~")
    if word == "last" and (back.isdigit() or not back):
        index = len(every) - 1 - int(back or 0)
        if index >= 0:
            return every[index]
    for one in every:
        if str(one.id) == wanted:
            return one
    numbers = f"{every[0].id} to {every[-1].id}" if len(every) > 1 else str(every[0].id)
    raise UsageError(f"{wanted!r} is no audit of {store.path}: it has {numbers}, `last` and `last~1`")


def _policy(store: Store, sha256: str) -> LoadedPolicy:
    found = store.rows("SELECT body, source FROM policies WHERE sha256 = ?", sha256)
    try:
        return LoadedPolicy(Policy.model_validate_json(found[0][0]), sha256, found[0][1])
    except (ValidationError, IndexError) as problem:
        raise store.broken(problem) from None


def _request(store: Store, text: str | None, policy: LoadedPolicy | None) -> ScanRequest | None:
    if text is None or policy is None:
        return None
    try:
        return ScanRequest.model_validate({**json.loads(text), "policy": policy.policy})
    except (ValueError, TypeError) as problem:
        raise store.broken(problem) from None


def _ended(store: Store, row: list[Any]) -> list[Any]:
    *before, verdict, ended = row
    try:
        return [*before, Verdict(verdict) if verdict else None, ended]
    except ValueError as problem:
        raise store.broken(problem) from None
