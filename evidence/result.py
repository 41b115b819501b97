"""The whole answer about one model; every report is a function of this."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from .exposure import ExposureRun
from .finding import Finding
from .removal import RemovalInfo
from .verdict import Verdict as Verdict

SCHEMA_VERSION: Literal["1"] = "1"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ToolInfo(_Part):
    name: Literal["ebyd-scan"] = "ebyd-scan"
    version: str


class ModelInfo(_Part):
    path: str
    sha256: str | None = None  # None where the file could not be read
    format: str | None = None
    files: dict[str, str] | None = None  # of a folder, or beside an ONNX file: name -> SHA-256
    architecture: str | None = None


class SamplesInfo(_Part):
    path: str
    sha256: str | None = None
    count: int | None = None
    classes: int | None = None


class PolicyInfo(_Part):
    name: str
    sha256: str


class ExposureInfo(_Part):
    method: str
    runs: list[ExposureRun]  # one a seed, each with its trajectory


class ScanResult(_Part):
    """The JSON report is exactly this, field by field."""

    schema_version: Literal["1"] = SCHEMA_VERSION
    tool: ToolInfo
    model: ModelInfo
    samples: SamplesInfo
    policy: PolicyInfo
    seed: int
    started: str  # ISO 8601, UTC
    verdict: Verdict
    reason: str  # one sentence: why this verdict
    findings: list[Finding]
    exposure: ExposureInfo | None = None
    removal: RemovalInfo | None = None  # where a repair was ordered; what else is here is about the original
    timings: dict[str, FiniteFloat] = Field(default_factory=dict)  # seconds a stage, and "total"
    environment: dict[str, str] = Field(default_factory=dict)  # python, torch, device, platform

    @property
    def judged(self) -> ScanResult:
        """The same about the model that the verdict is about: the repaired one, where the policy says so."""
        removal = self.removal
        if not removal or not removal.decides or not removal.output or not removal.fresh:
            return self
        output, fresh = removal.output, removal.fresh
        model = self.model.model_copy(update={"path": output.path, "sha256": output.sha256, "files": output.files})
        return self.model_copy(
            update={"model": model, "findings": fresh.findings, "seed": fresh.seed, "exposure": None}
        )
