"""The last stage of a scan that was ordered to remove what it finds: repair, and write where the order says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..evidence.context import Evidence
from ..evidence.errors import ScanError, UsageError
from ..evidence.repair import KnownTrigger
from ..evidence.result import Verdict
from ..policies.decide import decide
from . import events
from .removal_order import Repaired
from .repair import RepairOutcome, repair
from .repair_figures import accuracy
from .request import ScanRequest

if TYPE_CHECKING:
    from ..evidence.artifact import Artifact
    from ..evidence.classifier import Classifier

Emit = Callable[[events.Event], None]
_TRIED = 32  # samples that an ONNX file is tried on


def check_repairable(artifact: Artifact, classifier: Classifier) -> None:
    """Raises UsageError where a repaired model could not be written, before any work is done."""
    from .models.repaired.write import check_writable_format

    try:
        check_writable_format(artifact, classifier)
    except ScanError as problem:
        raise UsageError(f"no repaired model can be written: {problem}") from None


def carry_out(
    request: ScanRequest,
    evidence: Evidence,
    triggers: Sequence[KnownTrigger],
    exposed: Sequence[Classifier],
    emit: Emit,
) -> None:
    """Do what the request orders; all that comes of it is told by events, what goes wrong too."""
    assert request.removal and evidence.classifier and evidence.samples
    verdict, reason = decide(request.policy, evidence.findings)
    before = accuracy(evidence.classifier, evidence.samples.held_out)
    if not request.removal.force and verdict is Verdict.PASSED:
        emit(_told(Repaired(outcome="nothing-to-remove", reason=reason[:4000], accuracy=before)))
        return
    if not request.removal.force and verdict is Verdict.ERROR:
        emit(_told(Repaired(outcome="error", reason=reason[:4000], accuracy=before)))
        return
    outcome = repair(
        request.policy,
        evidence,
        evidence.findings,
        triggers,
        exposed,
        seed=request.seed,
        on_candidate=lambda info: emit(events.CandidateEvent(candidate=info)),
    )
    emit(_told(_written(request, evidence, outcome, before)))


def _written(request: ScanRequest, evidence: Evidence, outcome: RepairOutcome, before: float) -> Repaired:
    """Write the repaired model, if there is one, and say so."""
    from .models.repaired.write import write_repaired

    assert request.removal and evidence.classifier and evidence.samples
    if outcome.repaired is None or outcome.chosen is None:
        tried = ", ".join(info.method for info in outcome.candidates)
        return Repaired(outcome="error", reason=f"No remover could do anything: {tried} tried.", accuracy=before)
    chosen = outcome.candidates[outcome.chosen]
    samples = evidence.samples.held_out.inputs[:_TRIED]
    try:
        written = write_repaired(
            evidence.artifact, evidence.classifier, outcome.repaired, request.removal.staging, samples
        )
    except ScanError as problem:
        return Repaired(outcome="error", reason=str(problem)[:4000], accuracy=before)
    return Repaired(
        outcome="removed" if outcome.accepted else "not-accepted",
        reason=chosen.why,
        method=chosen.method,
        accuracy=before,
        tensors_changed=written.changed,
        tensors_total=written.total,
        notes=[note[:4000] for note in written.notes[:200]],
    )


def _told(repaired: Repaired) -> events.RepairedEvent:
    return events.RepairedEvent(repaired=repaired)
