"""Rates and ROC areas with their 95 % confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import beta


def interval(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a rate of `hits` in `count`; (0, 1) where nothing was counted."""
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, hits, count - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, count - hits)) if hits < count else 1.0
    return low, high


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Probability that a positive scores higher than a negative, ties counting half; NaN without either."""
    if not len(positive) or not len(negative):
        return float("nan")
    high, low = np.asarray(positive)[:, None], np.asarray(negative)[None, :]
    return float(((high > low) + 0.5 * (high == low)).mean())


def auroc_interval(
    positive: Sequence[float], negative: Sequence[float], *, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the AUROC, both groups drawn anew; (NaN, NaN) without either.

    Where the two groups do not overlap every draw gives 1: then the lower end is that of the rule of three on the
    smaller group, `1 - 3 / n`, which no bootstrap can show.
    """
    if not len(positive) or not len(negative):
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    first, second = np.asarray(positive), np.asarray(negative)
    areas = [
        auroc(rng.choice(first, len(first)).tolist(), rng.choice(second, len(second)).tolist()) for _ in range(draws)
    ]
    low, high = np.quantile(areas, [0.025, 0.975])
    if low == 1.0:
        low = max(0.0, 1 - 3 / min(len(first), len(second)))
    return float(low), float(high)


def detection_at(positive: Sequence[float], negative: Sequence[float], false_positives: float) -> float:
    """Share of positives above the lowest threshold that at most that share of negatives exceeds."""
    allowed = int(np.floor(false_positives * len(negative) + 1e-9))
    threshold = sorted(negative, reverse=True)[allowed] if allowed < len(negative) else -np.inf
    return float((np.asarray(positive) > threshold).mean())
