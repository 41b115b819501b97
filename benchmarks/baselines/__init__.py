"""Other detectors, written from their papers, on one interface: what the scanner is measured against."""

from __future__ import annotations

from collections.abc import Callable

from .histogram_variance import HistogramVariance
from .interface import Detection, Detector
from .last_layer import LastLayer
from .mm_bd import MMBD
from .neural_cleanse import NeuralCleanse

__all__ = ["BASELINES", "Detection", "Detector"]

# id -> class; constructors take keyword arguments only, all with defaults.
BASELINES: dict[str, Callable[..., Detector]] = {
    detector.id: detector for detector in (NeuralCleanse, MMBD, HistogramVariance, LastLayer)
}
