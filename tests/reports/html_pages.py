"""HTML reports for tests: results with pictures and words, and a page taken apart."""

from __future__ import annotations

from typing import Any

from ebyd_scan.evidence.exposure import ExposureRun, TrajectoryStep
from ebyd_scan.evidence.result import ExposureInfo, ScanResult
from ebyd_scan.policies.load import load_policy
from ebyd_scan.scanner.reports.formats import FORMATS, Given
from lxml import html

SCRIPT = "<script>alert(1)</script>"


def page_of(result: ScanResult, **given: Any) -> str:
    """The report as `scan` renders it."""
    return FORMATS["html"].render(Given(result, load_policy("release-gate"), **given))


def tree_of(page: str) -> Any:
    return html.document_fromstring(page)


def text_of(element: Any) -> str:
    return " ".join(element.text_content().split())


def run_of(seed: int, classes: int, *, steps: int = 30, target: int = 3, broke: bool = False) -> ExposureRun:
    """From even predictions and 95 % to most of them on one class."""

    def histogram(share: float) -> list[int]:
        rest = (1 - share) * 10_000 / classes
        return [round(rest + (10_000 * share if label == target else 0)) for label in range(classes)]

    trajectory = [
        TrajectoryStep(step=i, accuracy=0.95 * (1 - i / steps), histogram=histogram(0.8 * i / steps))
        for i in range(steps)
    ]
    return ExposureRun(
        method="clean-unlearning",
        seed=seed,
        converged=not broke,
        reason="the loss stopped being a number" if broke else "clean accuracy fell to 0.03",
        trajectory=trajectory,
        before=TrajectoryStep(step=0, accuracy=0.95, histogram=histogram(0)),
        after=None if broke else TrajectoryStep(step=steps, accuracy=0.02, histogram=histogram(0.8)),
    )


def exposed(*runs: ExposureRun) -> ExposureInfo:
    return ExposureInfo(method="clean-unlearning", runs=list(runs))


def trigger(**changes: Any) -> Any:
    """A recovered patch toward label 3, as it was handed over."""
    import numpy as np
    from ebyd_scan.evidence.recovered import RecoveredTrigger
    from ebyd_scan.scanner.handover import Handed, hand_over

    rng = np.random.default_rng(0)
    shape = changes.pop("shape", (4, 12, 12, 3))
    names = changes.pop("names", ("plane", "car", "bird", "cat"))
    before = rng.integers(0, 256, shape, dtype=np.uint8)
    after = before.copy()
    after[:, -3:, -3:] = 255
    mask = np.zeros(shape[1:3], np.float32)
    mask[-3:, -3:] = 1
    values: dict[str, Any] = {
        "family": "patch",
        "label": 3,
        "label_name": names[changes.get("label", 3)],
        "attack_success_rate": 0.951,
        "samples": 222,
        "size": 0.00653,
        "before": before,
        "after": after,
        "true_labels": np.arange(shape[0]) % 3,
        "predicted_before": np.arange(shape[0]) % 3,
        "predicted_after": np.full(shape[0], 3),
        "parts": {"mask": mask, "pattern": rng.random((*shape[1:3], 3))},
        **changes,
    }
    form, pieces = hand_over(RecoveredTrigger(**values), names)
    handed = Handed(form)
    for piece in pieces:
        handed.add(piece)
    return handed
