"""The detection rule in the EBYD authors' code (arXiv 2410.19427): how uneven is the exposed model's histogram?

After clean unlearning a backdoored model predicts its target. The rule takes the variance of the predicted
classes' shares; with all predictions in one of C classes that is (C - 1) / C^2, so that it cannot exceed 0.01 at
99 classes or more. Differs from the authors in the unlearning, which is ours with one seed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import ClassVar

from ...evidence.classifier import Classifier
from ...evidence.samples import CleanSamples
from ...exposers.clean_unlearning import CleanUnlearning
from .interface import Detection


def histogram_variance(histogram: Sequence[int]) -> float:
    """Population variance of the shares of a histogram of predicted classes; ValueError if it is empty."""
    total = sum(histogram)
    if not total:
        raise ValueError("the histogram holds no predictions")
    return statistics.pvariance(count / total for count in histogram)


class HistogramVariance:
    """Detects where the variance after one run of clean unlearning is above `threshold`; names the largest class."""

    id: ClassVar[str] = "histogram-variance"

    def __init__(self, *, threshold: float = 0.01) -> None:
        self.threshold = threshold

    def detect(self, classifier: Classifier, samples: CleanSamples, *, seed: int) -> Detection:
        """Unlearn a copy on the exposure part of `samples`; the score is the variance."""
        started = time.perf_counter()
        run = CleanUnlearning().expose(classifier, samples, seed=seed).run
        seconds = time.perf_counter() - started
        if run.after is None:
            return Detection(self.id, 0.0, False, None, seconds, run.reason)
        histogram = run.after.histogram
        variance = histogram_variance(histogram)
        label = max(range(len(histogram)), key=histogram.__getitem__)
        return Detection(self.id, variance, variance > self.threshold, label, seconds, run.reason)
