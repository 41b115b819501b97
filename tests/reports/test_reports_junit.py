"""JUnit that every reader takes, and that never looks better than the verdict."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.evidence.result import ModelInfo, ScanResult, Verdict
from ebyd_scan.scanner.reports.junit import to_junit
from junitparser import Error, Failure, JUnitXml, Skipped
from lxml import etree

ResultOf = Callable[..., ScanResult]
# Jenkins' own schema (MIT), and ours for what it and the one for Ant have in common.
JENKINS = etree.XMLSchema(etree.parse(Path(__file__).with_name("jenkins-junit-10.xsd")))
SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).with_name("junit-strict.xsd")))


def _valid(text: str) -> Any:
    tree = etree.fromstring(text.encode())
    JENKINS.assertValid(tree)
    SCHEMA.assertValid(tree)
    for suite in tree:
        names = [case.get("name") for case in suite.iter("testcase")]
        assert len(names) == len(set(names))
        kinds = {"failures": "failure", "errors": "error", "skipped": "skipped"}
        assert int(suite.get("tests")) == len(names)
        assert all(int(suite.get(count)) == len(suite.findall(f"testcase/{tag}")) for count, tag in kinds.items())
    return tree


@pytest.mark.parametrize("inconclusive_as", ["failure", "skipped"])
@pytest.mark.parametrize(
    "verdict, counts", [("passed", (4, 0, 0)), ("failed", (4, 1, 0)), ("inconclusive", (4, 1, 0)), ("error", (4, 1, 3))]
)
def test_counts(result_of: ResultOf, verdict: str, counts: tuple[int, int, int], inconclusive_as: Any) -> None:
    text = to_junit([result_of(verdict)], inconclusive_as=inconclusive_as)
    _valid(text)
    (suite,) = JUnitXml.fromstring(text.encode())
    if verdict == "inconclusive" and inconclusive_as == "skipped":
        counts = (4, 0, 1)
    assert (suite.tests, suite.failures, suite.skipped) == counts
    assert suite.errors == 0
    assert suite.name == "models/resnet18.safetensors"
    properties = {p.name: p.value for p in suite.properties()}
    assert properties["model.sha256"] == "ab" * 32
    assert properties["policy.name"] == "release-gate"
    assert properties["seed"] == "0"
    assert properties["verdict"] == verdict


def test_cases_and_figures(result_of: ResultOf) -> None:
    (suite,) = JUnitXml.fromstring(to_junit([result_of("failed")], inconclusive_as="failure").encode())
    cases = {case.name: case for case in suite}
    assert list(cases) == ["file-safety", "sample-fit", "backdoor-label", "model-detection"]
    detection = cases["model-detection"]
    assert (detection.classname, detection.time) == (
        "ebyd_scan.release-gate.models/resnet18_safetensors",
        94.2,
    )
    (failure,) = detection.result
    assert isinstance(failure, Failure)
    assert failure.type == "failed"
    assert failure.message.startswith("A patch of 0.65 % of the picture")
    assert "witness.attack_success_rate: 0.951" in failure.text
    properties = {p.name: p.value for p in suite.properties()}
    assert properties["model-detection.score"] == "0.24"
    assert properties["model-detection.threshold"] == "0.5"
    assert properties["model-detection.label"] == "3"
    assert properties["backdoor-label.metrics.agreement"] == "1.0"
    assert (suite.timestamp, suite.time) == ("2026-05-17T07:30:00", 133.1)


def test_kinds_of_outcome(result_of: ResultOf) -> None:
    findings = [Finding(check=o.value, outcome=o, message=f"why {o.value}") for o in Outcome]
    (suite,) = JUnitXml.fromstring(
        to_junit([result_of("failed", findings=findings)], inconclusive_as="failure").encode()
    )
    told = {case.name: [(type(r), r.type, r.message) for r in case.result] for case in suite}
    assert told == {
        "passed": [],
        "failed": [(Failure, "failed", "why failed")],
        "inconclusive": [(Failure, "inconclusive", "why inconclusive")],
        "skipped": [(Skipped, "skipped", "why skipped")],
        "error": [(Error, "error", "why error")],
    }


@pytest.mark.parametrize("inconclusive_as", ["failure", "skipped"])
@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_report_never_looks_better_than_the_verdict(
    result_of: ResultOf, verdict: Verdict, inconclusive_as: Any
) -> None:
    for outcomes in itertools.chain([()], itertools.product(Outcome, repeat=2)):
        findings = [Finding(check="same", outcome=outcome, message="") for outcome in outcomes]
        result = result_of(verdict.value, findings=findings)
        suite = _valid(to_junit([result], inconclusive_as=inconclusive_as))[0]
        red = int(suite.get("failures")) + int(suite.get("errors"))
        if verdict in (Verdict.FAILED, Verdict.ERROR) or (
            verdict is Verdict.INCONCLUSIVE and inconclusive_as == "failure"
        ):
            assert red
        if verdict is Verdict.INCONCLUSIVE:
            assert red or int(suite.get("skipped"))
        if verdict is Verdict.PASSED and not {Outcome.FAILED, Outcome.ERROR} & set(outcomes):
            assert not red
        assert int(suite.get("tests"))


def test_nothing_scanned_names_the_reason(result_of: ResultOf) -> None:
    result = result_of("error", findings=[], reason="models/a.pt: there is no such file")
    (suite,) = JUnitXml.fromstring(to_junit([result], inconclusive_as="skipped").encode())
    (case,) = suite
    assert case.name == "verdict"
    assert case.result[0].message == "models/a.pt: there is no such file"


def test_hostile_text_stays_text(hostile: ScanResult) -> None:
    text = to_junit([hostile, hostile], inconclusive_as="failure")
    tree = _valid(text)
    assert len(tree) == 2
    message = tree.find(".//failure").get("message")
    assert "]]>" in message and "\N{PILE OF POO}" in message and "<b>" in message and "\\x1b[31m" in message
    assert not any(ord(c) < 32 and c != "\n" for c in text)


def test_half_a_surrogate_pair(result_of: ResultOf) -> None:
    broken = result_of("failed").findings[3].model_copy(update={"message": "a\ud83db"})
    result = result_of("failed", findings=[broken], reason="\udcff")
    tree = _valid(to_junit([result], inconclusive_as="failure"))
    assert tree.find(".//failure").get("message") == "a\\ud83db"


def test_no_results() -> None:
    assert len(_valid(to_junit([], inconclusive_as="failure"))) == 0


def test_a_start_that_is_no_time(result_of: ResultOf) -> None:
    _valid(to_junit([result_of("passed", started="yesterday", timings={})], inconclusive_as="failure"))


def test_models_are_told_apart(result_of: ResultOf) -> None:
    """GitLab and Jenkins know a case by its class name and name alone; a dot would make a package for Jenkins."""
    results = [result_of("failed", model=ModelInfo(path=path)) for path in ("v1/net.pt", "v2/net.pt", "v" * 900)]
    tree = _valid(to_junit(results, inconclusive_as="failure"))
    cases = [(case.get("classname"), case.get("name")) for case in tree.iter("testcase")]
    assert len(set(cases)) == len(cases) == 12
    assert {name.rpartition(".")[0] for name, _ in cases} == {"ebyd_scan.release-gate"}
    assert all(len(name) <= 255 for case in cases for name in case)


def test_a_flood_is_cut(result_of: ResultOf) -> None:
    """GitLab takes 30 MB."""
    metrics = {f"{index}{'n' * 900}": "v" * 3000 for index in range(100)}
    passed = Finding(check="c" * 900, outcome=Outcome.PASSED, message="m" * 4000, metrics=metrics)
    failed = passed.model_copy(update={"outcome": Outcome.FAILED})
    text = to_junit(
        [result_of("failed", findings=[passed] * 600 + [failed], reason="r" * 10**7)], inconclusive_as="failure"
    )
    tree = _valid(text)
    assert len(text) < 15_000_000
    assert len(tree.findall(".//testcase/failure")) == 1  # what is no pass is kept
    assert len(tree.findall(".//testcase")) == 500
