"""The in-toto statement: what the specification requires, the digests, and that nothing but a pass reads as one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from ebyd_scan.evidence.errors import ScanError
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.evidence.result import ModelInfo, ScanResult, Verdict
from ebyd_scan.policies.load import load_policy
from ebyd_scan.scanner.reports.formats import FORMATS, Given
from ebyd_scan.scanner.reports.statement import to_statement

ResultOf = Callable[..., ScanResult]


def _rendered(result: ScanResult) -> dict[str, Any]:
    text = FORMATS["statement"].render(Given(result, load_policy("release-gate")))
    assert text.isascii() and text.endswith("}\n")
    found: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return found


def _check_descriptor(descriptor: dict[str, Any]) -> None:
    """in-toto's ResourceDescriptor: one of uri, digest and content, and digests by algorithm in lower-case hex."""
    assert set(descriptor) <= {"name", "uri", "digest", "content", "downloadLocation", "mediaType", "annotations"}
    assert {"uri", "digest", "content"} & set(descriptor)
    assert descriptor["digest"]
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in descriptor["digest"].values())
    assert set(descriptor["digest"]) == {"sha256"}


def check_statement(statement: dict[str, Any]) -> None:
    """What in-toto's Statement v1 and test-result v0.1 require of every field."""
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert set(statement) == {"_type", "subject", "predicateType", "predicate"}
    assert isinstance(statement["subject"], list) and statement["subject"]
    for subject in statement["subject"]:
        _check_descriptor(subject)
    names = [subject["name"] for subject in statement["subject"]]
    assert len(set(names)) == len(names)
    predicate = statement["predicate"]
    assert predicate["result"] in ("PASSED", "WARNED", "FAILED")
    assert isinstance(predicate["configuration"], list)
    for one in predicate["configuration"]:
        _check_descriptor(one)
    for key in ("passedTests", "warnedTests", "failedTests"):
        assert all(isinstance(name, str) for name in predicate[key])
    assert set(predicate) - {"ebydScan"} == {"result", "configuration", "passedTests", "warnedTests", "failedTests"}
    assert not any(set(".$") & set(key) for key in predicate)  # as the parsing rules ask of extension fields


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_gives_a_valid_statement(result_of: ResultOf, verdict: Verdict) -> None:
    result = result_of(verdict.value)
    statement = _rendered(result)
    check_statement(statement)
    assert statement["subject"] == [{"name": "models/resnet18.safetensors", "digest": {"sha256": "ab" * 32}}]
    predicate = statement["predicate"]
    assert predicate["result"] == ("PASSED" if verdict is Verdict.PASSED else "FAILED")
    assert {one["annotations"]["role"]: one["digest"]["sha256"] for one in predicate["configuration"]} == {
        "policy": "ef" * 32,
        "samples": "cd" * 32,
    }
    details = predicate["ebydScan"]
    assert (details["verdict"], details["seed"], details["tool"]["version"]) == (verdict.value, 0, "0.1.0")
    assert details["started"] == result.started and details["environment"] == result.environment
    assert [(one["check"], one["outcome"]) for one in details["checks"]] == [
        (finding.check, finding.outcome.value) for finding in result.findings
    ]


def test_names_of_checks_by_outcome(result_of: ResultOf) -> None:
    predicate = _rendered(result_of("failed"))["predicate"]
    assert predicate["failedTests"] == ["model-detection"]
    assert predicate["passedTests"] == ["file-safety", "sample-fit", "backdoor-label"]
    assert _rendered(result_of("inconclusive"))["predicate"]["failedTests"] == ["model-detection"]
    assert _rendered(result_of("error"))["predicate"]["failedTests"] == ["file-safety"]


def test_what_the_policy_lets_pass_is_a_warning(result_of: ResultOf) -> None:
    open_question = Finding(check="model-detection", outcome=Outcome.INCONCLUSIVE, message="cannot tell")
    fine = Finding(check="sample-fit", outcome=Outcome.PASSED, message="fits")
    predicate = _rendered(result_of("passed", findings=[fine, open_question]))["predicate"]
    assert (predicate["result"], predicate["warnedTests"]) == ("WARNED", ["model-detection"])


def test_every_file_of_a_model_is_a_subject(result_of: ResultOf) -> None:
    files = {"config.json": "11" * 32, "model.safetensors": "22" * 32}
    folder = ModelInfo(path="nets/bert", sha256="33" * 32, format="huggingface", files=files)
    statement = _rendered(result_of("passed", model=folder))
    check_statement(statement)
    assert {one["name"]: one["digest"]["sha256"] for one in statement["subject"]} == {
        "nets/bert/config.json": "11" * 32,
        "nets/bert/model.safetensors": "22" * 32,
    }
    graph = ModelInfo(path="nets/net.onnx", sha256="33" * 32, format="onnx", files={"net.data": "44" * 32})
    names = [one["name"] for one in _rendered(result_of("passed", model=graph))["subject"]]
    assert names == ["nets/net.onnx", "nets/net.data"]


def test_the_same_result_gives_the_same_text(result_of: ResultOf) -> None:
    given = [Given(result_of("failed", environment=dict(pairs)), load_policy("quick")) for pairs in _ORDERS]
    first, second = (FORMATS["statement"].render(one) for one in given)
    assert first == second


_ORDERS = ([("python", "3.11"), ("torch", "2.13")], [("torch", "2.13"), ("python", "3.11")])


def test_no_digest_no_statement(result_of: ResultOf) -> None:
    with pytest.raises(ScanError, match="has no digest"):
        to_statement(result_of("error", model=ModelInfo(path="gone.pt")))


def test_hostile_text(hostile: ScanResult) -> None:
    model = hostile.model.model_copy(update={"sha256": "00" * 32})
    statement = _rendered(
        hostile.model_copy(update={"model": model, "policy": hostile.policy.model_copy(update={"sha256": "11" * 32})})
    )
    check_statement(statement)
    assert statement["predicate"]["ebydScan"]["reason"] == hostile.reason
