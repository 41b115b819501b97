"""The text and the schema of what `inspect` finds; the commands' own tests are in tests/cli."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from ebyd_scan.checks.onnx_head import OnnxHead, OnnxValue
from ebyd_scan.evidence.result import Verdict
from ebyd_scan.scanner.inspection import InspectedFile, inspect_file, inspection_of
from ebyd_scan.scanner.reports.inspection import inspection_schema, size_text, to_file_text, to_summary
from ebyd_scan.scanner.reports.schema import schema_text

SHIPPED_SCHEMA = Path(__file__).parents[2] / "scanner" / "reports" / "inspection.schema.json"


def test_the_shipped_schema_is_that_of_the_report() -> None:
    assert SHIPPED_SCHEMA.read_text() == schema_text(inspection_schema())
    jsonschema.Draft202012Validator.check_schema(inspection_schema())


def test_colours_are_for_terminals() -> None:
    file = inspect_file(Path("nowhere"))
    assert "\x1b[" in to_file_text(file, color=True, width=80)
    assert "\x1b" not in to_file_text(file, color=False, width=80)


def test_long_lists_are_cut_off() -> None:
    values = [OnnxValue(name=f"x{index}", type="F32", shape=[1]) for index in range(9)]
    head = OnnxHead(
        ir_version=9, producer="", producer_version="", opsets={}, nodes=2, inputs=values, outputs=[], weights={}
    )
    file = InspectedFile(path="a.onnx", verdict=Verdict.PASSED, format="onnx", size=1, sha256="0" * 64, onnx=head)
    text = " ".join(to_file_text(file, color=False, width=120).split())
    assert "x5 F32[1] and 3 more" in text and "x6" not in text
    assert "producer not told" in text and "outputs none" in text and "parameters not counted" in text


def test_the_summary_counts_every_verdict() -> None:
    files = [InspectedFile(path=verdict, verdict=verdict) for verdict in (*Verdict, Verdict.FAILED)]
    told = "5 files: 1 passed, 2 failed, 1 inconclusive, 1 could not be inspected.\n"
    assert to_summary(inspection_of(files)) == told


def test_nothing_inspected_is_no_pass() -> None:
    assert inspection_of([]).exit_code == 3


@pytest.mark.parametrize(
    ("size", "text"),
    [(1, "1 bytes"), (999, "999 bytes"), (46_800_000, "46.8 MB"), (999_999, "1.0 MB"), (7 * 10**15, "7000.0 TB")],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text
