"""The JSON of an audit is the audit, field by field, and the shipped schema describes it."""

from __future__ import annotations

import json
from importlib.resources import files

import jsonschema
import pytest
from ebyd_scan.evidence.audit import Audit
from ebyd_scan.scanner.reports.audit_formats import AUDIT_FORMATS
from ebyd_scan.scanner.reports.audit_json import audit_schema, render
from ebyd_scan.scanner.reports.schema import schema_text

from . import audits


def test_shipped_schema_is_up_to_date() -> None:
    shipped = (files("ebyd_scan.scanner.reports") / "audit.schema.json").read_text(encoding="utf-8")
    assert shipped == schema_text(audit_schema()), (
        "run: python -m ebyd_scan.scanner.reports.audit_json > scanner/reports/audit.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(audit_schema())


@pytest.mark.parametrize(
    "given", [audits.mixed(), audits.audit([]), audits.audit([audits.model("failed")], ended=None)]
)
def test_round_trip(given: Audit) -> None:
    text = render(given)
    assert text.endswith("}\n") and text.isascii()
    data = json.loads(text, parse_constant=pytest.fail)
    jsonschema.Draft202012Validator(audit_schema()).validate(data)
    assert Audit.model_validate_json(text) == given
    assert list(data)[:3] == ["schema_version", "tool", "number"]


def test_hostile_text() -> None:
    read = Audit.model_validate_json(render(audits.hostile()))
    names = [name.replace("\ud800", "\N{REPLACEMENT CHARACTER}") for name in audits.HOSTILE_NAMES]
    assert [model.name for model in read.models] == names


def test_unknown_fields_break_the_schema() -> None:
    data = json.loads(render(audits.mixed()))
    validator = jsonschema.Draft202012Validator(audit_schema())
    assert not validator.is_valid(data | {"more": 1})
    assert not validator.is_valid({key: value for key, value in data.items() if key != "models"})


def test_every_format_renders() -> None:
    assert list(AUDIT_FORMATS) == ["json", "junit", "sarif", "csv", "html"]
    for one in AUDIT_FORMATS.values():
        assert one.help.endswith(".")
        assert "bad one" in one.render(audits.mixed())
