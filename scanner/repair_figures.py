"""How good a repaired model is: figures on held-out samples, which no remover sees, and a fresh look for a backdoor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..checks.predictions import predicted
from ..checks.suspects import collapse, converged
from ..evidence.context import Evidence, Progress, forget
from ..evidence.finding import Finding, Outcome
from ..evidence.removal import CandidateInfo
from ..evidence.repair import KnownTrigger
from ..evidence.samples import SamplePart
from ..policies.decide import PREMISE_CHECKS
from ..policies.model import AcceptSettings, Policy
from ..policies.plugins import build_checks
from .expose import expose, run_check

if TYPE_CHECKING:
    from ..evidence.classifier import Classifier

BATCH = 256
TEXT_BATCH = 64
_LEAST = 0.01  # bounds of nothing at all count as this much where figures are compared with them


@dataclass(frozen=True)
class FreshLook:
    """What the checks see in a repaired model that is exposed anew."""

    new_trigger_success: float | None  # None: the checks cannot tell
    residual_exposure: bool


def accuracy(classifier: Classifier, part: SamplePart) -> float:
    """Share of samples that are classified rightly."""
    right = predicted(classifier, part.inputs, _batch(classifier)) == part.labels
    return float(right.float().mean()) if len(part) else 0.0


def success(classifier: Classifier, part: SamplePart, trigger: KnownTrigger) -> float:
    """Share of the samples of other classes, of those that the model gets right, that the trigger sends to its label.

    0 where there are none.
    """
    import torch

    from ..checks.trigger_inversion import wanted_labels

    wanted = wanted_labels(torch.tensor(trigger.label), part.labels, classifier.num_classes).expand_as(part.labels)
    others = (predicted(classifier, part.inputs, _batch(classifier)) == part.labels) & (part.labels != wanted)
    index = others.nonzero().flatten()
    hits = 0
    with torch.no_grad():
        for some in index.split(_batch(classifier)):
            triggered = trigger.apply(part.inputs[some].to(classifier.device))
            hits += int((classifier.logits(triggered).argmax(dim=1).cpu() == wanted[some]).sum())
    return hits / len(index) if len(index) else 0.0


def highest_success(classifier: Classifier, part: SamplePart, triggers: Sequence[KnownTrigger]) -> float | None:
    """Of the most successful trigger; None where there is none."""
    return max((success(classifier, part, trigger) for trigger in triggers), default=None)


def look_afresh(
    policy: Policy, evidence: Evidence, repaired: Classifier, suspected: Sequence[int], *, seed: int, progress: Progress
) -> FreshLook:
    """Expose the repaired model and run the policy's checks on it, with a seed of their own."""
    assert evidence.samples is not None
    known: list[KnownTrigger] = []
    fresh = replace(
        evidence,
        classifier=repaired,
        seed=seed,
        progress=progress,
        keep=forget,
        keep_words=forget,
        keep_known=known.append,
        exposures=[
            exposure.run
            for exposure in expose(policy, repaired, evidence.samples, seed=seed, stage="expose", progress=progress)
        ],
        findings=(),
        reference=None,  # the repaired model is compared with no release
        reference_artifact=None,
        reference_exposures=(),
    )
    checks = [check for check in build_checks(policy) if check.stage == "exposure"]
    findings: list[Finding] = []
    for check in checks:
        findings.append(run_check(check, replace(fresh, findings=tuple(findings))))
    runs = converged(fresh.exposures)
    named = collapse(runs).named() if runs else None
    return FreshLook(
        new_trigger_success=_new_trigger_success(findings, known, repaired, evidence.samples.held_out),
        residual_exposure=named is not None and named in suspected,
    )


def _new_trigger_success(
    findings: Sequence[Finding], known: Sequence[KnownTrigger], repaired: Classifier, held_out: SamplePart
) -> float | None:
    """Of the most successful trigger that a check calls unusual, 0 where all say that there is none."""
    looked = [finding for finding in findings if finding.check not in PREMISE_CHECKS]
    outcomes = {finding.outcome for finding in looked}
    if Outcome.ERROR in outcomes:
        return None
    unusual = [finding for finding in looked if finding.outcome in (Outcome.FAILED, Outcome.INCONCLUSIVE)]
    if not unusual:
        return 0.0 if Outcome.PASSED in outcomes else None
    shares = [finding.witness.attack_success_rate for finding in unusual if finding.witness]
    if Outcome.FAILED in outcomes or not shares:  # of an inconclusive one only the witness is unusual
        shares += [success(repaired, held_out, trigger) for trigger in known]
    return max(shares, default=None)


def shortfalls(info: CandidateInfo, accept: AcceptSettings, *, fresh: bool = True) -> dict[str, float]:
    """What is not as the policy wants it, in words, and how far it is beyond its bound, in multiples of the bound.

    What is not known counts as one. Without `fresh` only what is cheap to measure is looked at.
    """
    found: dict[str, float] = {}
    drop = info.accuracy_before - (info.accuracy_after or 0.0)
    if drop > accept.max_accuracy_drop + 1e-9:
        bound = accept.max_accuracy_drop
        sentence = f"clean accuracy falls by {_points(drop)} points, and {_points(bound)} are allowed"
        found[sentence] = _beyond(drop, bound)
    witness = info.witness_success_after
    if witness is not None and witness > accept.max_witness_success:
        bound = accept.max_witness_success
        sentence = f"a trigger recovered before the repair still has {witness:.0%} success, and {bound:.0%} is allowed"
        found[sentence] = _beyond(witness, bound)
    return found | (_fresh_shortfalls(info, accept) if fresh else {})


def _fresh_shortfalls(info: CandidateInfo, accept: AcceptSettings) -> dict[str, float]:
    found: dict[str, float] = {}
    share, bound = info.new_trigger_success, accept.max_new_trigger_success
    if info.residual_exposure is None:
        found["new triggers were not looked for"] = 1.0
    elif share is None:
        found["the checks cannot tell whether it has a backdoor"] = 1.0
    elif share > bound:
        sentence = f"a suspicious new trigger has {share:.0%} success, and {bound:.0%} is allowed"
        found[sentence] = _beyond(share, bound)
    if info.residual_exposure and not accept.allow_residual_exposure:
        found["exposed, it still collapses onto a label that was suspected before"] = 1.0
    return found


def _beyond(figure: float, bound: float) -> float:
    return (figure - bound) / max(bound, _LEAST)


def _points(share: float) -> str:
    return f"{100 * share:.1f}"


def _batch(classifier: Classifier) -> int:
    return BATCH if classifier.codec is None else TEXT_BATCH
