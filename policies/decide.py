"""From findings to the verdict. Nothing passes that was not looked at."""

from __future__ import annotations

from collections.abc import Sequence

from ..evidence.finding import Finding, Outcome
from ..evidence.result import Verdict
from .model import ON_INCONCLUSIVE, Policy

FILE_CHECKS = frozenset({"file-safety"})
PREMISE_CHECKS = frozenset({"graph-logic", "sample-fit", "sample-trust", "backdoor-label", "reference-drift"})
"""They say whether and where to look, or compare; that they pass says nothing about a backdoor in the weights."""


def decide(
    policy: Policy,
    findings: Sequence[Finding],
    file_checks: frozenset[str] = FILE_CHECKS,
    premise_checks: frozenset[str] = PREMISE_CHECKS,
) -> tuple[Verdict, str]:
    """The verdict and one sentence that says why.

    In order: a file check that failed or crashed means that the model could not be scanned; any other failed check
    fails the model; a crashed or missing check means that the scan is incomplete; an inconclusive check means what
    the policy says. A model passes only where a check that can find a backdoor has looked: not on its file
    (`file_checks`) and on what prepares the search or compares (`premise_checks`) alone, unless the policy asks for no
    more.
    """
    by_outcome = {outcome: [f for f in findings if f.outcome is outcome] for outcome in Outcome}
    failed, crashed = by_outcome[Outcome.FAILED], by_outcome[Outcome.ERROR]
    unreadable = [f for f in (*failed, *crashed) if f.check in file_checks]
    if unreadable:
        return Verdict.ERROR, _because("The file could not be scanned safely", unreadable)
    if failed:
        return Verdict.FAILED, _because("The model failed", failed)
    if crashed:
        return Verdict.ERROR, _because("The scan could not be completed", crashed)

    inconclusive = by_outcome[Outcome.INCONCLUSIVE]
    failing = [f for f in inconclusive if _meaning(policy, f.check) == "fail"]
    if failing:
        return Verdict.FAILED, _because("The policy fails what is inconclusive", failing)
    open_questions = [f for f in inconclusive if _meaning(policy, f.check) == "inconclusive"]
    if open_questions:
        return Verdict.INCONCLUSIVE, _because("The scan cannot tell", open_questions)

    missing = [name for name in policy.checks if name not in {f.check for f in findings}]
    if missing:
        return Verdict.ERROR, f"The scan could not be completed: no result from {', '.join(missing)}."
    return _pass_or_not(policy, by_outcome, file_checks, premise_checks)


def _pass_or_not(
    policy: Policy,
    by_outcome: dict[Outcome, list[Finding]],
    file_checks: frozenset[str],
    premise_checks: frozenset[str],
) -> tuple[Verdict, str]:
    """Nothing speaks against the model; is there anything that speaks for it?"""
    names = set(policy.checks)
    of_the_model = (names - file_checks) or names
    deciding = (of_the_model - premise_checks) or of_the_model
    passed = [f for f in by_outcome[Outcome.PASSED] if f.check in names]
    looked = [f for f in (*passed, *by_outcome[Outcome.INCONCLUSIVE]) if f.check in deciding]
    if looked and any(f.check in of_the_model for f in passed):
        return Verdict.PASSED, _passed(passed, by_outcome)
    if looked:
        return Verdict.INCONCLUSIVE, _because("Nothing was found, but no check passed either", looked)
    skipped = [f for f in by_outcome[Outcome.SKIPPED] if f.check in deciding]
    return Verdict.INCONCLUSIVE, _because("No check looked for a backdoor", skipped)


def _passed(passed: list[Finding], by_outcome: dict[Outcome, list[Finding]]) -> str:
    count = len({f.check for f in passed})
    parts = ["1 check passed" if count == 1 else f"{count} checks passed"]
    if by_outcome[Outcome.INCONCLUSIVE]:
        parts.append(f"{_names(by_outcome[Outcome.INCONCLUSIVE])} inconclusive, which the policy lets pass")
    if by_outcome[Outcome.SKIPPED]:
        parts.append(f"{_names(by_outcome[Outcome.SKIPPED])} skipped")
    return "; ".join(parts) + "."


def _meaning(policy: Policy, check: str) -> object:
    return policy.checks.get(check, {}).get(ON_INCONCLUSIVE) or policy.on_inconclusive


def _because(claim: str, findings: list[Finding]) -> str:
    """`claim: check: its message`, and how many more say so."""
    first = findings[0]
    more = len({f.check for f in findings} - {first.check})
    others = f" (and {more} more)" if more else ""
    message = " ".join(first.message.split()) or "no reason given."
    return f"{claim}: {first.check}: {message}{others}"


def _names(findings: list[Finding]) -> str:
    return ", ".join(dict.fromkeys(f.check for f in findings))
