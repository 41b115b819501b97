"""Large pictures go through the model in parts, and what comes out is the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
from ebyd_scan.checks.cognitive_distillation import Distillation, distil  # noqa: E402
from ebyd_scan.checks.predictions import predicted  # noqa: E402
from ebyd_scan.checks.trigger_families import FAMILIES  # noqa: E402
from ebyd_scan.checks.trigger_inversion import NEXT, invert_labels  # noqa: E402
from ebyd_scan.evidence import at_once  # noqa: E402
from ebyd_scan.exposers.clean_unlearning import CleanUnlearning  # noqa: E402

LABELS = [0, 1, NEXT]


class _Counting(torch.nn.Module):
    """The module inside, and the pictures that it was given at once."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.seen = inner, []  # type: ignore[var-annotated]

    def forward(self, pixels: Any) -> Any:
        self.seen.append(len(pixels))
        return self.inner(pixels)


def test_how_many() -> None:
    assert at_once.pictures_at_once(torch.empty(1, 3, 32, 32), 512) == 512  # as many as the figures were measured with
    assert at_once.pictures_at_once(torch.empty(1, 3, 32, 32), 160) == 160
    assert at_once.pictures_at_once(torch.empty(5, 16, 3, 224, 224), 160) == 10
    assert at_once.pictures_at_once(torch.empty(1, 3, 4000, 4000), 160) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_search_in_parts_finds_the_same(
    family: str, backdoored_digits: Any, digit_samples: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = LABELS if family == "patch" else LABELS[:2]
    module = _Counting(backdoored_digits.module)
    options: dict[str, Any] = {"family": family, "steps": 12, "batch_size": 16, "seed": 0}
    whole = invert_labels(backdoored_digits.with_module(module), digit_samples.exposure, labels, **options)
    assert max(module.seen) >= 16 * len(labels)
    module.seen.clear()
    monkeypatch.setattr(at_once, "PIXELS", 7 * 16 * 16 + 1)
    parts = invert_labels(backdoored_digits.with_module(module), digit_samples.exposure, labels, **options)
    assert max(module.seen) == 7
    for one, other in zip(whole, parts, strict=True):
        assert other.size == pytest.approx(one.size, rel=1e-3)
        assert other.success == pytest.approx(one.success, abs=0.05)


def test_predictions_and_masks_in_parts(
    backdoored_digits: Any, digit_samples: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = digit_samples.held_out.pixels[:30]
    module = _Counting(backdoored_digits.module)
    classifier = backdoored_digits.with_module(module)
    known = predicted(classifier, pixels)
    scores = classifier.logits(pixels).detach()
    module.seen.clear()
    monkeypatch.setattr(at_once, "PIXELS", 7 * 16 * 16 + 1)
    assert predicted(classifier, pixels).equal(known)
    masks = distil(classifier, pixels, scores, Distillation(steps=3), seed=0)
    assert len(masks) == 30 and max(module.seen) == 7


def test_a_model_that_passes_no_gradient_on_ends_the_search(backdoored_digits: Any, digit_samples: Any) -> None:
    class Constant(torch.nn.Module):
        def forward(self, pixels: Any) -> Any:
            return torch.arange(10.0).repeat(len(pixels), 1)

    (found,) = invert_labels(
        backdoored_digits.with_module(Constant()), digit_samples.exposure, [1], family="patch", steps=6, batch_size=4,
        seed=0,
    )  # fmt: skip
    assert not found.found and found.success == 0


def test_exposure_in_parts_where_no_batchnorm_counts_the_batch(
    backdoored_digits: Any, digit_samples: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    plain = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 14 * 14, 10)
    )
    exposer, runs, seen = CleanUnlearning(max_epochs=2, stop_accuracy=1e-6), [], []
    for limit in (1 << 19, 7 * 16 * 16 + 1):
        monkeypatch.setattr(at_once, "PIXELS", limit)
        for module, has_batch_norm in ((plain, False), (backdoored_digits.module, True)):
            counting = _Counting(module)
            classifier = replace(backdoored_digits, module=counting, has_batch_norm=has_batch_norm)
            exposed = exposer.expose(classifier, digit_samples, seed=0)
            runs.append(exposed.run)
            seen.append(max(exposed.classifier.module.seen[8:-8]))  # between the looks before and after
    assert seen == [34, 34, 7, 34]
    for whole, parts in zip(runs[:2], runs[2:], strict=True):
        assert len(whole.trajectory) == len(parts.trajectory) == 12
        for one, other in zip(whole.trajectory, parts.trajectory, strict=True):
            assert other.accuracy == pytest.approx(one.accuracy, abs=0.04)
