"""What `inspect` found as JUnit XML: one test suite a file, one test case a check."""

from __future__ import annotations

import junit_xml

from ...evidence.finding import Outcome
from ...evidence.result import Verdict
from ..inspection import InspectedFile, Inspection
from .junit import cases_of, class_name, suite_of, tell, timestamp, to_xml

_PACKAGE = "ebyd_scan.inspect"


def to_inspection_junit(inspection: Inspection, started: str) -> str:
    """A case named `inspection` says why a file could not be inspected; what is inconclusive is a failure.

    No file at all is one suite with an error: nothing inspected is never a pass.

    Args:
        started: when the inspection began, ISO 8601.
    """
    files = inspection.files or [InspectedFile(path="inspect", verdict=Verdict.ERROR, error="No file was inspected.")]
    return to_xml([_suite(index, file, timestamp(started)) for index, file in enumerate(files)])


def _suite(index: int, file: InspectedFile, started: str) -> junit_xml.TestSuite:
    name = class_name(_PACKAGE, file.path)
    cases, _ = cases_of(file.findings, name, as_failure=True)
    if file.error is not None or not cases:
        case = junit_xml.TestCase("inspection", name)
        why = file.error or "No check looked at it."
        tell(case, Outcome.ERROR, why, why, as_failure=True)
        cases.append(case)
    facts = {"verdict": file.verdict.value, "model.sha256": file.sha256, "model.format": file.format}
    told = {name: value for name, value in facts.items() if value is not None}
    return suite_of(index, file.path, cases, package=_PACKAGE, properties=told, timestamp=started)
