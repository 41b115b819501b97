"""One SARIF log of an audit: valid, within GitHub's limits, the worst first, and never better than the audit."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema
import pytest
from ebyd_scan.evidence.audit import Audit, AuditedModel
from ebyd_scan.evidence.result import Verdict
from ebyd_scan.scanner.reports import audit_sarif
from ebyd_scan.scanner.reports.audit_sarif import to_sarif

from . import audits

HERE = PurePosixPath("/builds/repo")
SCHEMA = jsonschema.Draft7Validator(
    json.loads(Path(__file__).with_name("sarif-schema-2.1.0.json").read_text()),
    format_checker=jsonschema.FormatChecker(),
)


def _run(audit: Audit) -> dict[str, Any]:
    text = to_sarif(audit, HERE)
    assert text.isascii()
    log = json.loads(text, parse_constant=pytest.fail)
    (run,) = log["runs"]
    told = run["invocations"][0]["toolExecutionNotifications"]
    few = {**run, "results": run["results"][:10], "artifacts": run["artifacts"][:10],
           "invocations": [{**run["invocations"][0], "toolExecutionNotifications": told[:10]}]}  # fmt: skip
    SCHEMA.validate({**log, "runs": [few]})
    for result in run["results"]:
        file = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert file == run["artifacts"][file["index"]]["location"]
        assert re.fullmatch(r"(file:///)?[A-Za-z0-9._~/%-]*", file["uri"])
    marks = [(_mark(one), one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]) for one in run["results"]]
    assert len(set(marks)) == len(marks)
    return run


def _mark(result: dict[str, Any]) -> str:
    return result["partialFingerprints"]["primaryLocationLineHash"]


def _marks(models: list[AuditedModel]) -> dict[str, str]:
    return {one["properties"]["model"]: _mark(one) for one in _run(audits.audit(models))["results"]}


def _told(run: dict[str, Any]) -> list[str]:
    return [one["message"]["text"] for one in run["invocations"][0]["toolExecutionNotifications"]]


def test_results_are_what_keeps_models_from_passing() -> None:
    run = _run(audits.mixed())
    assert [(one["properties"]["model"], one["ruleId"], one["level"]) for one in run["results"]] == [
        ("zoo/bad one.pt", "model-detection", "error"),
        ("zoo/broken.pt", "scan", "error"),
        ("zoo/unclear.pt", "model-detection", "warning"),
    ]
    assert len(run["artifacts"]) == 5
    assert run["artifacts"][0]["hashes"] == {"sha-256": "ab" * 32}
    assert run["artifacts"][0]["properties"]["verdict"] == "failed"
    assert run["automationDetails"]["id"] == "ebyd-scan/audit/zoo/"
    assert run["properties"]["models"] == {"failed": 1, "error": 1, "inconclusive": 1, "passed": 2}
    (invocation,) = run["invocations"]
    assert (invocation["exitCode"], invocation["executionSuccessful"]) == (1, True)
    assert (invocation["startTimeUtc"], invocation["endTimeUtc"]) == ("2026-05-17T09:30:00Z", "2026-05-17T11:30:00Z")
    assert any("zoo/readme.txt: no model file" in text for text in _told(run))


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        (audits.audit([]), False),
        (audits.audit([audits.model("passed")]), True),
        (audits.audit([audits.model("passed")], ended=None), False),
        *((audits.audit([audits.model(verdict, findings=[])]), verdict is Verdict.PASSED) for verdict in Verdict),
    ],
)
def test_no_results_only_where_the_audit_passed(given: Audit, clean: bool) -> None:
    assert (not _run(given)["results"]) is clean


def test_every_model_that_did_not_pass_has_a_result() -> None:
    # A failure of one must not stand in for another that has no finding.
    run = _run(audits.audit([audits.model("failed", "a"), audits.model("failed", "b", findings=[])]))
    assert [one["properties"]["model"] for one in run["results"]] == ["a", "b"]
    assert run["results"][1]["ruleId"] == "verdict"


def test_fingerprints_are_a_models_own() -> None:
    a, b = (audits.model("failed", name, path="same.pt") for name in ("a", "b"))
    both = _marks([a, b])
    assert both["a"] != both["b"]
    assert both.items() <= _marks([audits.model("failed", "first", path="same.pt"), b, a]).items()
    assert _marks([b])["b"] == both["b"]
    shared = _run(audits.audit([a, b]))["results"]
    assert shared[0]["message"]["text"].startswith("a: model-detection is failed.")
    assert not _run(audits.audit([a]))["results"][0]["message"]["text"].startswith("a: ")


def test_hostile_text() -> None:
    run = _run(audits.hostile())
    assert len(run["results"]) == 2 * len(audits.HOSTILE_NAMES)


def test_too_many_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_sarif, "MAX_RESULTS", 3)
    models = [audits.model("inconclusive", f"i{i}") for i in range(3)]
    run = _run(audits.audit([*models, *(audits.model("failed", f"f{i}") for i in range(2))]))
    assert [one["properties"]["model"] for one in run["results"]] == ["f0", "f1", "i0"]
    assert "2 more results were left out: at most 3 are written." in _told(run)


def test_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_sarif, "MAX_GZIP", 8000)
    run = _run(audits.many(400))
    assert 0 < len(run["artifacts"]) < 400
    assert [one["properties"]["verdict"] for one in run["artifacts"][:4]] == ["failed"] * 4
    assert f"{400 - len(run['artifacts'])} more models were left out" in " ".join(_told(run))


def test_thousands() -> None:
    run = _run(audits.many(1000))
    assert len(run["artifacts"]) == 1000
    assert len(run["results"]) == 10 + 10 + 20
