"""The summary of an audit for a terminal or a log: the worst first, a line a model, bounded."""

from __future__ import annotations

import pytest
from ebyd_scan.evidence.audit import Audit, LeftOut
from ebyd_scan.scanner.reports.audit_terminal import MAX_SHOWN, to_text

from . import audits


def _text(audit: Audit, width: int = 100) -> str:
    return to_text(audit, color=False, width=width)


def test_the_worst_first() -> None:
    assert _text(audits.mixed()).splitlines() == [
        "FAILED: 1 of 5 models must not be shipped.",
        "5 models: 1 failed, 1 could not be scanned, 1 inconclusive, 2 passed; 4 scanned now, 1 from the",
        "store.",
        "",
        "FAILED        zoo/bad one.pt  label 3 (cat), patch, 95 %: The reason why it is failed.",
        "ERROR         zoo/broken.pt  The reason why it is error.",
        "INCONCLUSIVE  zoo/unclear.pt  The reason why it is inconclusive.",
        "",
        "Not among the models, and not looked at: 2",
        "  zoo/readme.txt: no model file by its name and first bytes",
        "  zoo/\\x1b[31m\\u202e.bin: <b>no</b>",
        "",
        "Audit 7 of zoo, 2 h 0 min, ebyd-scan 0.1.0, 2026-05-17T09:30:00+00:00",
        "",
        "Do not ship the files that failed. Get the models again from a source you trust and compare digests,",
        "or train them again from data you trust; then run the audit again.",
    ]


@pytest.mark.parametrize(
    ("given", "start", "end"),
    [
        (audits.audit([audits.model("passed")]), "PASSED: The one model passed.", "the checks look for."),
        (audits.audit([]), "ERROR: No model was scanned, which is not a pass.\nNo models.", "in a manifest."),
        (audits.audit([audits.model("passed")], ended=None), "STOPPED: Stopped before its end; so far", "is missing."),
        (audits.audit([audits.model("passed")], exit_code=3), "ERROR: The one model passed, but not the audit.", "."),
        (audits.audit([audits.model("error")]), "ERROR: 1 of 1 model could not", "not scanned."),
        (audits.audit([audits.model("inconclusive")]), "INCONCLUSIVE: Whether 1 of 1", "anything is shipped."),
    ],
)
def test_every_verdict(given: Audit, start: str, end: str) -> None:
    text = _text(given)
    assert text.startswith(start)
    assert " ".join(text.split()).endswith(end)


def test_it_says_where_nothing_passed() -> None:
    assert "No model passed." in _text(audits.audit([audits.model("failed"), audits.model("error", "b")]))
    assert "No model passed." not in _text(audits.mixed())


def test_a_flood_is_counted() -> None:
    models = [audits.model("failed", f"m{index}") for index in range(MAX_SHOWN + 12)]
    left = [LeftOut(path=f"l{index}", reason="no model") for index in range(9)]
    lines = _text(audits.audit(models, left_out=left)).splitlines()
    assert sum(line.startswith("FAILED  ") for line in lines) == MAX_SHOWN
    assert "... and 12 more that did not pass; the reports name them all." in lines
    assert "  ... and 4 more" in lines


def test_a_line_ends_with_the_terminal() -> None:
    long = audits.audit([audits.model("failed", "a.pt", reason="because " * 100)])
    lines = _text(long, 80).splitlines()
    assert [len(line) for line in lines if line.startswith("FAILED  ")] == [80]
    name = "n" * 200
    (line,) = [one for one in _text(audits.audit([audits.model("failed", name)]), 80).splitlines() if name in one]
    assert "label 3 (cat)" in line


def test_colour_only_where_it_is_wanted() -> None:
    assert "\x1b[" in to_text(audits.mixed(), color=True, width=80)
    assert _text(audits.mixed()).isascii()


def test_hostile_text() -> None:
    text = _text(audits.hostile())
    assert all(line.isprintable() for line in text.splitlines())
    assert len([line for line in text.splitlines() if line.startswith("FAILED  ")]) == len(audits.HOSTILE_NAMES)
    assert max(map(len, text.splitlines())) < 400
