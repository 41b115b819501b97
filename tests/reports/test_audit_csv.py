"""The table of an audit: whole, one line a model, and nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
from io import StringIO

import pytest
from ebyd_scan.evidence.audit import Audit
from ebyd_scan.evidence.finding import Outcome
from ebyd_scan.evidence.result import Verdict
from ebyd_scan.scanner.reports.audit_csv import render

from . import audits


def _rows(audit: Audit) -> list[dict[str, str]]:
    text = render(audit)
    lines = text.split("\r\n")
    assert lines.pop() == ""
    assert len(lines) == len(audit.models) + 1  # no cell has a line end
    text.encode()
    rows = list(csv.reader(StringIO(text, newline=""), strict=True))
    assert len({len(row) for row in rows}) == 1
    assert len(set(rows[0])) == len(rows[0])
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def test_a_row_a_model() -> None:
    clean, unclear, bad, broken, old = _rows(audits.mixed())
    assert bad["name"] == "zoo/bad one.pt"
    assert bad["verdict"] == "failed"
    assert (bad["label"], bad["label_name"]) == ("3", "cat")
    assert (bad["model-detection"], bad["model-detection.score"]) == ("failed", "0.24")
    assert (bad["file-safety"], bad["file-safety.score"]) == ("passed", "")
    assert (bad["seconds"], bad["samples_count"], bad["policy"]) == ("133.1", "500", "release-gate")
    assert (bad["tool_version"], bad["started"]) == ("0.1.0", "2026-05-17T09:30:00+02:00")
    assert (clean["label"], clean["model-detection"], clean["source"]) == ("", "passed", "scanned")
    assert unclear["model-detection"] == "inconclusive"
    assert (broken["reason"], broken["model-detection"]) == ("The reason why it is error.", "")
    assert old["source"] == "store"


def test_no_model_is_a_header() -> None:
    assert _rows(audits.audit([])) == []


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", " =", "\N{FULLWIDTH EQUALS SIGN}"])
def test_no_text_is_a_formula(start: str) -> None:
    name = f"{start}HYPERLINK(1)"
    (row,) = _rows(audits.audit([audits.hostile_model(name)]))
    assert row["name"].startswith("'") and row["name"].endswith("HYPERLINK(1)")
    assert all(cell[:1] not in "=+-@\t\r" for cell in [*row, *row.values()] if cell)


def test_figures_are_no_text() -> None:
    finding = audits.detection(Verdict.FAILED, score=-0.5)
    (row,) = _rows(audits.audit([audits.model("failed", findings=[finding])]))
    assert float(row["model-detection.score"]) == -0.5


def test_the_gravest_finding_of_a_check() -> None:
    findings = [audits.detection(Verdict.FAILED, outcome=outcome) for outcome in Outcome]
    (row,) = _rows(audits.audit([audits.model("failed", findings=findings)]))
    assert row["model-detection"] == "failed"


def test_hostile_text() -> None:
    rows = _rows(audits.hostile())
    assert len(rows) == len(audits.HOSTILE_NAMES)
    assert all(cell.isprintable() for row in rows for cell in row.values())


def test_a_check_that_is_called_as_a_column() -> None:
    findings = [audits.detection(Verdict.PASSED, check=name) for name in ("verdict", "name", "a", "a.score")]
    (row,) = _rows(audits.audit([audits.model("passed", findings=findings)]))
    assert (row["verdict"], row["verdict (2)"]) == ("passed", "passed")


def test_thousands() -> None:
    assert len(_rows(audits.many(1000))) == 1000
