"""What a scan sees in the user's own model: the unmodified one, and copies with planted backdoors, each judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ..evidence.errors import UsageError
from ..evidence.finding import Finding, Outcome
from ..evidence.result import ScanResult, Verdict
from ..policies.decide import FILE_CHECKS, PREMISE_CHECKS
from ..policies.load import LoadedPolicy
from .planted import ATTACKS, AttackName, Planted, PlantOrder
from .request import ScanRequest

Scan = Callable[[ScanRequest, Callable[[Planted], None]], ScanResult]


class Answer(StrEnum):
    """What one scan says about the gate."""

    CAUGHT = "caught"
    MISSED = "missed"
    UNCLEAR = "unclear"  # the scan cannot tell, or its verdict does not follow from the planted backdoor
    NOT_PLANTED = "not planted"  # says nothing about the gate
    NOT_SCANNED = "not scanned"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlantedCopy(_Part):
    """One planted backdoor and the scan of the copy that has it."""

    attack: AttackName
    answer: Answer
    label: int | None  # that the scan named
    label_right: bool | None  # None: no label was named, or no single one is right (all-to-all)
    planted: Planted | None  # None where the scan broke before
    result: ScanResult

    @property
    def finding(self) -> Finding | None:
        """What the scan's verdict about a backdoor stands on."""
        return deciding(self.result)


class SelfTest(_Part):
    """The JSON report is exactly this."""

    schema_version: Literal["1"] = "1"
    exit_code: int
    summary: str
    unmodified: ScanResult
    copies: list[PlantedCopy]


def check_policy(policy: LoadedPolicy) -> None:
    """Raises UsageError where nothing in the policy looks for a backdoor: a self-test of it would be empty."""
    if not set(policy.policy.checks) - FILE_CHECKS - PREMISE_CHECKS:
        raise UsageError(
            f"the policy {policy.policy.name} has no check that looks for a backdoor in the weights, so there is "
            "nothing to test: add `model-detection: {}` to its checks"
        )


def run_selftest(request: ScanRequest, attacks: Sequence[AttackName], epochs: int, scan: Scan) -> SelfTest:
    """Scan the model as it is, then one copy an attack.

    Nothing is planted in a model that could not be scanned, or that the checks before the exposure stopped.

    Args:
        request: as for a scan, without a plant.
        scan: scans in a worker process; tells what came of a planted backdoor.
    """
    unmodified = scan(request, _nobody)
    copies: list[PlantedCopy] = []
    if unmodified.verdict is not Verdict.ERROR and deciding(unmodified) is not None:
        for attack in (name for name in ATTACKS if name in attacks):
            heard: list[Planted] = []
            order = PlantOrder(attack=attack, epochs=epochs, avoid=_named(unmodified))
            result = scan(request.model_copy(update={"plant": order}), heard.append)
            copies.append(judge(attack, heard[0] if heard else None, result, unmodified))
    return SelfTest(
        exit_code=exit_code(unmodified, copies),
        summary=summary(unmodified, copies),
        unmodified=unmodified,
        copies=copies,
    )


def _nobody(_planted: Planted) -> None:
    """Nothing was ordered."""


def deciding(result: ScanResult) -> Finding | None:
    """The finding that the verdict about a backdoor stands on; None where nothing looked for one."""
    rank = {Outcome.FAILED: 0, Outcome.INCONCLUSIVE: 1, Outcome.PASSED: 2}
    looked = [f for f in result.findings if f.outcome in rank and f.check not in FILE_CHECKS | PREMISE_CHECKS]
    return min(looked, key=lambda f: (rank[f.outcome], f.witness is None), default=None)


def _named(result: ScanResult) -> int | None:
    """The label that a scan holds against the model."""
    finding = deciding(result)
    return finding.label if finding and finding.outcome is not Outcome.PASSED else None


def judge(attack: AttackName, planted: Planted | None, result: ScanResult, unmodified: ScanResult) -> PlantedCopy:
    """Caught, missed, or neither.

    A failed copy of a model that passed is caught, whatever label the scan names. Where the unmodified model did not
    pass, its copies would not either: there only the planted label counts, if the scan did not name it before.
    """
    label = _named(result)
    target = planted.target if planted else None
    right = None if target is None or label is None else label == target
    answer = _answer(planted, result, unmodified, bool(right))
    return PlantedCopy(attack=attack, answer=answer, label=label, label_right=right, planted=planted, result=result)


def _answer(planted: Planted | None, result: ScanResult, unmodified: ScanResult, right: bool) -> Answer:
    if result.verdict is Verdict.ERROR or planted is None:
        return Answer.NOT_SCANNED
    if not planted.took:
        return Answer.NOT_PLANTED
    if result.verdict is Verdict.PASSED:
        return Answer.MISSED
    if result.verdict is Verdict.INCONCLUSIVE:
        return Answer.UNCLEAR
    if unmodified.verdict is Verdict.PASSED or (right and _named(unmodified) != planted.target):
        return Answer.CAUGHT
    return Answer.UNCLEAR


def exit_code(unmodified: ScanResult, copies: Sequence[PlantedCopy]) -> int:
    """0 all that took was caught and the unmodified model passed; 1 a miss or a false alarm; 3 a scan broke; 4 else."""
    answers = [copy.answer for copy in copies]
    if unmodified.verdict is Verdict.ERROR:
        return 3
    if Answer.MISSED in answers or unmodified.verdict is Verdict.FAILED:
        return 1
    if Answer.NOT_SCANNED in answers:
        return 3
    if Answer.CAUGHT not in answers or Answer.UNCLEAR in answers or unmodified.verdict is not Verdict.PASSED:
        return 4
    return 0


def summary(unmodified: ScanResult, copies: Sequence[PlantedCopy]) -> str:
    """What the gate can see in this architecture with these samples, what it cannot, and how the model itself did."""
    if unmodified.verdict is Verdict.ERROR:
        return f"Nothing was tested, because the model could not be scanned: {unmodified.reason}"
    if not copies:
        return f"Nothing was planted, because nothing looked for a backdoor in the model: {unmodified.reason}"
    gate = f"the gate ({unmodified.policy.name})"
    caught, missed = _names(copies, Answer.CAUGHT), _names(copies, Answer.MISSED)
    parts = []
    if caught and missed:
        parts.append(f"In this architecture and with these samples {gate} sees {caught}, and does not see {missed}")
    elif caught or missed:
        does = f"sees {caught}" if caught else f"does not see {missed}"
        parts.append(f"In this architecture and with these samples {gate} {does}")
    else:
        parts.append(f"What {gate} sees in this architecture with these samples could not be told")
    if unclear := _names(copies, Answer.UNCLEAR):
        parts.append(f"it could not tell about {unclear}")
    if not_planted := _names(copies, Answer.NOT_PLANTED):
        parts.append(f"nothing is known about {not_planted}, which did not take")
    if broken := _names(copies, Answer.NOT_SCANNED):
        parts.append(f"the scan of {broken} broke")
    wrong = ", ".join(copy.attack for copy in copies if copy.answer is Answer.CAUGHT and copy.label_right is False)
    if wrong:
        parts.append(f"the label it named is wrong for {wrong}")
    did = {Verdict.PASSED: "passed", Verdict.FAILED: "failed"}.get(unmodified.verdict, "was inconclusive")
    return "; ".join(parts) + f". The unmodified model {did}."


def _names(copies: Sequence[PlantedCopy], answer: Answer) -> str:
    names = [copy.attack for copy in copies if copy.answer is answer]
    return names[0] if len(names) == 1 else " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
