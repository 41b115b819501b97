"""The verdict as an in-toto Statement: unsigned, ready to be signed, for example by `cosign attest-blob --statement`.

The predicate is in-toto's own test result (https://in-toto.io/attestation/test-result/v0.1); what it has no field for
stands in one extension field, `ebydScan`, as the parsing rules of in-toto let producers do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat

from ...evidence.errors import ScanError
from ...evidence.finding import Finding, Outcome
from ...evidence.result import ModelInfo, PolicyInfo, SamplesInfo, ScanResult, ToolInfo, Verdict
from .json_report import as_json

if TYPE_CHECKING:
    from .formats import Given

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://in-toto.io/attestation/test-result/v0.1"
EXTENSION: Final = "ebydScan"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CheckResult(_Part):
    """One check's outcome, without what convinces of it: that is in the JSON report."""

    check: str
    outcome: Outcome
    message: str
    score: FiniteFloat | None = None
    threshold: FiniteFloat | None = None
    label: int | None = None
    label_name: str | None = None


class ScanDetails(_Part):
    """The extension field: what was scanned, with what, and what each check said."""

    schema_version: Literal["1"] = "1"
    tool: ToolInfo
    model: ModelInfo
    samples: SamplesInfo
    policy: PolicyInfo
    seed: int
    started: str  # ISO 8601, UTC
    verdict: Verdict
    reason: str
    checks: list[CheckResult]
    environment: dict[str, str]  # versions and device


def render(given: Given) -> str:
    """See `to_statement`."""
    return as_json(to_statement(given.result.judged))


def to_statement(result: ScanResult) -> dict[str, Any]:
    """The statement as a JSON object; the same result gives the same statement.

    Raises:
        ScanError: the model could not be read. A statement is about digests, and there is none.
    """
    details = details_of(result)
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects(result.model),
        "predicateType": PREDICATE_TYPE,
        "predicate": {**test_result(details), EXTENSION: details.model_dump(mode="json")},
    }


def details_of(result: ScanResult) -> ScanDetails:
    """The part of a result that a statement carries."""
    return ScanDetails(
        tool=result.tool,
        model=result.model,
        samples=result.samples,
        policy=result.policy,
        seed=result.seed,
        started=result.started,
        verdict=result.verdict,
        reason=result.reason,
        checks=[_check(finding) for finding in result.findings],
        environment=dict(sorted(result.environment.items())),
    )


def subjects(model: ModelInfo) -> list[dict[str, Any]]:
    """A descriptor a file: the model's own, those beside an ONNX file, or those of a folder.

    Raises:
        ScanError: there is no digest.
    """
    if model.sha256 is None:
        raise ScanError(f"{model.path}: could not be read and has no digest, so no statement about it can be made")
    files = {} if model.format == "huggingface" else {model.path: model.sha256}
    inside = model.path if model.format == "huggingface" else model.path.rpartition("/")[0]
    for name, digest in (model.files or {}).items():
        files[f"{inside}/{name}" if inside else name] = digest
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in files.items()]


def test_result(details: ScanDetails) -> dict[str, Any]:
    """The fields that in-toto's predicate has.

    `WARNED` reads as "passed with warnings" there. So only a model that passed gets it; one about which the scan
    cannot tell, or that could not be scanned, is `FAILED` like one that failed.
    """
    passed = details.verdict is Verdict.PASSED
    names: dict[str, list[str]] = {"passedTests": [], "warnedTests": [], "failedTests": []}
    for one in details.checks:
        if one.outcome is Outcome.PASSED:
            names["passedTests"].append(one.check)
        elif one.outcome is Outcome.INCONCLUSIVE and passed:
            names["warnedTests"].append(one.check)
        elif one.outcome is not Outcome.SKIPPED:
            names["failedTests"].append(one.check)
    result = ("WARNED" if names["warnedTests"] else "PASSED") if passed else "FAILED"
    return {"result": result, "configuration": _configuration(details), **names}


def _configuration(details: ScanDetails) -> list[dict[str, Any]]:
    """Descriptors of what the scan was configured with; one without a digest would say nothing."""
    named: list[tuple[str, str | None, dict[str, Any]]] = [
        (details.policy.name, details.policy.sha256, {"role": "policy"}),
        (details.samples.path, details.samples.sha256, {"role": "samples"}),
    ]
    return [
        {"name": name, "digest": {"sha256": digest}, "annotations": annotations}
        for name, digest, annotations in named
        if digest is not None
    ]


def _check(finding: Finding) -> CheckResult:
    return CheckResult(**{name: getattr(finding, name) for name in CheckResult.model_fields})
