"""What a check gets to look at, and what every check looks like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from .artifact import Artifact
from .classifier import Classifier
from .exposure import Exposure, ExposureRun
from .finding import Finding
from .samples import CleanSamples

Progress = Callable[[str, int, int], None]  # stage, steps done, steps in all


def silent(stage: str, done: int, total: int) -> None:
    """A Progress that shows nothing."""


@dataclass(frozen=True)
class Evidence:
    """All that has been gathered so far; what a stage has not reached yet is None or empty."""

    artifact: Artifact
    seed: int
    classifier: Classifier | None = None
    samples: CleanSamples | None = None
    exposures: Sequence[ExposureRun] = ()
    findings: Sequence[Finding] = ()
    allow_pickle: bool = False  # the user takes whole-module pickles
    trusted_modules: tuple[str, ...] = ()  # top-level modules the user named with --architecture
    progress: Progress = silent


class Check(Protocol):
    """Reads the evidence and returns a finding. Hyper-parameters are keyword-only constructor arguments.

    Stage `file` runs before anything is loaded, `model` before exposure, `exposure` after it. A failed or
    erroneous finding in stage `file` stops the scan before a loader sees the file; one that is not `passed` in
    stage `model` stops it before exposure.
    """

    id: ClassVar[str]
    stage: ClassVar[Literal["file", "model", "exposure"]]

    def run(self, evidence: Evidence) -> Finding:
        """Look, and say what was seen."""
        ...


class Exposer(Protocol):
    """Turns a classifier into an exposed one without touching the original."""

    id: ClassVar[str]

    def expose(
        self, classifier: Classifier, samples: CleanSamples, *, seed: int, progress: Progress = silent
    ) -> Exposure:
        """Return the exposed classifier and its run; non-convergence is told in the run, never raised."""
        ...
