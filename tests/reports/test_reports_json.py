"""The JSON report is the result, field by field, and the shipped schema describes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files

import jsonschema
import pytest
from ebyd_scan.evidence.result import ScanResult, Verdict
from ebyd_scan.scanner.reports.json_report import to_json
from ebyd_scan.scanner.reports.schema import schema_text, verdict_schema

ResultOf = Callable[..., ScanResult]


def test_shipped_schema_is_up_to_date() -> None:
    shipped = (files("ebyd_scan.scanner.reports") / "verdict.schema.json").read_text(encoding="utf-8")
    assert shipped == schema_text(verdict_schema()), (
        "run: python -m ebyd_scan.scanner.reports.schema > scanner/reports/verdict.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(verdict_schema())


@pytest.mark.parametrize("verdict", list(Verdict))
def test_round_trip(result_of: ResultOf, verdict: Verdict) -> None:
    result = result_of(verdict.value)
    text = to_json(result)
    assert text.endswith("}\n") and text.isascii()
    data = json.loads(text, parse_constant=pytest.fail)
    jsonschema.Draft202012Validator(verdict_schema()).validate(data)
    assert ScanResult.model_validate_json(text) == result
    assert list(data)[:3] == ["schema_version", "tool", "model"]
    assert max(len(line) for line in text.splitlines()) < 400


def test_histograms_stand_on_one_line(result_of: ResultOf) -> None:
    assert '"histogram": [25, 25, 25, 25, 25, 25, 25, 25, 25, 25]' in to_json(result_of("failed"))


def test_hostile_text(hostile: ScanResult) -> None:
    text = to_json(hostile)
    assert text.isascii()
    assert ScanResult.model_validate_json(text) == hostile


def test_a_path_that_is_not_utf8(result_of: ResultOf) -> None:
    text = to_json(result_of("passed", reason="a\udcff"))
    assert ScanResult.model_validate_json(text).reason == "a\N{REPLACEMENT CHARACTER}"


def test_text_that_looks_like_a_list_is_left_alone(result_of: ResultOf) -> None:
    reason = "[\n    1,\n    2\n  ]"
    assert json.loads(to_json(result_of("passed", reason=reason)))["reason"] == reason


def test_unknown_fields_break_the_schema(result_of: ResultOf) -> None:
    data = json.loads(to_json(result_of("passed")))
    validator = jsonschema.Draft202012Validator(verdict_schema())
    assert not validator.is_valid(data | {"more": 1})
    assert not validator.is_valid(data | {"verdict": "maybe"})
    assert not validator.is_valid({key: value for key, value in data.items() if key != "findings"})
