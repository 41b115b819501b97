"""What has changed between two audits: models gone and new, other files, other verdicts, other findings.

Models are matched by name. Of those left over, one with the same SHA-256 on both sides is the same under another name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ...evidence.audit import WORST_FIRST, Audit, AuditedModel
from ...evidence.finding import Finding, Outcome
from ...evidence.result import Verdict

TOLERANCE = 0.01
"""Of a score, both as a share of it and as it is: devices and versions of torch differ in less."""
SCHEMA_VERSION: Literal["1"] = "1"
_GRAVEST_FIRST = (Outcome.FAILED, Outcome.ERROR, Outcome.INCONCLUSIVE, Outcome.SKIPPED, Outcome.PASSED)

Direction = Literal["worse", "other", "better"]
_WORSE_FIRST: tuple[Direction, ...] = ("worse", "other", "better")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AuditRef(_Part):
    """Which audit."""

    number: int
    source: str
    started: str
    verdict: Verdict
    complete: bool  # else it was stopped, and what seems to be gone or new may be what was not reached


class Side(_Part):
    """A model as one of the audits has it."""

    name: str
    path: str
    sha256: str | None
    verdict: Verdict
    reason: str


class FindingSide(_Part):
    """The gravest finding of a check as one of the audits has it."""

    outcome: Outcome
    label: int | None
    label_name: str | None
    score: float | None


class FindingChange(_Part):
    """A check that says something else; None on a side where it did not run."""

    check: str
    before: FindingSide | None
    after: FindingSide | None
    changed: list[Literal["outcome", "label", "score"]]


class ModelChange(_Part):
    """A model that both have and that is not the same in both."""

    direction: Direction  # by its verdict; where that is the same, by its checks
    before: Side
    after: Side
    changed: list[Literal["name", "file", "verdict", "findings"]]
    findings: list[FindingChange]


class Comparison(_Part):
    """Of audit `a` with a later one `b`; lists have the worst first."""

    schema_version: Literal["1"] = SCHEMA_VERSION
    a: AuditRef
    b: AuditRef
    changed: list[ModelChange]
    new: list[Side]  # in `b` only
    gone: list[Side]  # in `a` only
    unchanged: int
    tolerance: float = Field(default=TOLERANCE, ge=0)

    @property
    def worse(self) -> bool:
        """Whether a model got worse, or a new one did not pass."""
        new = any(side.verdict is not Verdict.PASSED for side in self.new)
        return new or any(change.direction == "worse" for change in self.changed)


def compare(a: Audit, b: Audit, *, tolerance: float = TOLERANCE) -> Comparison:
    """Of an audit with a later one.

    Args:
        a: the earlier one.
        b: the later one.
        tolerance: of scores, both relative and absolute; in 0..1 as a rule.
    """
    pairs, gone, new = _matched(a.models, b.models)
    changes = [change for before, after in pairs if (change := _change(before, after, tolerance))]
    return Comparison(
        a=_ref(a),
        b=_ref(b),
        changed=sorted(changes, key=_gravity),
        new=sorted(map(_side, new), key=lambda side: WORST_FIRST.index(side.verdict)),
        gone=sorted(map(_side, gone), key=lambda side: WORST_FIRST.index(side.verdict)),
        unchanged=len(pairs) - len(changes),
        tolerance=tolerance,
    )


def _matched(
    a: Iterable[AuditedModel], b: Iterable[AuditedModel]
) -> tuple[list[tuple[AuditedModel, AuditedModel]], list[AuditedModel], list[AuditedModel]]:
    """Pairs in the order of `b`, what only `a` has, what only `b` has."""
    before = {model.name: model for model in a}
    after = list(b)
    partner = {model.name: before.pop(model.name) for model in after if model.name in before}
    by_digest: dict[str, list[AuditedModel]] = {}
    for model in before.values():
        if digest := model.result.model.sha256:
            by_digest.setdefault(digest, []).append(model)
    for model in after:
        same = by_digest.get(model.result.model.sha256 or "")
        if model.name not in partner and same:
            partner[model.name] = before.pop(same.pop(0).name)
    pairs = [(partner[model.name], model) for model in after if model.name in partner]
    return pairs, list(before.values()), [model for model in after if model.name not in partner]


def _change(before: AuditedModel, after: AuditedModel, tolerance: float) -> ModelChange | None:
    a, b = before.result.judged, after.result.judged
    findings = _finding_changes(a.findings, b.findings, tolerance)
    differ: dict[Literal["name", "file", "verdict", "findings"], bool] = {
        "name": before.name != after.name,
        "file": (before.result.model.sha256, before.result.model.files)
        != (after.result.model.sha256, after.result.model.files),
        "verdict": a.verdict is not b.verdict,
        "findings": bool(findings),
    }
    changed = [what for what, is_so in differ.items() if is_so]
    if not changed:
        return None
    return ModelChange(
        direction=_direction(a.verdict, b.verdict, findings),
        before=_side(before),
        after=_side(after),
        changed=changed,
        findings=findings,
    )


def _finding_changes(a: list[Finding], b: list[Finding], tolerance: float) -> list[FindingChange]:
    """The checks that say something else, those that got worse first."""
    before, after = _gravest(a), _gravest(b)
    changes = []
    for check in dict.fromkeys([*after, *before]):
        was, now = before.get(check), after.get(check)
        changed: list[Literal["outcome", "label", "score"]] = []
        if (was and was.outcome) is not (now and now.outcome):
            changed.append("outcome")
        if was and now and was.label != now.label:
            changed.append("label")
        if was and now and not _close(was.score, now.score, tolerance):
            changed.append("score")
        if changed:
            changes.append(
                FindingChange(check=check, before=_finding_side(was), after=_finding_side(now), changed=changed)
            )
    return sorted(changes, key=lambda change: _WORSE_FIRST.index(_finding_direction(change)))


def _gravest(findings: list[Finding]) -> dict[str, Finding]:
    """A finding a check: the gravest, and of those alike the first."""
    kept: dict[str, Finding] = {}
    for finding in findings:
        known = kept.get(finding.check)
        if known is None or _rank(finding.outcome) < _rank(known.outcome):
            kept[finding.check] = finding
    return kept


def _close(a: float | None, b: float | None, tolerance: float) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)


def _direction(before: Verdict, after: Verdict, findings: list[FindingChange]) -> Direction:
    was, now = WORST_FIRST.index(before), WORST_FIRST.index(after)
    if was != now:
        return "worse" if now < was else "better"
    found = {_finding_direction(change) for change in findings}
    return next((direction for direction in _WORSE_FIRST if direction in found), "other")


def _finding_direction(change: FindingChange) -> Direction:
    """By the outcome; a check that ran on one side only is neither worse nor better."""
    if change.before is None or change.after is None:
        return "other"
    was, now = _rank(change.before.outcome), _rank(change.after.outcome)
    return "other" if was == now else "worse" if now < was else "better"


def _rank(outcome: Outcome) -> int:
    return _GRAVEST_FIRST.index(outcome)


def _gravity(change: ModelChange) -> tuple[int, int]:
    return _WORSE_FIRST.index(change.direction), WORST_FIRST.index(change.after.verdict)


def _ref(audit: Audit) -> AuditRef:
    return AuditRef(
        number=audit.number,
        source=audit.source,
        started=audit.started,
        verdict=audit.verdict,
        complete=audit.ended is not None,
    )


def _side(model: AuditedModel) -> Side:
    result = model.result
    return Side(
        name=model.name,
        path=result.model.path,
        sha256=result.model.sha256,
        verdict=result.verdict,
        reason=result.reason,
    )


def _finding_side(finding: Finding | None) -> FindingSide | None:
    if finding is None:
        return None
    return FindingSide(outcome=finding.outcome, label=finding.label, label_name=finding.label_name, score=finding.score)
