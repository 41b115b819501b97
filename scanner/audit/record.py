"""Writes what a scan says into the store, each finding when it is made."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime

from ...evidence.result import ModelInfo
from .. import events
from ..handover import Handed, RecoveredForm, WordsForm
from ..tiers import TIERS, Tier
from .store import Store

_OF_FILES = ("file-safety", "graph-logic")  # what they say hangs on the file alone
_WORDS = "words"  # the family of trigger words


def begin(store: Store, key: str, model: ModelInfo) -> None:
    """There is such a model; what is known of it stays."""
    store.rows(
        "INSERT OR IGNORE INTO scans (key, model, started) VALUES (?, ?, ?)", key, model.model_dump_json(), now()
    )


def put_model(store: Store, key: str, model: ModelInfo) -> None:
    """The model was loaded, which says more of it than its file."""
    _set(store, key, "model", model.model_dump_json())


def take(store: Store, key: str, event: events.Event) -> None:
    """Commit what an event says; what was said before is not said twice. Triggers come as a whole: `put_trigger`."""
    match event:
        case events.FindingEvent():
            finding = event.finding
            store.rows(
                "INSERT OR IGNORE INTO findings (key, name, body, made) VALUES (?, ?, ?, ?)",
                key, finding.check, finding.model_dump_json(), now(),
            )  # fmt: skip
        case events.ExposureEvent():
            store.rows(
                "INSERT OR IGNORE INTO exposures VALUES (?, ?, ?)", key, event.run.seed, event.run.model_dump_json()
            )
        case events.SamplesEvent():
            _set(store, key, "samples", event.samples.model_dump_json())
        case events.EnvironmentEvent():
            _set(store, key, "environment", json.dumps(event.environment))


def end_tier(store: Store, key: str, tier: Tier, timings: dict[str, float], stopped: str | None) -> None:
    """The tier is done, and the scan with it where it has stopped or this was the last."""
    done = TIERS.index(tier) + 1
    with store.writing():
        for stage, seconds in timings.items():
            store.rows(
                "INSERT INTO timings VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seconds = seconds + excluded.seconds",
                key, stage, seconds,
            )  # fmt: skip
        store.rows("UPDATE scans SET tiers = max(tiers, ?) WHERE key = ?", done, key)
        if stopped is not None:
            _set(store, key, "stopped", stopped)
        if stopped is not None or done == len(TIERS):
            _set(store, key, "finished", now())


def refuse(store: Store, key: str, error: str) -> None:
    """The scan ended in an error that another try would not mend."""
    with store.writing():
        _set(store, key, "error", error)
        _set(store, key, "finished", now())


def has_errors(store: Store, key: str) -> bool:
    """Whether a check of the model, and not of its file, ended in an error."""
    return bool(_errors(store, key))


def forget_errors(store: Store, key: str) -> None:
    """Of checks that ended in an error nothing is known any more; what led to them stays."""
    with store.writing():
        for number in _errors(store, key):
            store.rows("DELETE FROM findings WHERE number = ?", number)
        store.rows("UPDATE scans SET stopped = NULL, finished = NULL, tiers = min(tiers, 1) WHERE key = ?", key)


def _errors(store: Store, key: str) -> list[int]:
    found = store.rows('SELECT number, name FROM findings WHERE key = ? AND body LIKE \'%"outcome":"error"%\'', key)
    return [number for number, name in found if name not in _OF_FILES]


def put_trigger(store: Store, key: str, trigger: Handed | WordsForm) -> None:
    """Keep a recovered trigger for the model's page."""
    row: tuple[str, int, str, bytes | None]
    if isinstance(trigger, WordsForm):
        row = (_WORDS, trigger.label, trigger.model_dump_json(), None)
    else:
        form = trigger.form
        row = (form.family, form.label, form.model_dump_json(), zlib.compress(bytes(trigger.data), 1))
    store.rows("INSERT OR IGNORE INTO triggers (key, family, label, form, data) VALUES (?, ?, ?, ?, ?)", key, *row)


def triggers(store: Store, key: str) -> tuple[list[Handed], list[WordsForm]]:
    """The recovered triggers of a key."""
    handed: list[Handed] = []
    words: list[WordsForm] = []
    for form, data in store.rows("SELECT form, data FROM triggers WHERE key = ? ORDER BY number", key):
        try:
            if data is None:
                words.append(WordsForm.model_validate_json(form))
            else:
                handed.append(Handed(RecoveredForm.model_validate_json(form), bytearray(zlib.decompress(data))))
        except (ValueError, zlib.error) as problem:
            raise store.broken(problem) from None
    return [one for one in handed if not one.missing], words


def now() -> str:
    """This moment as ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _set(store: Store, key: str, column: str, value: str) -> None:
    store.rows(f"UPDATE scans SET {column} = ? WHERE key = ?", value, key)
