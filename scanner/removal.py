"""Removal from outside: scan with an order to repair, scan what was written, and only then give it its name. No torch.

What the worker says about its own repair is not the last word: a scan of its own, with another seed, judges the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..evidence.artifact import Artifact
from ..evidence.errors import ScanError, UsageError
from ..evidence.finding import Finding, Outcome
from ..evidence.provenance import Provenance, RepairFigures, SourceModel, repaired_of
from ..evidence.removal import CandidateInfo, FreshScan, RemovalInfo, RepairedFile
from ..evidence.result import ScanResult, Verdict
from ..policies.decide import FILE_CHECKS, PREMISE_CHECKS, decide
from ..policies.load import LoadedPolicy
from ..policies.model import AUTO
from ..policies.plugins import REMOVERS, plugin_names, suggest
from .models.identify import identify
from .models.repaired.copy import copy_model
from .models.repaired.out import OPTION, check_out, provenance_path
from .models.repaired.publish import publish, save_provenance, staged
from .models.repaired.write import check_writable_format
from .removal_order import RemovalOrder, Repaired
from .request import ScanRequest
from .selftest import deciding

OnRepair = Callable[[list[CandidateInfo], Repaired | None], None]
Scan = Callable[[ScanRequest, OnRepair | None], ScanResult]
CHECK = "removal"  # of the finding that says that an order was not carried out
LAST_SEED = 2**31 // 1000 - 1
_SEEDS_ON = 2  # the next seed is that of the fresh look by which a candidate was chosen


@dataclass(frozen=True)
class Removal:
    """Where the repaired model goes, and how it is ordered."""

    out: Path
    force: bool = False  # also where the model passed
    method: str | None = None  # instead of the policy's
    option: str = OPTION  # that names `out` on the command line


def with_method(loaded: LoadedPolicy, removal: Removal) -> LoadedPolicy:
    """The policy with the method that the command line names; it changes no threshold, so its digest stays.

    Raises:
        UsageError: there is no such remover, or the policy has nothing that could find a backdoor.
    """
    from dataclasses import replace

    if not set(loaded.policy.checks) - FILE_CHECKS - PREMISE_CHECKS:
        raise UsageError(
            f"the policy {loaded.policy.name} has no check that looks for a backdoor in the weights, so there is "
            "nothing to remove by: add `model-detection: {}` to its checks"
        )
    if removal.method is None:
        return loaded
    valid = [AUTO, *plugin_names(REMOVERS)]
    if removal.method not in valid:
        raise UsageError(f"--method {removal.method}: there is no such remover; {suggest(removal.method, valid)}")
    settings = loaded.policy.removal.model_copy(update={"method": removal.method})
    return replace(loaded, policy=loaded.policy.model_copy(update={"removal": settings}))


def check_removal(request: ScanRequest, removal: Removal, inputs: Sequence[Path]) -> None:
    """See that the repaired model can be written, before any work is done.

    Raises:
        UsageError: OUT is there, is or holds an input, has the wrong suffix, or the model's format cannot be written.
    """
    try:
        artifact = identify(request.model, request.base_model)
    except UsageError:
        raise
    except ScanError:  # the scan tells that
        artifact = None
    try:
        check_out(removal.out, inputs, artifact)
    except UsageError as problem:
        raise UsageError(str(problem).replace(OPTION, removal.option, 1)) from None
    if artifact is None or artifact.format == "unknown":
        return
    if shared := [
        name for name in artifact.files if artifact.format == "onnx" and (removal.out.parent / name).exists()
    ]:
        raise UsageError(
            f"{removal.option} {removal.out}: {shared[0]}, which {request.model} keeps weights in, lies "
            "beside it already: name another folder"
        )
    try:
        check_writable_format(artifact)
    except ScanError as problem:
        raise UsageError(f"no repaired model can be written: {problem}") from None


def remove(request: ScanRequest, policy: LoadedPolicy, removal: Removal, scan: Scan) -> ScanResult:
    """Scan, repair, scan what was written, publish; the result is the first scan's with what came of it.

    Args:
        scan: scans in a worker process and tells what came of the repair. It gives an error once it was told to stop.

    Raises:
        ScanError: there is no room beside OUT; nothing was scanned.
    """
    with staged(removal.out) as staging:
        order = RemovalOrder(staging=staging, force=removal.force)
        run = _Run(request.model_copy(update={"removal": order}), policy, removal, staging)
        result = scan(run.request, run.hear)
        try:
            info = run.answer(result, scan)
        except ScanError as problem:
            info = run.info("error", str(problem))
    if run.seconds is not None:
        total = round(result.timings.get("total", 0.0) + run.seconds, 3)
        timings = {**result.timings, "scan of what was written": run.seconds, "total": total}
        result = result.model_copy(update={"timings": timings})
    return with_verdict(result, info, policy)


class _Run:
    """One removal: what the worker said, and what is made of it."""

    def __init__(self, request: ScanRequest, policy: LoadedPolicy, removal: Removal, staging: Path) -> None:
        self.request, self.policy, self.removal, self.staging = request, policy, removal, staging
        self.candidates: list[CandidateInfo] = []
        self.said: Repaired | None = None
        self.seconds: float | None = None  # of the scan of what was written

    def hear(self, candidates: list[CandidateInfo], said: Repaired | None) -> None:
        self.candidates, self.said = candidates, said

    def info(self, outcome: str, reason: str, **more: object) -> RemovalInfo:
        settings = self.policy.policy.removal
        told = {
            "outcome": outcome,
            "reason": self._named(reason),
            "verdict_of": settings.verdict_of,
            "candidates": self.candidates,
        }
        return RemovalInfo.model_validate(told | more)

    def answer(self, result: ScanResult, scan: Scan) -> RemovalInfo:
        """What came of it; all that is wrong with it is an answer or a ScanError."""
        said = self.said
        if said is None or result.verdict is Verdict.ERROR:
            broke = [one.message for one in result.findings if one.check == "scan" and one.outcome is Outcome.ERROR]
            return self.info("error", (broke or [f"The repair was not reached. {result.reason}"])[0])
        if said.outcome == "error":
            return self.info("error", said.reason)
        if said.outcome == "nothing-to-remove":
            if result.verdict is not Verdict.PASSED or self.removal.force:
                raise ScanError("the worker process left alone what it was to repair; its answer is not trusted")
            return self._copied(result, said)
        chosen = next((one for one in self.candidates if one.method == said.method and one.applied), None)
        if chosen is None or chosen.accuracy_after is None or chosen.accepted != (said.outcome == "removed"):
            raise ScanError("the worker process wrote what it did not tell of; its answer is not trusted")
        return self._verified(result, said, chosen, scan)

    def _copied(self, result: ScanResult, said: Repaired) -> RemovalInfo:
        """A clean model is left as it is."""
        artifact = identify(self.request.model, self.request.base_model)
        if (artifact.sha256, artifact.files) != (result.model.sha256, result.model.files or {}):
            raise ScanError(f"{artifact.path} is not what was scanned, so it was not copied")
        copied, notes = copy_model(artifact, self.staging, self.removal.out)
        reason = f"There is nothing to remove: the model passed, and what was written is a copy of it. {said.reason}"
        figures = RepairFigures(
            accuracy_before=said.accuracy, accuracy_after=said.accuracy, accepted=True, why="The model passed."
        )
        output = self._published(result, copied, "none", reason, figures, notes)
        return self.info("nothing-to-remove", reason, output=output)

    def _verified(self, result: ScanResult, said: Repaired, chosen: CandidateInfo, scan: Scan) -> RemovalInfo:
        seed = (self.request.seed + _SEEDS_ON) % (LAST_SEED + 1)
        again = {"model": self.staging, "removal": None, "seed": seed, "keep_witness": False}
        scanned = scan(self.request.model_copy(update=again), None)
        fresh = self._fresh(scanned)
        self.seconds = scanned.timings.get("total", 0.0)
        if fresh.verdict is Verdict.ERROR:
            return self.info("error", f"What was written could not be scanned, so it was not kept: {fresh.reason}")
        written = identify(self.staging)
        if (written.sha256, written.files) != (scanned.model.sha256, scanned.model.files or {}):
            raise ScanError("what was written has changed since it was scanned, so it was not kept")
        changed = said.tensors_changed > 0 and written.sha256 != result.model.sha256
        accepted = chosen.accepted and fresh.verdict is Verdict.PASSED and changed
        why = chosen.why
        if not changed:
            why = "What was written has the weights that the model had."
        elif chosen.accepted and not accepted:
            why = f"A scan of what was written is {fresh.verdict.value}: {fresh.reason}"
        figures = RepairFigures(
            accuracy_before=chosen.accuracy_before,
            accuracy_after=chosen.accuracy_after or 0.0,
            witness_success_before=chosen.witness_success_before,
            witness_success_after=chosen.witness_success_after,
            accepted=accepted,
            why=why,
        )
        notes = [*said.notes, f"A scan of this model with seed {fresh.seed} is {fresh.verdict.value}: {fresh.reason}"]
        output = self._published(result, written, chosen.method, chosen.reason, figures, notes, said)
        outcome = "removed" if accepted else "not-accepted"
        return self.info(outcome, why, method=chosen.method, fresh=fresh, output=output)

    def _fresh(self, scanned: ScanResult) -> FreshScan:
        finding = deciding(scanned)
        return FreshScan(
            seed=scanned.seed,
            verdict=scanned.verdict,
            reason=self._named(scanned.reason),
            score=finding.score if finding else None,
            label=finding.label if finding else None,
            findings=[self._of_out(one) for one in scanned.findings],
        )

    def _of_out(self, finding: Finding) -> Finding:
        """The finding about the model as it will be called; no file shows its witness, whatever the worker said."""
        witness = finding.witness.model_copy(update={"files": []}) if finding.witness else None
        return finding.model_copy(update={"message": self._named(finding.message)[:4000], "witness": witness})

    def _named(self, text: str) -> str:
        """With the name that the staged model will have."""
        return text.replace(str(self.staging), str(self.removal.out))

    def _published(
        self,
        result: ScanResult,
        written: Artifact,
        method: str,
        reason: str,
        figures: RepairFigures,
        notes: list[str],
        said: Repaired | None = None,
    ) -> RepairedFile:
        provenance = Provenance(
            tool=result.tool,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            before=_source(result),
            after=repaired_of(written),
            method=method,
            reason=reason,
            policy=result.policy,
            seed=result.seed,
            samples_sha256=result.samples.sha256 or "",
            figures=figures,
            tensors_changed=said.tensors_changed if said else 0,
            tensors_total=said.tensors_total if said else 0,
            notes=notes,
        )
        save_provenance(self.staging, provenance)
        publish(self.staging, self.removal.out)
        return RepairedFile(
            path=str(self.removal.out),
            sha256=written.sha256,
            files=written.files or None,
            provenance=str(provenance_path(self.removal.out)),
        )


def _source(result: ScanResult) -> SourceModel:
    model = result.model
    return SourceModel(
        path=model.path, sha256=model.sha256 or "", format=model.format or "unknown", files=model.files or {}
    )


def with_verdict(result: ScanResult, info: RemovalInfo, policy: LoadedPolicy) -> ScanResult:
    """The result with what came of the removal, and with the verdict that the policy wants then.

    A repair never makes a pass of a failed verdict, unless the policy says that the verdict is the repaired model's.
    """
    info = info.model_copy(update={"verdict_before": result.verdict})
    result = result.model_copy(update={"removal": info})
    if info.decides and info.fresh:
        return result.model_copy(update={"verdict": info.fresh.verdict, "reason": info.fresh.reason})
    outcome = None
    if info.verdict_of == "repaired" and info.outcome in ("not-accepted", "error"):
        outcome = Outcome.FAILED
    elif info.outcome == "error" and result.verdict is Verdict.PASSED:  # what was ordered is not there
        outcome = Outcome.ERROR
    if outcome is None or result.verdict is Verdict.ERROR:
        return result
    findings = [*result.findings, Finding(check=CHECK, outcome=outcome, message=info.reason[:4000])]
    verdict, reason = decide(policy.policy, findings)
    return result.model_copy(update={"findings": findings, "verdict": verdict, "reason": reason})
