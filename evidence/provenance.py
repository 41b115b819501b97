"""Where a repaired model comes from: the file that lies beside it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from .artifact import Artifact
from .result import PolicyInfo, ToolInfo

PROVENANCE_VERSION: Literal["1"] = "1"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceModel(_Part):
    """The model that was repaired, with the digests that reports have."""

    path: str
    sha256: str
    format: str
    files: dict[str, str] = Field(default_factory=dict)  # name -> SHA-256, as in `Artifact`


class RepairedModel(_Part):
    """What was written; without a path, since it is moved about together with its provenance."""

    sha256: str
    files: dict[str, str] = Field(default_factory=dict)


class RepairFigures(_Part):
    """What was measured on held-out samples, and what came of it."""

    accuracy_before: FiniteFloat = Field(ge=0, le=1)
    accuracy_after: FiniteFloat = Field(ge=0, le=1)
    witness_success_before: FiniteFloat | None = Field(default=None, ge=0, le=1)  # None where no trigger is known
    witness_success_after: FiniteFloat | None = Field(default=None, ge=0, le=1)
    accepted: bool
    why: str  # it was accepted or not, in a sentence


class Provenance(_Part):
    """`OUT.provenance.json` beside a file, `ebyd-scan-provenance.json` in a folder, is exactly this."""

    schema_version: Literal["1"] = PROVENANCE_VERSION
    tool: ToolInfo
    created: str  # ISO 8601, UTC
    before: SourceModel
    after: RepairedModel
    method: str
    reason: str  # what the method did, in its own words
    policy: PolicyInfo
    seed: int
    samples_sha256: str
    figures: RepairFigures
    tensors_changed: int = Field(ge=0)  # of those that the file stores
    tensors_total: int = Field(ge=0)
    notes: list[str] = Field(default_factory=list)  # what was dropped, kept, rounded; a sentence each


def source_of(artifact: Artifact) -> SourceModel:
    """The model as it was identified."""
    return SourceModel(
        path=str(artifact.path), sha256=artifact.sha256, format=artifact.format, files=dict(artifact.files)
    )


def repaired_of(artifact: Artifact) -> RepairedModel:
    """The same of the written one: `identify` of where it was staged, since digests do not depend on the place."""
    return RepairedModel(sha256=artifact.sha256, files=dict(artifact.files))
