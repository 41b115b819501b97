"""One JUnit file of an audit: valid, names once, red where the audit is no pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.evidence.audit import Audit
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.evidence.result import PolicyInfo, Verdict
from ebyd_scan.scanner.reports import audit_junit
from ebyd_scan.scanner.reports.audit_junit import render
from lxml import etree

from . import audits

SCHEMAS = [
    etree.XMLSchema(etree.parse(Path(__file__).with_name(name)))
    for name in ("jenkins-junit-10.xsd", "junit-strict.xsd")
]


def _valid(text: str) -> Any:
    tree = etree.fromstring(text.encode())
    for schema in SCHEMAS:
        schema.assertValid(tree)
    names = [suite.get("name") for suite in tree]
    ids = [suite.get("id") for suite in tree]
    cases = [(case.get("classname"), case.get("name")) for case in tree.iter("testcase")]
    for given in (names, ids, cases):
        assert len(given) == len(set(given))
    return tree


def _red(tree: Any) -> bool:
    return any(int(suite.get("failures")) + int(suite.get("errors")) for suite in tree)


def _suite(tree: Any, name: str) -> Any:
    (found,) = [suite for suite in tree if suite.get("name") == name]
    return found


def test_a_suite_a_model_and_one_of_the_audit() -> None:
    tree = _valid(render(audits.mixed()))
    assert [suite.get("name") for suite in tree] == [
        "zoo/clean.pt", "zoo/unclear.pt", "zoo/bad one.pt", "zoo/broken.pt", "zoo/old.pt", "ebyd-scan audit",
    ]  # fmt: skip
    assert [suite.get("failures") for suite in tree] == ["0", "1", "1", "0", "0", "0"]
    assert [suite.get("errors") for suite in tree] == ["0", "0", "0", "1", "0", "0"]
    (case,) = _suite(tree, "zoo/broken.pt").iter("testcase")
    assert case.find("error").get("message") == "The reason why it is error."
    properties = {p.get("name"): p.get("value") for p in _suite(tree, "zoo/old.pt").iter("property")}
    assert properties["audit.source"] == "store"
    assert properties["model.sha256"] == "ab" * 32


def test_what_was_left_out_is_told() -> None:
    own = _valid(render(audits.mixed()))[-1]
    told = own.findtext("system-out")
    assert told.startswith("1 of 5 models must not be shipped.\n5 models: 1 failed, 1 could not be scanned")
    assert "  zoo/readme.txt: no model file by its name and first bytes\n" in told
    assert "zoo/\\x1b[31m\\u202e.bin: <b>no</b>" in told
    properties = {p.get("name"): p.get("value") for p in own.iter("property")}
    assert properties["audit.left_out"] == "2"
    assert properties["models.passed"] == "2"


@pytest.mark.parametrize(
    ("given", "red"),
    [
        (audits.audit([audits.model("passed")]), False),
        (audits.audit([]), True),
        (audits.audit([audits.model("passed")], ended=None), True),
        (audits.audit([audits.model("passed")], exit_code=3), True),
        (audits.audit([audits.model("passed")], verdict=Verdict.FAILED, exit_code=1), True),
        *((audits.audit([audits.model(verdict)]), verdict is not Verdict.PASSED) for verdict in Verdict),
        # Nothing is a failure by its policy, but the audit is no pass.
        (audits.audit([audits.model("inconclusive", on_inconclusive="pass")]), True),
    ],
)
def test_red_where_the_audit_is_no_pass(given: Audit, red: bool) -> None:
    assert _red(_valid(render(given))) is red


def test_each_model_by_its_own_policy() -> None:
    models = [audits.model("inconclusive", how, on_inconclusive=how) for how in ("inconclusive", "fail", "pass")]
    tree = _valid(render(audits.audit(models)))
    assert [suite.get("failures") for suite in tree] == ["1", "1", "0", "0"]
    assert [suite.get("skipped") for suite in tree] == ["0", "0", "1", "0"]


def test_models_that_share_a_path_and_names_that_look_alike() -> None:
    names = ["a.b", "a_b", "a  b", "a b", "ebyd-scan audit", "x" * 400 + "1", "x" * 400 + "2", ""]
    _valid(render(audits.audit([audits.model("failed", name, path="same.pt") for name in names])))


def test_a_model_whose_policy_could_not_be_read() -> None:
    unread = audits.model("error", "m.pt", policy=PolicyInfo(name="", sha256=""), started="")
    (case,) = _valid(render(audits.audit([unread])))[0].iter("testcase")
    assert case.get("classname") == "ebyd_scan.m_pt"


def test_an_unsafe_file_is_an_error_too() -> None:
    unsafe = Finding(check="file-safety", outcome=Outcome.FAILED, message="It runs code.")
    suite = _valid(render(audits.audit([audits.model("error", findings=[unsafe])])))[0]
    assert (suite.get("failures"), suite.get("errors"), suite.get("tests")) == ("1", "1", "2")


def test_hostile_text() -> None:
    tree = _valid(render(audits.hostile()))
    assert len(tree) == len(audits.HOSTILE_NAMES) + 1
    assert not tree.findall(".//script")


def test_what_does_not_fit_loses_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = render(audits.mixed())
    assert "witness.attack_success_rate: 0.951" in whole
    monkeypatch.setattr(audit_junit, "MAX_BYTES", 10_000)
    tree = _valid(short := render(audits.mixed()))
    assert len(short) < len(whole) and "attack_success" not in short
    assert _red(tree) and len(tree) == 6


def test_thousands_of_models_fit() -> None:
    text = render(audits.many(300))
    assert len(text) < 1_000_000  # GitLab takes 30 MB
    assert len(etree.fromstring(text.encode())) == 301
