"""The verdict as SARIF 2.1.0, for GitHub's code scanning and other readers.

GitHub takes every result for a problem, whatever its kind. So a result is what keeps a model from passing, and a model
that passed has none; what else there is to say is in the notifications and properties of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ...evidence.finding import Finding, Outcome
from ...evidence.result import ScanResult, Verdict
from .removal import removal_figures
from .sarif_log import Level, Run, location_of, times_of
from .sarif_rules import SCAN, VERDICT
from .words import sentence

if TYPE_CHECKING:
    from .formats import Given


MAX_RESULTS = 200  # a policy has a dozen checks; more findings than these are nonsense


def render(given: Given) -> str:
    """Of one scan; paths below the current folder become relative to it."""
    return to_sarif(given.result.judged, Path.cwd())


def to_sarif(result: ScanResult, directory: PurePath) -> str:
    """One run with one result for each finding that keeps the model from passing.

    A further result of the rule `verdict` is added where no finding says what the verdict says, so that an unreadable
    file, which has no findings, never looks clean.

    Args:
        result: text in it is cut to bounded lengths, control characters in it are written out.
        directory: absolute; paths below it are written relative to it.
    """
    where = location_of(result.model.path, directory)["uri"].removeprefix("file:///")
    run = Run(
        result.tool.version, directory, MAX_RESULTS, f"{quote(result.policy.name, safe='', errors='replace')}/{where}"
    )
    files = {"files": result.model.files} if result.model.files else {}  # of a folder, or beside an ONNX file
    model = run.add_artifact(result.model.path, result.model.sha256, files)
    add_scan(run, result, model)
    return run.to_text(_invocation(result), _properties(result))


def add_scan(run: Run, result: ScanResult, model: int) -> None:
    """Add what a scan found to a run that has the model as an artifact; its results never look better than it."""
    first = len(run.results)
    for finding in result.findings:
        _add(run, finding, result, model)
    if not _tells(run.results[first:], result.verdict):
        level: Level = "warning" if result.verdict is Verdict.INCONCLUSIVE else "error"
        check = SCAN if result.verdict is Verdict.ERROR else VERDICT
        run.add_result(check, level, result.reason, model, {"verdict": result.verdict.value})


def _add(run: Run, finding: Finding, result: ScanResult, model: int) -> None:
    match finding.outcome:
        case Outcome.PASSED:
            return
        case Outcome.SKIPPED:
            run.notify(finding.check, "note", f"Skipped: {finding.message}", model)
            return
        case Outcome.ERROR:
            run.notify(finding.check, "error", finding.message, model)
        case Outcome.INCONCLUSIVE if result.verdict is Verdict.PASSED:
            run.notify(finding.check, "warning", f"Inconclusive, which the policy lets pass: {finding.message}", model)
    if result.verdict is not Verdict.PASSED:
        run.add_finding(finding, _level(finding, result), model)


def _level(finding: Finding, result: ScanResult) -> Level:
    if finding.outcome is not Outcome.INCONCLUSIVE:
        return "error"
    # A policy may fail what is inconclusive; then nothing else has failed.
    other = any(one.outcome is Outcome.FAILED for one in result.findings)
    return "error" if result.verdict is Verdict.FAILED and not other else "warning"


def _tells(results: Sequence[Mapping[str, Any]], verdict: Verdict) -> bool:
    """Whether the results alone look no better than the verdict."""
    if verdict is Verdict.PASSED:
        return True
    return any(entry["level"] == "error" or verdict is Verdict.INCONCLUSIVE for entry in results)


def _invocation(result: ScanResult) -> dict[str, Any]:
    return {
        "executionSuccessful": result.verdict is not Verdict.ERROR,
        "exitCode": result.verdict.exit_code,
        "exitCodeDescription": result.verdict.value,
        **times_of(result.started, result.timings.get("total")),
    }


def _properties(result: ScanResult) -> dict[str, Any]:
    """What was scanned with what, and how each check ended: a run without results says here why that is a pass."""
    return {
        "verdict": result.verdict.value,
        "summary": f"{sentence(result)}.",
        "reason": result.reason,
        "checks": [{"check": one.check, "outcome": one.outcome.value} for one in result.findings],
        "policy": result.policy.model_dump(),
        "samples": result.samples.model_dump(exclude_none=True),
        "seed": result.seed,
        **({"removal": dict(removal_figures(result))} if result.removal else {}),
        "model": result.model.model_dump(include={"format", "architecture"}, exclude_none=True),
        "timings": result.timings,
        "environment": result.environment,
    }
