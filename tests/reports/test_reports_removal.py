"""Before and after a removal, in every format."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from ebyd_scan.evidence.removal import RemovalInfo
from ebyd_scan.evidence.result import ScanResult, Verdict
from ebyd_scan.policies.load import load_policy
from ebyd_scan.scanner.reports.formats import FORMATS, Given
from ebyd_scan.scanner.reports.removal import removal_rows, removal_sentence
from ebyd_scan.scanner.reports.schema import verdict_schema
from ebyd_scan.scanner.reports.terminal import to_text

ResultOf = Callable[..., ScanResult]
RemovalOf = Callable[..., RemovalInfo]


def _render(name: str, result: ScanResult) -> str:
    return FORMATS[name].render(Given(result, load_policy("release-gate")))


def test_people_see_one_table(result_of: ResultOf, removal_of: RemovalOf) -> None:
    result = result_of("failed", removal=removal_of())
    assert removal_rows(result) == [
        ("Clean accuracy", "92 %", "91 %"),
        ("Success of 2 recovered triggers, the worst", "95 %", "1 %"),
        ("Success of suspicious triggers recovered anew", "-", "0 %"),
        ("Exposed, it collapses onto a suspected label", "-", "no"),
        ("Verdict (seed 0; of what was written, 2)", "failed", "passed"),
    ]
    for text in (to_text(result, color=False, width=120), _render("markdown", result), _render("html", result)):
        for part in ("Repaired by rnp and accepted; written to out-text.", "Clean accuracy", "92 %", "91 %", "95 %"):
            assert part in text
    assert "Removal" not in to_text(result_of("failed"), color=False, width=80)


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ("not-accepted", "Repaired by rnp, but not as the policy wants it; written to out-text."),
        ("nothing-to-remove", "There is nothing to remove; an unchanged copy was written to out-text."),
        ("error", "Not repaired, and nothing was written: text"),
    ],
)
def test_other_ends(outcome: str, told: str, result_of: ResultOf, removal_of: RemovalOf) -> None:
    changes: dict[str, Any] = {"outcome": outcome}
    if outcome != "not-accepted":
        changes |= {"method": None, "fresh": None, "candidates": []}
    if outcome == "error":
        changes["output"] = None
    removal = removal_of(**changes)
    assert removal_sentence(removal) == told
    result = result_of("failed", removal=removal)
    assert told in to_text(result, color=False, width=120)
    assert bool(removal_rows(result)) == (outcome == "not-accepted")
    jsonschema.Draft202012Validator(verdict_schema()).validate(json.loads(_render("json", result)))


def test_machines_get_every_figure(result_of: ResultOf, removal_of: RemovalOf) -> None:
    result = result_of("failed", removal=removal_of())
    junit, bom = _render("junit", result), _render("cyclonedx", result)
    sarif = json.loads(_render("sarif", result))["runs"][0]["properties"]["removal"]
    for name, value in (("outcome", "removed"), ("accuracy_after", "0.911"), ("fresh.verdict", "passed")):
        assert f'name="removal.{name}" value="{value}"' in junit
        assert f"ebyd-scan:removal.{name}" in bom
        assert sarif[f"removal.{name}"] == value


@pytest.mark.parametrize("name", ["junit", "sarif", "statement", "cyclonedx"])
def test_a_verdict_of_the_repaired_model_is_about_its_file(
    name: str, result_of: ResultOf, removal_of: RemovalOf
) -> None:
    """The original's digest never stands beside a pass that is not its own, nor its failures."""
    removal = removal_of(verdict_of="repaired")
    failed = result_of("failed", removal=removal)
    text = _render(name, failed.model_copy(update={"verdict": Verdict.PASSED, "reason": "4 checks passed."}))
    assert "9" * 64 in text and "ab" * 32 not in text
    assert "<failure" not in text
    if name == "sarif":
        assert json.loads(text)["runs"][0]["results"] == []
    assert failed.judged.findings == removal.fresh.findings  # type: ignore[union-attr]
    assert result_of("failed", removal=removal_of()).judged.model.sha256 == "ab" * 32
