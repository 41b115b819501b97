"""What a worker may say: anything else is no event."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ebyd_scan.scanner import events
from pydantic import ValidationError

FINDING = {"check": "c", "outcome": "passed", "message": "m"}
CANDIDATE = {"method": "m", "applied": True, "reason": "r", "accuracy_before": 0.9}
REPAIRED = {"outcome": "removed", "reason": "r", "method": "m", "accuracy": 0.9}


@pytest.mark.parametrize(
    "event",
    [
        {"kind": "done"},
        {"kind": "progress", "stage": "s", "done": 0, "total": 0},
        {"kind": "finding", "finding": FINDING},
        {"kind": "stopped", "reason": "r"},
        {"kind": "candidate", "candidate": CANDIDATE},
        {"kind": "repaired", "repaired": REPAIRED},
        {"kind": "error", "message": "m", "usage": True},
        {"kind": "timing", "stage": "s", "seconds": 1.5},
    ],
    ids=lambda event: event["kind"],
)
def test_events_come_back_as_they_went(event: dict[str, Any]) -> None:
    parsed = events.PARSER.validate_json(json.dumps(event))
    assert events.PARSER.validate_json(parsed.model_dump_json()) == parsed


@pytest.mark.parametrize(
    "said",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"kind": "verdict", "verdict": "passed"}',
        '{"kind": "done", "verdict": "passed"}',
        '{"kind": "progress", "stage": "s", "done": -1, "total": 1}',
        '{"kind": "progress", "stage": "s", "done": 1, "total": 1e300}',
        '{"kind": "progress", "stage": "%s", "done": 1, "total": 1}' % ("x" * 201),
        '{"kind": "error", "message": "%s"}' % ("x" * 4001),
        '{"kind": "timing", "stage": "s", "seconds": NaN}',
        '{"kind": "timing", "stage": "s", "seconds": Infinity}',
        '{"kind": "finding", "finding": {"check": "c", "outcome": "fine", "message": "m"}}',
        '{"kind": "finding", "finding": {"check": "c", "outcome": "passed", "message": "m", "score": NaN}}',
        json.dumps({"kind": "candidate", "candidate": CANDIDATE | {"accuracy_before": 1.5}}),
        json.dumps({"kind": "candidate", "candidate": CANDIDATE | {"reason": "x" * 2001}}),
        json.dumps({"kind": "repaired", "repaired": REPAIRED | {"outcome": "fine"}}),
        json.dumps({"kind": "repaired", "repaired": REPAIRED | {"notes": ["n"] * 201}}),
        '{"kind": "done"} {"kind": "done"}',
    ],
)
def test_nonsense_is_refused(said: str) -> None:
    with pytest.raises(ValidationError):
        events.PARSER.validate_json(said)
