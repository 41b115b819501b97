"""What a check gets to look at, and what every check looks like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from .artifact import Artifact
from .classifier import Classifier
from .exposure import Exposure, ExposureRun
from .finding import Finding
from .recovered import RecoveredTrigger, RecoveredWords
from .samples import CleanSamples

if TYPE_CHECKING:
    from .repair import KnownTrigger

Progress = Callable[[str, int, int], None]  # stage, steps done, steps in all
Keep = Callable[[RecoveredTrigger], None]
KeepWords = Callable[[RecoveredWords], None]
KeepKnown = Callable[["KnownTrigger"], None]


def silent(stage: str, done: int, total: int) -> None:
    """A Progress that shows nothing."""


def forget(recovered: RecoveredTrigger | RecoveredWords | KnownTrigger) -> None:
    """A Keep, KeepWords or KeepKnown that keeps nothing."""


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
    keep: Keep = forget  # gets every trigger that a finding reports as its witness
    keep_words: KeepWords = forget  # the same of text classifiers
    keep_known: KeepKnown = forget  # gets the triggers that a repair has to undo, the most suspicious first
    reference: Classifier | None = None  # a release that was approved before, loaded as the classifier was
    reference_artifact: Artifact | None = None
    reference_exposures: Sequence[ExposureRun] = ()  # with the same exposer and seeds as `exposures`

    @property
    def is_reference(self) -> bool:
        """Whether the model is its own reference: the same file, or the same tensors in the same architecture."""
        mine, other = self.artifact, self.reference_artifact
        if other is None:
            return False
        # Graphs that other software may have written keep numbers outside of their tensors, config.json does too.
        graphs = {"torchscript", "torch-export", "onnx", "huggingface"} & {mine.format, other.format}
        same = mine.sha256 == other.sha256 and mine.files == other.files
        if same or graphs or self.classifier is None or self.reference is None:
            return same
        return self.classifier.same_tensors(self.reference)


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
