"""Repair of a loaded model: removers in order, each judged on samples that it did not see; the first good one is kept.

Nothing here writes a file. `evidence` is that of a scan with its classifier, samples and findings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..evidence.context import Evidence, Progress
from ..evidence.errors import ScanError
from ..evidence.finding import Finding, Outcome
from ..evidence.removal import CandidateInfo
from ..evidence.repair import Known, KnownTrigger
from ..policies.model import Policy
from ..policies.plugins import build_remover
from .repair_figures import accuracy, highest_success, look_afresh, shortfalls

if TYPE_CHECKING:
    from ..evidence.classifier import Classifier
    from ..evidence.repair import Repair

OnCandidate = Callable[[CandidateInfo], None]


@dataclass(frozen=True)
class RepairOutcome:
    """What the removers made of a model."""

    repaired: Classifier | None  # None where no remover could do anything
    candidates: list[CandidateInfo]
    chosen: int | None  # index into `candidates`
    accepted: bool  # whether it is as good as the policy wants


def repair(
    policy: Policy,
    evidence: Evidence,
    findings_before: Sequence[Finding],
    triggers: Sequence[KnownTrigger],
    exposed: Sequence[Classifier],
    *,
    seed: int,
    on_candidate: OnCandidate | None = None,
) -> RepairOutcome:
    """Run the policy's removers until one is accepted; else keep the one that misses its bounds by least.

    Args:
        findings_before: of the scan of the original model.
        triggers: recovered on it, the most suspicious first.
        exposed: its exposed models.
        seed: of the removers; the fresh look at what they give has the next one.
        on_candidate: gets each remover's figures, once it has been judged.
    """
    known = Known(tuple(triggers), suspected_labels(findings_before, triggers), tuple(exposed))
    judge = _Judge(policy, evidence, known, seed)
    candidates: list[CandidateInfo] = []
    best: tuple[float, int, Classifier] | None = None
    for number, name in enumerate(names := policy.removal.tried, 1):
        info, repaired = judge.candidate(name, f"repair {number} of {len(names)}, {name}")
        candidates.append(info)
        if on_candidate:
            on_candidate(info)
        if repaired is None:
            continue
        beyond = sum(shortfalls(info, policy.removal.accept).values())
        if info.accepted or best is None or beyond < best[0]:
            best = beyond, len(candidates) - 1, repaired
        if info.accepted:
            break
    if best is None:
        return RepairOutcome(None, candidates, None, accepted=False)
    _, chosen, repaired = best
    return RepairOutcome(repaired, candidates, chosen, candidates[chosen].accepted)


def suspected_labels(findings: Sequence[Finding], triggers: Sequence[KnownTrigger] = ()) -> tuple[int, ...]:
    """The labels that findings hold against a model, and those of its triggers where one failed it."""
    told = [one for one in findings if one.outcome in (Outcome.FAILED, Outcome.INCONCLUSIVE)]
    labels = [one.label for one in told if one.label is not None]
    for one in told:
        labels += [int(word) for word in str(one.metrics.get("suspect_labels", "")).split() if word.isdecimal()]
    if any(one.outcome is Outcome.FAILED for one in told):
        labels += [trigger.label for trigger in triggers if trigger.label >= 0]
    return tuple(dict.fromkeys(labels))


class _Judge:
    """Runs one remover at a time and measures what it gives."""

    def __init__(self, policy: Policy, evidence: Evidence, known: Known, seed: int) -> None:
        assert evidence.classifier is not None and evidence.samples is not None
        self.policy, self.evidence, self.known, self.seed = policy, evidence, known, seed
        self.original, self.samples = evidence.classifier, evidence.samples
        held_out = self.samples.held_out
        self.accuracy_before = accuracy(self.original, held_out)
        self.witness_before = highest_success(self.original, held_out, known.triggers)

    def candidate(self, name: str, stage: str) -> tuple[CandidateInfo, Classifier | None]:
        """The remover's figures and the repaired model; None where it did nothing."""
        started = time.perf_counter()
        info = CandidateInfo(
            method=name[:200],
            applied=False,
            reason="",
            accuracy_before=self.accuracy_before,
            triggers=len(self.known.triggers),
            witness_success_before=self.witness_before,
        )

        def show(step: str, done: int, total: int) -> None:
            self.evidence.progress(f"{stage}: {step}"[:200], done, total)

        try:
            made = self._run(name, show)
            info = info.model_copy(update={"reason": made.run.reason, "applied": made.run.applied})
            info = self._measured(info, made.classifier, show) if info.applied else info
        except MemoryError:
            raise
        except Exception as problem:  # a remover's bug, or its lack of memory on a GPU, costs its own figures only
            if not isinstance(problem, ScanError):
                import traceback

                traceback.print_exc()
            told = str(problem) if isinstance(problem, ScanError) else f"{type(problem).__name__}: {problem}"
            info, made = info.model_copy(update={"applied": False, "reason": f"it broke: {told}"[:2000]}), None
        if not info.applied:
            info = info.model_copy(update={"why": f"It did nothing: {info.reason}"[:2000]})
        info = info.model_copy(update={"seconds": time.perf_counter() - started})
        return info, made.classifier if made and info.applied else None

    def _run(self, name: str, show: Progress) -> Repair:
        remover = build_remover(name, self.policy.removal.options.get(name, {}))
        return remover.remove(self.original, self.samples, self.known, seed=self.seed, progress=show)

    def _measured(self, info: CandidateInfo, repaired: Classifier, show: Progress) -> CandidateInfo:
        """With all figures; new triggers are looked for only where the rest is good, since that takes longest."""
        accept = self.policy.removal.accept
        info = info.model_copy(
            update={
                "accuracy_after": accuracy(repaired, self.samples.held_out),
                "witness_success_after": highest_success(repaired, self.samples.held_out, self.known.triggers),
            }
        )
        if not shortfalls(info, accept, fresh=False):
            fresh = look_afresh(
                self.policy, self.evidence, repaired, self.known.labels, seed=self.seed + 1, progress=show
            )
            info = info.model_copy(
                update={
                    "new_trigger_success": fresh.new_trigger_success,
                    "residual_exposure": fresh.residual_exposure,
                }
            )
        missed = list(shortfalls(info, accept))
        why = "; ".join(missed) if missed else "all that the policy wants is met"
        return info.model_copy(update={"accepted": not missed, "why": f"{why[0].upper()}{why[1:]}."[:2000]})
