"""A repaired model, and what a remover is given to repair it with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from .context import Progress, silent

if TYPE_CHECKING:
    from .classifier import Classifier
    from .samples import CleanSamples


class RepairRun(BaseModel):
    """One seeded run of a remover, without the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    seed: int
    applied: bool  # False where the method cannot work on this model or broke; the weights are the original's then
    reason: str = Field(max_length=1000)  # what was done, or why nothing was, in words
    metrics: dict[str, FiniteFloat | int | str] = Field(default_factory=dict)
    seconds: FiniteFloat = 0.0


@dataclass(frozen=True)
class Repair:
    """The repaired classifier together with its run."""

    classifier: Classifier
    run: RepairRun


@dataclass(frozen=True)
class KnownTrigger:
    """A trigger that a check recovered on the original model.

    `apply` puts it on inputs of the classifier's kind: pixels [N, channels, H, W] in 0..1, or texts (`Tokens`).
    """

    family: str
    label: int  # that it leads to; `checks.trigger_inversion.NEXT` where it leads each class to the next
    apply: Callable[[Any], Any]


@dataclass(frozen=True)
class Known:
    """What is known of the backdoor; all of it may be empty."""

    triggers: Sequence[KnownTrigger] = ()  # the most suspicious first
    labels: tuple[int, ...] = ()  # suspected targets
    exposed: Sequence[Classifier] = ()  # the exposed models, one a seed


class Remover(Protocol):
    """Turns a classifier into a repaired one without touching the original."""

    id: ClassVar[str]

    def remove(
        self, classifier: Classifier, samples: CleanSamples, known: Known, *, seed: int, progress: Progress = silent
    ) -> Repair:
        """Return the repaired classifier and its run. Only the exposure part of `samples` is for removers.

        A method that does not apply says so in the run; it never raises for that.
        """
        ...
