"""What an audit of many models says; every report of one is a function of this."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .result import ScanResult, ToolInfo
from .verdict import Verdict

# Worst first: a model that failed is told before one that could not be scanned, which is told before one that may pass.
WORST_FIRST = (Verdict.FAILED, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASSED)
SCHEMA_VERSION: Literal["1"] = "1"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AuditedModel(_Part):
    """One model of an audit and the whole answer about it."""

    name: str  # once in the audit; a person's name for it, not safe in a path or a page
    result: ScanResult  # without its trajectories where the audit is large: `exposure` is then None
    source: Literal["scanned", "store"] = "scanned"  # now, or answered from an earlier run
    on_inconclusive: Literal["inconclusive", "fail", "pass"] = "inconclusive"  # what its policy says
    page: str | None = None  # of its own HTML report, relative to the index, with `/`; None where none was written


class LeftOut(_Part):
    """What lay there and is not among the audit's models, so that nobody takes it for looked at."""

    path: str
    reason: str  # a clause: "no model file by its name and first bytes"


class Audit(_Part):
    """The whole answer about many models, in the order of the plan."""

    schema_version: Literal["1"] = SCHEMA_VERSION
    tool: ToolInfo
    number: int  # in its store, from 1
    source: str  # the manifest or folder
    started: str  # ISO 8601, UTC
    ended: str | None = None  # None: it was stopped before its end
    seconds: float  # of this run; the models' own are in their results
    verdict: Verdict  # the worst of all; no model at all is an error
    exit_code: int
    models: list[AuditedModel]
    left_out: list[LeftOut] = Field(default_factory=list)

    @property
    def counts(self) -> dict[Verdict, int]:
        """Models by verdict, worst first."""
        return {verdict: sum(model.result.verdict is verdict for model in self.models) for verdict in WORST_FIRST}


def worst(verdicts: set[Verdict]) -> Verdict:
    """The verdict of an audit. Nothing scanned is never a pass."""
    return next((verdict for verdict in WORST_FIRST if verdict in verdicts), Verdict.ERROR)
