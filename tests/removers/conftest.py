"""The shipped digit models and their clean samples, as the exposers' tests have them."""

from __future__ import annotations

from ..exposers.conftest import as_classifier, backdoored, clean, digit_samples

__all__ = ["as_classifier", "backdoored", "clean", "digit_samples"]
