"""A scan in parts, the cheap ones first: what each part does, and what it is told of those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..evidence.context import Check
from ..evidence.errors import ScanError
from ..evidence.exposure import ExposureRun
from ..evidence.finding import Finding

Tier = Literal["static", "exposure", "search"]
TIERS: Final[tuple[Tier, ...]] = ("static", "exposure", "search")
"""The file alone; loading, trying and exposing the model; the search for triggers."""

_OF_STAGE: Final[dict[str, Tier]] = {"file": "static", "model": "exposure", "exposure": "search"}


class Part(BaseModel):
    """The part of a scan that is to be done now, with all that the parts before it have found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tier: Tier
    sha256: str | None = None  # that the file must still have, and those beside or in it; None: not known yet
    files: dict[str, str] = Field(default_factory=dict)
    findings: list[Finding] = Field(default_factory=list)  # these checks are not run again
    exposures: list[ExposureRun] = Field(default_factory=list)  # nor these seeds


class FileChanged(ScanError):
    """The model is another one than the earlier parts of its scan have seen."""


def tier_of(check: Check) -> Tier:
    """The tier that a check belongs to: what it says itself (`tier`), else that of its stage."""
    tier: Tier = getattr(check, "tier", _OF_STAGE[check.stage])
    return tier


def last_tier(checks: Sequence[Check]) -> Tier:
    """After which nothing is left to be done for these checks."""
    return TIERS[max((TIERS.index(tier_of(check)) for check in checks), default=0)]


def is_due(check: Check, part: Part | None) -> bool:
    """Whether the check belongs to this part or to one before it; without parts every check does."""
    return part is None or TIERS.index(tier_of(check)) <= TIERS.index(part.tier)
