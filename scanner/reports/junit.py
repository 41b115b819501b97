"""The verdicts as JUnit XML that Jenkins, Ant, GitLab and GitHub's readers take.

junit-xml builds the report; its raw output breaks both well-known schemas (Jenkins' xunit plugin and Windy Road's
for Ant), so it is finished here to what both accept: see `_finish`. Names and sizes follow what three readers do:

- GitLab shows and compares a case by class name and name, takes 30 MB a file and text nodes of 10 MB, and shows the
  text of a failure but not its message.
- Jenkins takes what stands before the last dot of a class name for a package, and keeps a history by class and name.
- dorny/test-reporter groups the cases of a suite by class name.

So the class name names the model, or two models' cases would be one. No case has a `file`: Ant's schema allows none.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree

import junit_xml

from ...evidence.finding import Finding, Outcome
from ...evidence.result import ScanResult, Verdict
from .figures import details
from .printable import one_line, printable
from .removal import removal_figures

if TYPE_CHECKING:
    from .formats import Given

InconclusiveAs = Literal["failure", "skipped"]
_MAX_NAME = 250  # characters; GitLab keeps 255
_MAX_MESSAGE = 4000  # characters, as long as a finding's may be
_MAX_BODY = 20_000  # characters
_MAX_VALUE = 1000  # characters of a property
_MAX_PROPERTIES = 2000  # of a suite
_MAX_CASES = 500  # of a suite: a policy has a dozen checks
_FEW_PROPERTIES = 6  # of a suite without figures: verdict, reason, version, digest, format, architecture
_SHORT_MESSAGE = 300  # characters, likewise


def render(given: Given) -> str:
    """Of one scan, as its policy takes an inconclusive result."""
    as_what: InconclusiveAs = "skipped" if given.policy.policy.on_inconclusive == "pass" else "failure"
    return to_junit([given.result.judged], inconclusive_as=as_what)


def to_junit(results: Sequence[ScanResult], *, inconclusive_as: InconclusiveAs) -> str:
    """One test suite a model, one test case a check.

    A further case named `verdict` is added where no check's case says what the verdict says, so that a report never
    looks better than the exit code: an unreadable file, for one, has no findings at all.

    Args:
        results: one a model.
        inconclusive_as: what an inconclusive check becomes; where the verdict is nevertheless `passed`, the policy
            lets it pass, and it is always `skipped`.
    """
    return to_xml([_suite(index, result, inconclusive_as) for index, result in enumerate(results)])


def to_xml(suites: Sequence[junit_xml.TestSuite]) -> str:
    """The report on these suites, valid under both schemas."""
    root = ElementTree.fromstring(junit_xml.to_xml_report_string(suites, prettyprint=False))
    _finish(root)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _suite(index: int, result: ScanResult, inconclusive_as: InconclusiveAs) -> junit_xml.TestSuite:
    return suite_of_result(index, result, inconclusive_as, name=result.model.path, place=result.model.path)


def suite_of_result(
    index: int, result: ScanResult, inconclusive_as: InconclusiveAs, *, name: str, place: str, figures: bool = True
) -> junit_xml.TestSuite:
    """The suite of one scanned model.

    Args:
        index: its id.
        result: what a reader is to see; of a repaired model that decides, the repaired one's.
        inconclusive_as: see `to_junit`.
        name: of the suite.
        place: what the class name of its cases names the model by.
        figures: without them the suite has only its first properties and the cases have no text.
    """
    package = one_line(f"ebyd_scan.{result.policy.name}")[:_MAX_NAME].rstrip(".")  # no policy was read: no name
    as_failure = inconclusive_as == "failure" and result.verdict is not Verdict.PASSED
    findings = result.findings if figures else [_bare(finding) for finding in result.findings]
    cases, named = cases_of(findings, class_name(package, place), as_failure)
    if not _agrees(cases, result.verdict, inconclusive_as):
        case = junit_xml.TestCase("verdict", class_name(package, place))
        tell(case, Outcome(result.verdict.value), result.reason, result.reason, inconclusive_as == "failure")
        cases.append(case)
    rows = _properties(result, named)[: _MAX_PROPERTIES if figures else _FEW_PROPERTIES]
    return suite_of(
        index,
        name,
        cases,
        package=package,
        timestamp=timestamp(result.started),
        properties={one_line(name)[:_MAX_NAME]: printable(value[:_MAX_VALUE]) for name, value in rows},
        stdout=printable(f"{result.verdict.value}: {result.reason[:_MAX_BODY]}", keep="\n"),
    )


def _bare(finding: Finding) -> Finding:
    """Its outcome and the beginning of its message."""
    bare: dict[str, Any] = {
        "message": finding.message[:_SHORT_MESSAGE],
        "metrics": {},
        "witness": None,
        "label_name": None,
    }
    return finding.model_copy(update=bare)


def suite_of(index: int, path: str, cases: list[junit_xml.TestCase], **more: Any) -> junit_xml.TestSuite:
    """The suite of one model; a report tells nothing about the machine that the caller did not ask for."""
    name = one_line(path)[:_MAX_MESSAGE] or "model"
    return junit_xml.TestSuite(name, cases, hostname="localhost", id=str(index), **more)


def class_name(package: str, path: str) -> str:
    """Of a model's cases: the package, and the path without dots, which would make packages of it."""
    place = one_line(path).replace(".", "_") or "model"
    room = max(_MAX_NAME - len(package) - 1, 40)
    return f"{package}.{place[-room:]}"


def cases_of(
    findings: Sequence[Finding], classname: str, as_failure: bool
) -> tuple[list[junit_xml.TestCase], list[tuple[str, Finding]]]:
    """A case a finding, of too many those that are no pass first; and the findings told of, with the case's name."""
    kept = list(findings)
    if len(kept) > _MAX_CASES:
        kept = sorted(kept, key=lambda finding: finding.outcome in (Outcome.PASSED, Outcome.SKIPPED))[:_MAX_CASES]
    cases: list[junit_xml.TestCase] = []
    named: dict[str, Finding] = {}
    for finding in kept:
        name = _unique(finding, named)
        named[name] = finding
        case = junit_xml.TestCase(name, classname, elapsed_sec=finding.seconds)
        tell(case, finding.outcome, finding.message, _body(finding), as_failure)
        cases.append(case)
    return cases, list(named.items())


def _unique(finding: Finding, used: Container[str]) -> str:
    name, count = one_line(finding.check)[: _MAX_NAME - 10] or "check", 1
    stem = name
    while name in used or name == "verdict":
        count += 1
        name = f"{stem} ({count})"
    return name


def tell(case: junit_xml.TestCase, outcome: Outcome, message: str, body: str, as_failure: bool) -> None:
    """Make the case what the outcome is; an inconclusive one a failure or skipped."""
    message = one_line(message)[:_MAX_MESSAGE] or "no reason given"
    body = printable(body[:_MAX_BODY], keep="\n")
    if outcome is Outcome.ERROR:
        case.add_error_info(message, body, "error")
    elif outcome is Outcome.FAILED or (outcome is Outcome.INCONCLUSIVE and as_failure):
        case.add_failure_info(message, body, outcome.value)
    elif outcome is Outcome.INCONCLUSIVE:
        case.add_skipped_info(f"inconclusive: {message}", body)
    elif outcome is Outcome.SKIPPED:
        case.add_skipped_info(message, body)


def _agrees(cases: Sequence[junit_xml.TestCase], verdict: Verdict, inconclusive_as: InconclusiveAs) -> bool:
    """Whether the cases alone look as the verdict is: red, not run, or green."""
    red = any(case.is_failure() or case.is_error() for case in cases)
    if verdict is Verdict.PASSED:
        return bool(cases)
    if verdict is Verdict.INCONCLUSIVE and inconclusive_as == "skipped":
        return any(case.is_skipped() for case in cases)
    return red


def _body(finding: Finding) -> str:
    return "\n".join([one_line(finding.message), *(f"{name}: {one_line(value)}" for name, value in details(finding))])


def _properties(result: ScanResult, named: Sequence[tuple[str, Finding]]) -> list[tuple[str, str]]:
    """Of the suite; the test case's own are in here too, by its name, since neither schema lets a case have any."""
    rows: list[tuple[str, str | int | None]] = [
        ("verdict", result.verdict.value),
        ("reason", result.reason),
        ("tool.version", result.tool.version),
        ("model.sha256", result.model.sha256),
        ("model.format", result.model.format),
        ("model.architecture", result.model.architecture),
        ("samples.path", result.samples.path),
        ("samples.sha256", result.samples.sha256),
        ("samples.count", result.samples.count),
        ("samples.classes", result.samples.classes),
        ("policy.name", result.policy.name),
        ("policy.sha256", result.policy.sha256),
        ("seed", result.seed),
        *removal_figures(result),
        *((f"timings.{stage}", f"{seconds:.3f}") for stage, seconds in result.timings.items()),
        *((f"environment.{name}", value) for name, value in result.environment.items()),
    ]
    for case, finding in named:
        rows += [(f"{case}.{name}", value) for name, value in details(finding)]
    return [(name, str(value)) for name, value in rows if value is not None]


def timestamp(started: str) -> str:
    """Of a moment as ISO 8601: in UTC without a zone, as the Ant schema wants it."""
    try:
        moment = datetime.fromisoformat(started)
    except ValueError:
        return "1970-01-01T00:00:00"
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def _finish(root: ElementTree.Element) -> None:
    """What junit-xml leaves: attributes of neither schema, times it drops when zero, and Ant's order of elements."""
    root.attrib.clear()  # Ant's schema allows none here; every reader adds the suites up by itself
    for suite in root:
        suite.attrib.pop("disabled", None)
        total = sum(float(case.get("time", 0)) for case in suite.iter("testcase"))
        recorded = suite.find("properties/property[@name='timings.total']")
        suite.set("time", f"{total if recorded is None else float(recorded.get('value', 0)):.3f}")
        for case in suite.iter("testcase"):
            case.set("time", f"{float(case.get('time', 0)):.3f}")
        children = list(suite)
        for child in children:
            suite.remove(child)
        for tag in ("properties", "testcase", "system-out", "system-err"):
            found = [child for child in children if child.tag == tag]
            # Ant's schema wants each of the others exactly once, even if empty.
            suite.extend(found if found or tag == "testcase" else [ElementTree.Element(tag)])
