"""An order to remove a backdoor, and what the worker says came of it. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ..evidence.removal import RemovalOutcome, Share


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RemovalOrder(_Part):
    """Where the worker puts the repaired model, and whether a model that passed is repaired too."""

    staging: Path
    force: bool = False


class Repaired(_Part):
    """The last word about an order; the candidates have been told before."""

    outcome: RemovalOutcome
    reason: str = Field(max_length=4000)
    method: str | None = Field(default=None, max_length=200)  # of the candidate that was written
    accuracy: Share  # of the original, on held-out samples
    tensors_changed: int = Field(default=0, ge=0)
    tensors_total: int = Field(default=0, ge=0)
    notes: list[Annotated[str, Field(max_length=4000)]] = Field(default_factory=list, max_length=200)
