"""The exposed model and how it got there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

if TYPE_CHECKING:
    from .classifier import Classifier


class TrajectoryStep(BaseModel):
    """One look at the model while it is being exposed; step 0 is the original."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    accuracy: FiniteFloat = Field(ge=0, le=1)  # on the samples looked at
    histogram: list[int]  # predictions a class, length C


class ExposureRun(BaseModel):
    """One seeded run of an exposer, without the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    seed: int
    applicable: bool = True  # False where the method cannot work on this model; the reason says why
    converged: bool
    reason: str  # why it stopped, in words
    trajectory: list[TrajectoryStep]
    before: TrajectoryStep  # the original model on all exposure samples
    after: TrajectoryStep | None = None  # the exposed model on the same; None where it broke (NaN)
    seconds: FiniteFloat = 0.0


@dataclass(frozen=True)
class Exposure:
    """The exposed classifier together with its run."""

    classifier: Classifier
    run: ExposureRun
