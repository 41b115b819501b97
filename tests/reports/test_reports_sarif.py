"""SARIF that is valid, that GitHub shows as it should, and that never looks better than the verdict."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema
import pytest
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.evidence.result import ModelInfo, ScanResult, Verdict
from ebyd_scan.scanner.reports.sarif import MAX_RESULTS, to_sarif
from ebyd_scan.scanner.reports.sarif_log import location_of
from ebyd_scan.scanner.reports.sarif_rules import DOCS, PARITY, SCAN, VERDICT, rules

ResultOf = Callable[..., ScanResult]
HERE = PurePosixPath("/builds/repo")
SCHEMA = jsonschema.Draft7Validator(
    json.loads(Path(__file__).with_name("sarif-schema-2.1.0.json").read_text()),
    format_checker=jsonschema.FormatChecker(),
)
URI = re.compile(r"(file:///)?[A-Za-z0-9._~/%-]*")


def _run(text: str) -> dict[str, Any]:
    """The one run of a log that is valid and keeps GitHub's limits."""
    assert text.isascii()
    log = json.loads(text, parse_constant=pytest.fail)
    shown = {**log, "runs": [{**run, "results": run["results"][:20]} for run in log["runs"]]}
    SCHEMA.validate(shown)  # of a flood the first ones: the validator takes milliseconds for each
    (run,) = log["runs"]
    told = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in told}) == len(told)
    assert len(run["results"]) <= MAX_RESULTS
    for result in run["results"]:
        assert told[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["kind"] == "fail" and result["level"] in ("error", "warning")
        (location,) = result["locations"]
        file = location["physicalLocation"]["artifactLocation"]
        assert file == run["artifacts"][file["index"]]["location"]
        assert URI.fullmatch(file["uri"])
        assert set(result["partialFingerprints"]) == {"primaryLocationLineHash"}  # the one that GitHub reads
    invocation = run["invocations"][0]
    for notification in invocation["toolExecutionNotifications"]:
        if rule := notification.get("associatedRule"):
            assert told[rule["index"]]["id"] == rule["id"]
    marks = [(r["partialFingerprints"]["primaryLocationLineHash"], r["ruleId"]) for r in run["results"]]
    assert len(set(marks)) == len(marks)
    return run


def _mark(result: ScanResult) -> str:
    return _run(to_sarif(result, HERE))["results"][0]["partialFingerprints"]["primaryLocationLineHash"]


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA.schema)
    assert not SCHEMA.is_valid({"version": "2.1.0", "runs": [{"results": []}]})


@pytest.mark.parametrize(
    ("verdict", "results"),
    [
        ("passed", []),
        ("failed", [("model-detection", "error")]),
        ("inconclusive", [("model-detection", "warning")]),
        ("error", [("file-safety", "error")]),
    ],
)
def test_results_are_what_keeps_a_model_from_passing(
    result_of: ResultOf, verdict: str, results: list[tuple[str, str]]
) -> None:
    result = result_of(verdict)
    run = _run(to_sarif(result, HERE))
    assert [(one["ruleId"], one["level"]) for one in run["results"]] == results
    (invocation,) = run["invocations"]
    assert invocation["exitCode"] == result.verdict.exit_code
    assert invocation["executionSuccessful"] is (verdict != "error")
    assert invocation["startTimeUtc"] == "2026-05-17T07:30:00Z"
    assert run["properties"]["verdict"] == verdict
    assert [one["check"] for one in run["properties"]["checks"]] == [one.check for one in result.findings]
    assert run["automationDetails"]["id"] == "ebyd-scan/release-gate/models/resnet18.safetensors/"
    (artifact,) = run["artifacts"]
    assert artifact["hashes"] == {"sha-256": "ab" * 32}
    assert artifact["location"] == {"uri": "models/resnet18.safetensors", "uriBaseId": "%SRCROOT%", "index": 0}


def test_a_failure_says_what_was_found(result_of: ResultOf) -> None:
    (result,) = _run(to_sarif(result_of("failed"), HERE))["results"]
    text = result["message"]["text"]
    assert text.startswith("A patch of 0.65 % of the picture sends 95 % of held-out samples to label 3 (cat)")
    assert "Label 3 (cat), score 0.24 (threshold 0.5)." in text
    assert "Witness: a patch trigger of 0.653 % of the picture" in text
    properties = result["properties"]
    assert (properties["score"], properties["threshold"], properties["label_name"]) == (0.24, 0.5, "cat")
    assert properties["witness"]["attack_success_rate"] == 0.951


@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_report_never_looks_better_than_the_verdict(result_of: ResultOf, verdict: Verdict) -> None:
    for outcomes in itertools.chain([()], itertools.product(Outcome, repeat=2)):
        findings = [Finding(check="same", outcome=outcome, message="") for outcome in outcomes]
        results = _run(to_sarif(result_of(verdict.value, findings=findings), HERE))["results"]
        if verdict is Verdict.PASSED:
            assert not results
        elif verdict is Verdict.INCONCLUSIVE:
            assert results
        else:
            assert any(one["level"] == "error" for one in results)


def test_an_unreadable_file_is_a_result(result_of: ResultOf) -> None:
    reason = "models/a.pt: there is no such file"
    model = ModelInfo(path="models/a.pt")
    run = _run(to_sarif(result_of("error", findings=[], exposure=None, reason=reason, model=model), HERE))
    (result,) = run["results"]
    assert (result["ruleId"], result["level"], result["message"]["text"]) == ("scan", "error", reason)
    assert "hashes" not in run["artifacts"][0]


def test_skipped_and_broken_checks_are_told(result_of: ResultOf) -> None:
    told = _run(to_sarif(result_of("error"), HERE))["invocations"][0]["toolExecutionNotifications"]
    assert [(one["level"], one["associatedRule"]["id"]) for one in told] == [
        ("note", "sample-fit"),
        ("note", "backdoor-label"),
        ("note", "model-detection"),
    ]
    broken = Finding(check="model-detection", outcome=Outcome.ERROR, message="out of memory")
    run = _run(to_sarif(result_of("error", findings=[broken]), HERE))
    assert run["invocations"][0]["toolExecutionNotifications"][0]["level"] == "error"
    assert run["results"][0]["message"]["text"] == "Not checked: out of memory"


def test_what_the_policy_lets_pass_is_no_alert(result_of: ResultOf) -> None:
    findings = result_of("inconclusive").findings
    run = _run(to_sarif(result_of("passed", findings=findings), HERE))
    (told,) = run["invocations"][0]["toolExecutionNotifications"]
    assert told["level"] == "warning" and "lets pass" in told["message"]["text"]
    run = _run(to_sarif(result_of("failed", findings=findings), HERE))  # a policy may fail it, too
    assert [one["level"] for one in run["results"]] == ["error"]


def test_fingerprints(result_of: ResultOf) -> None:
    result = result_of("failed")
    detected, model = result.findings[3], result.model
    mark = _mark(result)

    def other(**changes: Any) -> str:
        return _mark(result_of("failed", findings=[detected.model_copy(update=changes)]))

    assert other(score=0.1, message="Another sentence.", label_name="katze", witness=None) == mark
    assert _mark(result_of("failed", model=model.model_copy(update={"path": "elsewhere/v2.pt"}), seed=7)) == mark
    assert other(label=4) != mark
    assert other(check="reference-drift") != mark
    assert _mark(result_of("failed", model=model.model_copy(update={"sha256": "cd" * 32}))) != mark


@pytest.mark.parametrize(
    ("path", "uri", "based"),
    [
        ("a.pt", "a.pt", True),
        ("./models//a.pt", "models/a.pt", True),
        ("models/../a.pt", "a.pt", True),
        ("/builds/repo/models/a.pt", "models/a.pt", True),
        ("../repo/a.pt", "a.pt", True),
        ("../a.pt", "file:///builds/a.pt", False),
        ("/data/a b.pt", "file:///data/a%20b.pt", False),
        ("/builds/repository/a.pt", "file:///builds/repository/a.pt", False),
        ("é%20#?.pt", "%C3%A9%2520%23%3F.pt", True),
        ("c:evil.pt", "c%3Aevil.pt", True),
        ("a\n\x1b[31m\u202e.pt", "a%0A%1B%5B31m%E2%80%AE.pt", True),
        ("\udcff.pt", "%3F.pt", True),
        ("javascript:alert(1)", "javascript%3Aalert%281%29", True),
        (".", ".", True),
    ],
)
def test_locations(path: str, uri: str, based: bool) -> None:
    assert location_of(path, HERE) == {"uri": uri} | ({"uriBaseId": "%SRCROOT%"} if based else {})


def test_rules_are_the_checks() -> None:
    told, places = rules([])
    assert {entry.name for entry in entry_points(group="ebyd_scan.checks")} <= set(places)
    assert set(places) - {entry.name for entry in entry_points(group="ebyd_scan.checks")} == {PARITY, SCAN, VERDICT}
    docs = Path(__file__).parents[2] / "docs"
    for rule in told:
        assert (docs / rule["helpUri"].removeprefix(DOCS)).is_file()
        assert max(len(rule[key]["text"]) for key in ("shortDescription", "fullDescription")) <= 1024
        assert rule["help"]["text"] and rule["help"]["markdown"]
        properties = rule["properties"]
        assert len(properties["tags"]) <= 10  # as many as GitHub shows
        if "security-severity" in properties:
            assert 0 < float(properties["security-severity"]) <= 10
            assert any("mitre-atlas/AML.T" in tag for tag in properties["tags"])
            assert any(re.fullmatch(r"external/owasp-ml/ML\d\d:2023", tag) for tag in properties["tags"])


def test_rules_stay_the_same_whatever_is_found(result_of: ResultOf) -> None:
    told = [_run(to_sarif(result_of(verdict.value), HERE))["tool"]["driver"]["rules"] for verdict in Verdict]
    assert all(one == told[0] for one in told)


def test_a_check_of_somebody_else(result_of: ResultOf) -> None:
    finding = Finding(check="acme-check", outcome=Outcome.FAILED, message="no")
    run = _run(to_sarif(result_of("failed", findings=[finding]), HERE))
    assert run["tool"]["driver"]["rules"][-1]["id"] == "acme-check"


def test_hostile_text_stays_text(hostile: ScanResult) -> None:
    text = to_sarif(hostile, HERE)
    _run(text)
    for told in _texts(json.loads(text)):
        assert not any((ord(c) < 32 and c != "\n") or c in "\u202e\u2028\x7f" for c in told)


def test_links_in_messages_are_none(result_of: ResultOf) -> None:
    finding = Finding(check="c", outcome=Outcome.FAILED, message="[click](http://evil) {0}")
    (result,) = _run(to_sarif(result_of("failed", findings=[finding]), HERE))["results"]
    assert result["message"]["text"] == "[click] (http://evil) {0}"


def test_a_flood_is_cut(result_of: ResultOf) -> None:
    metrics = {f"{index}{'n' * 600}": "v" * 9000 for index in range(300)}
    finding = Finding(check="c", outcome=Outcome.INCONCLUSIVE, message="m" * 4000, metrics=metrics)
    worst = finding.model_copy(update={"outcome": Outcome.FAILED, "label": 5})
    skipped = Finding(check="s", outcome=Outcome.SKIPPED, message="m")
    findings = [*[finding] * (MAX_RESULTS + 10), worst, *[skipped] * (MAX_RESULTS + 10)]
    text = to_sarif(result_of("failed", findings=findings, reason="r" * 10**6), HERE)
    run = _run(text)
    assert len(run["results"]) == MAX_RESULTS
    assert run["results"][0]["properties"] == {"outcome": "failed"}  # the last one to come, and the gravest, is first
    assert (run["results"][0]["level"], run["results"][1]["level"]) == ("error", "warning")
    assert run["invocations"][0]["toolExecutionNotifications"][-1]["message"]["text"].startswith("11 more results")
    assert len(text) < 20_000_000


@pytest.mark.parametrize("started", ["yesterday", "9999-12-31T23:59:59", "2026-05-17"])
def test_starts_that_are_odd(result_of: ResultOf, started: str) -> None:
    _run(to_sarif(result_of("passed", started=started), HERE))
    _run(to_sarif(result_of("passed", started=started, timings={}), HERE))


def test_a_digest_that_is_none(result_of: ResultOf) -> None:
    model = ModelInfo(path="a.pt", sha256="../../etc", files={"b\x1b": "x" * 900})
    (artifact,) = _run(to_sarif(result_of("failed", model=model), HERE))["artifacts"]
    assert "hashes" not in artifact
    assert artifact["properties"] == {"files": {"b\\x1b": "x" * 500}}


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []
