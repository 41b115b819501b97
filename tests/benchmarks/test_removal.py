"""The arithmetic of the removal benchmark's tables, and its wrong labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from ebyd_scan.benchmarks.removal import table  # noqa: E402
from ebyd_scan.benchmarks.removal.curve import with_wrong_labels  # noqa: E402
from ebyd_scan.evidence.samples import CleanSamples, SamplePart  # noqa: E402


def _record(name: str, kind: str, accuracy: float, asr: float, scan: str = "failed") -> dict[str, Any]:
    own = {"accuracy": accuracy, "asr": asr, "seconds": 10.0, "applied": True}
    return {
        "card": {"name": name, "kind": kind, "architecture": "nets:small"},
        "before": {"accuracy": 0.9, "asr": 1.0},
        "scan": {"outcome": scan},
        "auto": {**own, "accepted": asr < 0.1, "method": "universal-unlearning", "fresh": "passed"},
        "rnp": {**own, "asr": 0.9},
    }


def test_tables_of_backdoored_models() -> None:
    records = [_record("a", "badnets", 0.88, 0.02), _record("b", "sig", 0.89, 0.4, "passed")]
    text = table.backdoored([*records, {"card": {"name": "c", "kind": "blend"}}], ("auto", "rnp", "anp"))
    assert text.startswith("2 of 3 models")
    assert "| auto | 2 | 21.0% | 40.0% | 1 | 1.5 | 2.0 | 10 |" in text
    assert "| rnp | 2 | 90.0% | 90.0% | 2 | 1.5 | 2.0 | 10 |" in text
    assert "anp" not in text
    assert "| sig | 1 | 100.0% | 40.0% | 1.0 |" in text
    assert "accepted: 1, mean ASR 2.0%" in text
    assert "passed by the scan: 1, mean ASR 40.0%" in text
    assert "fresh scan with another seed passed: 2 of 2" in text


def test_clean_models_that_pass_lose_nothing_by_default() -> None:
    records = [_record("a", "clean", 0.88, 0.0, "passed"), _record("b", "clean", 0.87, 0.0, "failed")]
    text = table.clean_models(records)
    assert text.startswith("2 clean models: 1 passed")
    assert "by default mean 1.50, worst 3.0; with a forced repair mean 2.50, worst 3.0" in text


def test_wrong_labels_are_as_many_as_asked_and_all_wrong() -> None:
    part = SamplePart(torch.zeros(100, 1, 2, 2), torch.arange(100) % 10)
    samples = CleanSamples(Path(), "", 10, tuple("0123456789"), part, part)
    noisy = with_wrong_labels(samples, 0.2, seed=1)
    assert int((noisy.exposure.labels != part.labels).sum()) == 20
    assert torch.equal(noisy.held_out.labels, part.labels)
    assert int(noisy.exposure.labels.min()) >= 0 and int(noisy.exposure.labels.max()) < 10
