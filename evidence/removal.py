"""What came of a repair that was ordered: each remover's figures, the scan of what was written, where it is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from .finding import Finding
from .verdict import Verdict

MAX_CANDIDATES = 50
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
RemovalOutcome = Literal["removed", "not-accepted", "nothing-to-remove", "error"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CandidateInfo(_Part):
    """One remover and its repaired model, measured on held-out samples; None where that was not looked at."""

    method: str = Field(max_length=200)
    applied: bool  # False where it could do nothing with this model, or broke
    reason: str = Field(max_length=2000)  # what it did, in its own words
    accuracy_before: Share
    accuracy_after: Share | None = None
    triggers: int = Field(default=0, ge=0)  # known before the repair, replayed before and after
    witness_success_before: Share | None = None  # of the most successful one; None where none is known
    witness_success_after: Share | None = None
    new_trigger_success: Share | None = None  # of suspicious ones recovered afresh; 0 where none is
    residual_exposure: bool | None = None  # whether, exposed, it collapses onto a label suspected before
    accepted: bool = False
    why: str = Field(default="", max_length=2000)  # it was accepted or not
    seconds: FiniteFloat = 0.0


class FreshScan(_Part):
    """The scan of the file that was written, with another seed."""

    seed: int
    verdict: Verdict
    reason: str
    score: FiniteFloat | None = None  # of the check that looked for a backdoor
    label: int | None = None
    findings: list[Finding] = Field(default_factory=list)


class RepairedFile(_Part):
    """What was written."""

    path: str
    sha256: str
    files: dict[str, str] | None = None  # as in the model's description
    provenance: str  # path


class RemovalInfo(_Part):
    """The answer to an order to remove."""

    outcome: RemovalOutcome
    reason: str  # one sentence
    verdict_of: Literal["original", "repaired"] = "original"  # what the policy wants the verdict to be about
    verdict_before: Verdict | None = None  # of the original
    method: str | None = None  # of the repaired model that was written
    candidates: list[CandidateInfo] = Field(default_factory=list, max_length=MAX_CANDIDATES)
    fresh: FreshScan | None = None
    output: RepairedFile | None = None  # None where nothing was written

    @property
    def decides(self) -> bool:
        """Whether the verdict is the repaired model's."""
        return self.verdict_of == "repaired" and self.outcome == "removed"

    @property
    def chosen(self) -> CandidateInfo | None:
        """The candidate whose model was written."""
        return next((one for one in self.candidates if one.applied and one.method == self.method), None)
