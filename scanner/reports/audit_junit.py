"""An audit as one JUnit file: a suite a model, and a last one about the audit itself.

What `junit.py` says of its readers holds here. GitLab takes 30 MB a file, so that the figures of thousands of models
are left out where they would not fit.
"""

from __future__ import annotations

import junit_xml

from ...evidence.audit import Audit, AuditedModel
from ...evidence.finding import Outcome
from ...evidence.result import Verdict
from .audit_words import Unique, counts_text, has_passed, headline, sources_text
from .junit import InconclusiveAs, class_name, suite_of, suite_of_result, tell, timestamp, to_xml
from .printable import one_line

MAX_BYTES = 25_000_000  # with figures
_PACKAGE = "ebyd_scan.audit"
_OWN = "ebyd-scan audit"  # the last suite's name
_MAX_NAME = 250  # characters
_MAX_PLACE = 180  # characters of what a class name calls a model; the package before it takes some
_MAX_LEFT_OUT = 1000  # files that are named
_MAX_TEXT = 300  # characters of each


def render(audit: Audit) -> str:
    """Every model as its own policy takes an inconclusive result; red where the audit has not passed.

    Names of suites and class names are in the file once, also where two models share a path. A model that could not be
    scanned has an error; an audit that is no pass for another reason has one in the last suite.
    """
    text = _render(audit, figures=True)
    return text if len(text.encode("utf-8", "replace")) <= MAX_BYTES else _render(audit, figures=False)


def _render(audit: Audit, *, figures: bool) -> str:
    names, places = Unique(_OWN), Unique()
    suites = []
    for index, model in enumerate(audit.models):
        name = names(_clipped(model.name))
        # Two names can differ in a dot alone, which a class name may not have.
        place = places(one_line(model.name).replace(".", "_")[-_MAX_PLACE:] or "model")
        suites.append(_suite(index, model, name, place, figures))
    suites.append(_own(audit, any(_red(suite) for suite in suites), len(suites)))
    return to_xml(suites)


def _suite(index: int, model: AuditedModel, name: str, place: str, figures: bool) -> junit_xml.TestSuite:
    as_what: InconclusiveAs = "skipped" if model.on_inconclusive == "pass" else "failure"
    result = model.result.judged
    suite = suite_of_result(index, result, as_what, name=name, place=place, figures=figures)
    if result.verdict is Verdict.ERROR and not any(case.is_error() for case in suite.test_cases):
        package = suite.package or _PACKAGE
        case = junit_xml.TestCase("verdict", class_name(package, place))
        tell(case, Outcome.ERROR, result.reason, result.reason, as_failure=True)
        suite.test_cases.append(case)
    own = {"audit.name": _clipped(model.name), "audit.source": model.source}
    suite.properties = {**own, "model.path": _clipped(model.result.model.path), **(suite.properties or {})}
    return suite


def _own(audit: Audit, red: bool, index: int) -> junit_xml.TestSuite:
    """About the audit: complete or not, and what it did not look at."""
    case = junit_xml.TestCase("complete", _PACKAGE)
    if audit.ended is None or not audit.models or (not red and not has_passed(audit)):
        outcome = Outcome.FAILED if audit.verdict is Verdict.FAILED else Outcome.ERROR
        tell(case, outcome, f"{headline(audit)}.", f"{headline(audit)}.", as_failure=True)
    properties = {
        "verdict": audit.verdict.value,
        "exit_code": str(audit.exit_code),
        "tool.version": _clipped(audit.tool.version),
        "audit.number": str(audit.number),
        "audit.source": _clipped(audit.source),
        "audit.left_out": str(len(audit.left_out)),
        "audit.seconds": f"{audit.seconds:.3f}",  # not the suite's time: readers add those of all suites up
        **{f"models.{verdict.value}": str(count) for verdict, count in audit.counts.items()},
    }
    return suite_of(
        index,
        _OWN,
        [case],
        package=_PACKAGE,
        timestamp=timestamp(audit.started),
        properties=properties,
        stdout=_told(audit),
    )


def _told(audit: Audit) -> str:
    lines = [f"{headline(audit)}.", f"{counts_text(audit)}."]
    if told := sources_text(audit):
        lines.append(f"{told}.")
    if audit.left_out:
        lines.append(f"Not among the models, and not looked at: {len(audit.left_out)}")
        shown = audit.left_out[:_MAX_LEFT_OUT]
        lines += [f"  {one_line(one.path[:_MAX_TEXT])}: {one_line(one.reason[:_MAX_TEXT])}" for one in shown]
        if rest := len(audit.left_out) - len(shown):
            lines.append(f"and {rest} more")
    return "\n".join(lines)


def _red(suite: junit_xml.TestSuite) -> bool:
    return any(case.is_failure() or case.is_error() for case in suite.test_cases)


def _clipped(text: str) -> str:
    return one_line(text)[:_MAX_NAME] or "model"
