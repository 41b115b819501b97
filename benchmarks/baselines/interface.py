"""What every baseline detector looks like: one model in, one score and the paper's own decision out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from ...evidence.classifier import Classifier
from ...evidence.samples import CleanSamples


@dataclass(frozen=True)
class Detection:
    """What a baseline says about one model.

    `score` is finite, continuous and higher where the model is more suspicious: for ROC curves over models.
    `detected` is the paper's own rule at its own threshold. `label` is the most suspicious label, also where the
    rule does not fire, and None where the method has no answer; `note` then says why. `seconds` is wall time.
    """

    method: str
    score: float
    detected: bool
    label: int | None
    seconds: float
    note: str = ""


class Detector(Protocol):
    """A detector; hyper-parameters are keyword-only constructor arguments with the paper's or our shipped values."""

    id: ClassVar[str]

    def detect(self, classifier: Classifier, samples: CleanSamples, *, seed: int) -> Detection:
        """Look at `classifier`, which is in eval mode and is left as it was. The same seed says the same."""
        ...
