"""What `inspect` found as SARIF 2.1.0: one run over all files, one result a finding that is no pass."""

from __future__ import annotations

from pathlib import PurePath

from ...evidence.finding import Outcome
from ..inspection import InspectedFile, Inspection
from .sarif_log import MAX_RESULTS, Run, times_of
from .sarif_rules import SCAN

_LOOKED = (Outcome.PASSED, Outcome.SKIPPED)


def to_inspection_sarif(inspection: Inspection, directory: PurePath, started: str) -> str:
    """A file that could not be inspected has a result of the rule `scan`; a file that passed has none.

    Args:
        directory: absolute; paths below it are written relative to it.
        started: when the inspection began, ISO 8601.
    """
    run = Run(inspection.tool.version, directory, MAX_RESULTS, "inspect")
    for file in inspection.files:
        _add(run, file)
    broken = not inspection.files or any(file.error is not None for file in inspection.files)
    if not inspection.files:
        run.notify(SCAN, "error", "No file was inspected.")
    invocation = {
        "executionSuccessful": not broken,
        "exitCode": inspection.exit_code,
        "exitCodeDescription": inspection.verdict.value,
        **times_of(started, None),
    }
    return run.to_text(invocation, {"verdict": inspection.verdict.value, "files": len(inspection.files)})


def _add(run: Run, file: InspectedFile) -> None:
    facts = {"format": file.format, "files": file.files}
    place = run.add_artifact(file.path, file.sha256, {name: value for name, value in facts.items() if value})
    for finding in file.findings:
        if finding.outcome in _LOOKED:
            continue
        run.add_finding(finding, "warning" if finding.outcome is Outcome.INCONCLUSIVE else "error", place)
    if file.error is not None:
        run.notify(SCAN, "error", file.error, place)
        run.add_result(SCAN, "error", f"Not inspected: {file.error}", place, {"verdict": file.verdict.value})
