"""From the rows of a store to results and to the audit that reports are made of."""

from __future__ import annotations

from ...evidence.audit import Audit, AuditedModel, worst
from ...evidence.finding import Finding, Outcome
from ...evidence.result import ExposureInfo, ModelInfo, PolicyInfo, SamplesInfo, ScanResult, ToolInfo
from ...evidence.verdict import Verdict
from ..heard import Heard, result_of
from ..reports.formats import Given
from ..tool import tool_version
from .audits import AuditRow, Entry, entries_of
from .record import triggers
from .store import Known, Store

NOT_REACHED = "the audit was stopped before it came to this model: run it again, and it goes on"


def result_of_entry(store: Store, entry: Entry, *, whole: bool = True) -> ScanResult:
    """The answer about one model of an audit; without its trajectories unless it is to be `whole`."""
    error = entry.error if entry.ended else entry.error or f"{entry.path}: {NOT_REACHED}"
    if entry.request is None or entry.policy is None:
        return _unread(entry, error or "its options were not understood")
    known = store.known(entry.key) if entry.key else None
    heard = Heard.nothing(entry.request)
    if known:
        _recall(heard, known, entry)
    if error:
        heard.error = error
    else:
        heard.stopped, heard.done = heard.stopped or entry.unsearched, True
    result = result_of(entry.request, entry.policy, heard, known.started if known else entry.ended or "")
    return result if whole else result.model_copy(update={"exposure": None})


def _recall(heard: Heard, known: Known, entry: Entry) -> None:
    heard.model = known.model.model_copy(update={"path": entry.path})
    if known.samples:
        heard.samples = known.samples.model_copy(update={"path": heard.samples.path})
    heard.environment, heard.findings, heard.stopped = known.environment, known.findings, known.stopped
    if known.exposures:
        heard.exposure = ExposureInfo(method=known.exposures[0].method, runs=known.exposures)
    heard.timings = dict(known.timings)


def _unread(entry: Entry, error: str) -> ScanResult:
    return ScanResult(
        tool=ToolInfo(version=tool_version()),
        model=ModelInfo(path=entry.path),
        samples=SamplesInfo(path=""),
        policy=PolicyInfo(name="", sha256=""),
        seed=0,
        started=entry.ended or "",
        verdict=Verdict.ERROR,
        reason=error,
        findings=[Finding(check="scan", outcome=Outcome.ERROR, message=error[:4000])],
    )


def audit_from(store: Store, row: AuditRow, pages: dict[str, str] | None = None) -> Audit:
    """The whole answer of one audit; `pages` are the models' own reports by name, relative to the index."""
    models = [
        AuditedModel(
            name=entry.name,
            result=result_of_entry(store, entry, whole=False),
            source="store" if entry.source == "store" else "scanned",
            on_inconclusive=entry.policy.policy.on_inconclusive if entry.policy else "inconclusive",
            page=(pages or {}).get(entry.name),
        )
        for entry in entries_of(store, row.id)
    ]
    verdict = worst({model.result.verdict for model in models})
    if row.ended is None and verdict is Verdict.PASSED:  # it may have been stopped before its models were all known
        verdict = Verdict.ERROR
    return Audit(
        tool=ToolInfo(version=tool_version()),
        number=row.id,
        source=row.source,
        started=row.started,
        ended=row.ended,
        seconds=row.seconds,
        verdict=verdict,
        exit_code=verdict.exit_code,
        models=models,
        left_out=row.left_out,
    )


def given_of(store: Store, entry: Entry) -> Given | None:
    """All that the model's own page tells of; None where there is no policy to tell of."""
    if entry.policy is None:
        return None
    handed, words = triggers(store, entry.key) if entry.key else ([], [])
    return Given(result_of_entry(store, entry), entry.policy, handed, words)
