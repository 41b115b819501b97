"""Neural Cleanse (Wang et al., IEEE S&P 2019): invert a patch for every label, look for one that is too small.

Differs from the paper in the search, which is the scanner's own with its shipped settings, so that the two can be
compared step for step: fewer steps, a success of 0.9 instead of 0.99, and no samples of the label itself. Its arguments
take more steps and larger batches.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import ClassVar

from ...checks.trigger_inversion import invert_labels
from ...evidence.classifier import Classifier
from ...evidence.samples import CleanSamples
from .interface import Detection

MAD_TO_SIGMA = 1.4826  # makes the median absolute deviation estimate a normal distribution's standard deviation


def anomaly_indices(sizes: Sequence[float]) -> list[float]:
    """How many robust standard deviations each size lies below the median (sec. IV-C); negative above it.

    The paper's index is the absolute value; only the small side counts there too.
    """
    median = statistics.median(sizes)
    sigma = MAD_TO_SIGMA * statistics.median(abs(size - median) for size in sizes)
    return [(median - size) / max(sigma, 1e-9) for size in sizes]


class NeuralCleanse:
    """Detects where the smallest trigger's anomaly index is above `threshold`; names that trigger's label."""

    id: ClassVar[str] = "neural-cleanse"

    def __init__(self, *, steps: int = 150, batch_size: int = 16, success: float = 0.9, threshold: float = 2.0) -> None:
        self.steps = steps
        self.batch_size = batch_size
        self.success = success
        self.threshold = threshold

    def detect(self, classifier: Classifier, samples: CleanSamples, *, seed: int) -> Detection:
        """Invert with the exposure part of `samples`; the score is the anomaly index of the smallest trigger.

        A label that the search did not reach counts in the median with the size it gave up at, but is not suspect.
        """
        started = time.perf_counter()
        triggers = invert_labels(
            classifier,
            samples.exposure,
            range(classifier.num_classes),
            family="patch",
            steps=self.steps,
            batch_size=self.batch_size,
            success=self.success,
            seed=seed,
        )
        indices = anomaly_indices([trigger.size for trigger in triggers])
        reached = [trigger.label for trigger in triggers if trigger.found]
        seconds = time.perf_counter() - started
        if not reached:
            return Detection(self.id, 0.0, False, None, seconds, "no label was reached")
        label = max(reached, key=indices.__getitem__)
        missed = [trigger.label for trigger in triggers if not trigger.found]
        note = f"size {triggers[label].size:.2f}" + (f", labels not reached: {missed}" if missed else "")
        return Detection(self.id, indices[label], indices[label] > self.threshold, label, seconds, note)
