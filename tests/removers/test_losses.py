"""The loss that does not follow wrong labels, against cross-entropy."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from dataclasses import replace  # noqa: E402

from ebyd_scan.evidence.repair import Known  # noqa: E402
from ebyd_scan.evidence.samples import CleanSamples, SamplePart  # noqa: E402
from ebyd_scan.removers.fine_tuning import FineTuning  # noqa: E402
from ebyd_scan.removers.losses import LOSSES, active_passive  # noqa: E402


def test_it_is_bounded_and_zero_at_the_label() -> None:
    logits, labels = torch.tensor([[40.0, 0.0, 0.0], [-40.0, 0.0, 0.0]]), torch.tensor([0, 0])
    right, wrong = (active_passive(logits[row : row + 1], labels[:1]) for row in (0, 1))
    assert float(right) == pytest.approx(0.0, abs=1e-6)
    assert 4 < float(wrong) <= 5
    assert float(LOSSES["cross-entropy"](logits[1:], labels[:1])) > 40


def test_gradients_stay_numbers_where_a_label_is_ruled_out() -> None:
    logits = torch.tensor([[200.0, 0.0, -200.0]], requires_grad=True)
    active_passive(logits, torch.tensor([2])).backward()
    assert logits.grad.isfinite().all()


def test_wrong_labels_do_less_harm(backdoored: object, digit_samples: CleanSamples) -> None:
    part = digit_samples.exposure
    labels = part.labels.clone()
    wrong = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[: len(labels) // 5]
    labels[wrong] = (labels[wrong] + 1 + wrong % 9) % 10
    noisy = replace(digit_samples, exposure=SamplePart(part.pixels, labels))
    kept = {}
    for loss in LOSSES:
        repaired = FineTuning(epochs=20, loss=loss).remove(backdoored, noisy, Known(), seed=0).classifier
        with torch.no_grad():
            right = repaired.logits(digit_samples.held_out.pixels).argmax(1) == digit_samples.held_out.labels
        kept[loss] = float(right.float().mean())
    assert kept["active-passive"] > kept["cross-entropy"] + 0.02, kept
    assert kept["active-passive"] > 0.9
