"""What an audit says, worded once for every format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ...evidence.audit import WORST_FIRST, Audit, AuditedModel
from ...evidence.finding import Finding, Outcome
from ...evidence.result import ScanResult, Verdict
from .figures import label_text, percent
from .printable import one_line

GRAVEST_FIRST = (Outcome.FAILED, Outcome.ERROR, Outcome.INCONCLUSIVE, Outcome.PASSED, Outcome.SKIPPED)
_TELLING = {  # which outcomes can be why a model did not pass
    Verdict.FAILED: (Outcome.FAILED, Outcome.INCONCLUSIVE, Outcome.ERROR),
    Verdict.ERROR: (Outcome.ERROR, Outcome.FAILED),
    Verdict.INCONCLUSIVE: (Outcome.INCONCLUSIVE,),
    Verdict.PASSED: (),
}


def has_passed(audit: Audit) -> bool:
    """Whether every report may look like a pass. One that was stopped has not looked at everything."""
    return audit.verdict is Verdict.PASSED and audit.exit_code == 0 and audit.ended is not None


def worst_first(audit: Audit) -> list[AuditedModel]:
    """The models by verdict, those of the same verdict in the order of the plan."""
    return sorted(audit.models, key=lambda model: WORST_FIRST.index(model.result.verdict))


def headline(audit: Audit) -> str:
    """The audit in plain words, without a full stop: `3 of 500 models must not be shipped`. One line."""
    counts, total = audit.counts, len(audit.models)
    if not total:
        return "No model was scanned, which is not a pass"
    of = f"of {models(total)}"
    if failed := counts[Verdict.FAILED]:
        said = f"{failed} {of} must not be shipped"
    elif broken := counts[Verdict.ERROR]:
        said = f"{broken} {of} could not be scanned, which is not a pass"
    elif unclear := counts[Verdict.INCONCLUSIVE]:
        said = f"Whether {unclear} {of} {'has' if unclear == 1 else 'have'} a backdoor cannot be told"
    else:
        said = f"All {models(total)} passed" if total > 1 else "The one model passed"
    if audit.ended is None:
        return f"Stopped before its end; so far: {said[0].lower()}{said[1:]}"
    return said if has_passed(audit) or audit.verdict is not Verdict.PASSED else f"{said}, but not the audit"


def models(count: int) -> str:
    """`1 model`, `3 models`."""
    return f"{count} model" if count == 1 else f"{count} models"


def counts_text(audit: Audit) -> str:
    """`500 models: 3 failed, 1 could not be scanned, 2 inconclusive, 494 passed`; what there is none of is left out."""
    words = {Verdict.ERROR: "could not be scanned"}
    told = [f"{count} {words.get(verdict, verdict.value)}" for verdict, count in audit.counts.items() if count]
    return f"{models(len(audit.models))}: {', '.join(told)}" if told else "no models"


def sources_text(audit: Audit) -> str:
    """`20 scanned now, 480 from the store`."""
    counted = Counter(model.source for model in audit.models)
    told = {"scanned now": counted["scanned"], "from the store": counted["store"]}
    return ", ".join(f"{count} {word}" for word, count in told.items() if count)


def telling(result: ScanResult) -> Finding | None:
    """The finding that says most about why a model did not pass: one with a witness or a label before others."""
    order = _TELLING[result.verdict]
    found = [finding for finding in result.findings if finding.outcome in order]
    return min(
        found,
        key=lambda one: (order.index(one.outcome), one.witness is None, one.label is None),
        default=None,
    )


def found_text(finding: Finding) -> str | None:
    """`label 3 (cat), patch, 95 %`; None where it names no label."""
    label = label_text(finding)
    if label is None:
        return None
    witness = finding.witness
    facts = [] if witness is None else [witness.family, percent(witness.attack_success_rate)]
    return one_line(", ".join([f"label {label}", *facts]))


def by_check(findings: Iterable[Finding]) -> dict[str, Finding]:
    """The gravest finding of each check, in the order of the checks."""
    gravest: dict[str, Finding] = {}
    for finding in findings:
        known = gravest.get(finding.check)
        if known is None or GRAVEST_FIRST.index(finding.outcome) < GRAVEST_FIRST.index(known.outcome):
            gravest[finding.check] = finding
    return gravest


def by_outcome(findings: Iterable[Finding]) -> dict[Outcome, list[str]]:
    """The checks by how they ended, the gravest outcome first; an outcome that none had is not in it."""
    checks = by_check(findings)
    ended = {one: [check for check, finding in checks.items() if finding.outcome is one] for one in GRAVEST_FIRST}
    return {outcome: names for outcome, names in ended.items() if names}


def total_seconds(timings: Mapping[str, float]) -> float | None:
    """Of a whole scan; None where nobody measured it."""
    return timings.get("total")


class Unique:
    """Gives out texts, each once: the second `a` becomes `a (2)`."""

    def __init__(self, *taken: str) -> None:
        self._used = set(taken)
        self._next: Counter[str] = Counter()

    def __call__(self, text: str) -> str:
        """The text, or the text with the first number that is free."""
        name = text
        while name in self._used:
            self._next[text] += 1
            name = f"{text} ({self._next[text] + 1})"
        self._used.add(name)
        return name
