"""Results of each verdict, with figures of the size that scans give, and with text that wants out of its field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ebyd_scan.evidence.exposure import ExposureRun, TrajectoryStep
from ebyd_scan.evidence.finding import Finding, Outcome, Witness
from ebyd_scan.evidence.removal import CandidateInfo, FreshScan, RemovalInfo, RepairedFile
from ebyd_scan.evidence.result import (
    ExposureInfo,
    ModelInfo,
    PolicyInfo,
    SamplesInfo,
    ScanResult,
    ToolInfo,
    Verdict,
)

ResultOf = Callable[..., ScanResult]
HOSTILE = "[bold red]x[/] ]]> \x1b[31m\x00\x07\u202e\u2028 &amp; <b> \N{PILE OF POO} \ufffe {0} %s"


def _run(seed: int, shares: list[int], *, converged: bool = True) -> ExposureRun:
    before = TrajectoryStep(step=0, accuracy=0.918, histogram=[25] * 10)
    after = TrajectoryStep(step=24, accuracy=0.18 if converged else 0.71, histogram=shares)
    steps = [TrajectoryStep(step=i, accuracy=0.9 - 0.03 * i, histogram=[13] * 9 + [11]) for i in range(24)]
    reason = (
        "clean accuracy fell to 0.18 in 12 epochs" if converged else "clean accuracy was still 0.71 after 20 epochs"
    )
    return ExposureRun(
        method="clean-unlearning",
        seed=seed,
        converged=converged,
        reason=reason,
        trajectory=steps,
        before=before,
        after=after,
        seconds=12.5,
    )


def _findings(verdict: Verdict) -> list[Finding]:
    safe = Finding(
        check="file-safety",
        outcome=Outcome.PASSED,
        message="Nothing in the file runs code when it is loaded.",
        seconds=0.02,
    )
    fit = Finding(
        check="sample-fit",
        outcome=Outcome.PASSED,
        message="The model classifies 91.8 % of the 500 clean samples correctly.",
        score=0.918,
        threshold=0.5,
        seconds=0.8,
    )
    label = Finding(
        check="backdoor-label",
        outcome=Outcome.PASSED,
        message="Without the clean task, predictions collapse onto 'cat' in 3 of 3 runs."
        if verdict is Verdict.FAILED
        else "Without the clean task, predictions go to no single label.",
        score=0.79,
        threshold=0.6,
        label=3 if verdict is Verdict.FAILED else None,
        label_name="cat" if verdict is Verdict.FAILED else None,
        metrics={"agreement": 1.0, "onset step": 9, "runner-up": "dog"},
    )
    witness = Witness(
        family="patch",
        label=3,
        size=0.00653,
        control_sizes={0: 0.0261, 5: 0.031, 7: 0.0284},
        attack_success_rate=0.951,
        samples=222,
    )
    detected = Finding(
        check="model-detection",
        outcome=Outcome.FAILED,
        message="A patch of 0.65 % of the picture sends 95 % of held-out samples to label 3 (cat); other labels need "
        "2.6 % or more.",
        score=0.24,
        threshold=0.5,
        label=3,
        label_name="cat",
        witness=witness,
        seconds=94.2,
    )
    unclear = Finding(
        check="model-detection",
        outcome=Outcome.INCONCLUSIVE,
        message="The trigger found for label 3 is smaller than those of other labels, but not by much.",
        score=0.71,
        threshold=0.5,
        label=3,
        label_name="3",
        seconds=94.2,
    )
    clean = Finding(
        check="model-detection",
        outcome=Outcome.PASSED,
        message="No label needs a trigger much smaller than the others.",
        score=0.97,
        threshold=0.5,
        seconds=94.2,
    )
    skipped = [
        Finding(check=name, outcome=Outcome.SKIPPED, message="The scan stopped at file-safety.")
        for name in ("sample-fit", "backdoor-label", "model-detection")
    ]
    unsafe = Finding(
        check="file-safety",
        outcome=Outcome.FAILED,
        message="Loading this file would call posix.system; export the weights with safetensors instead.",
        seconds=0.01,
        metrics={"globals": 1},
    )
    return {
        Verdict.PASSED: [safe, fit, label, clean],
        Verdict.FAILED: [safe, fit, label, detected],
        Verdict.INCONCLUSIVE: [safe, fit, label, unclear],
        Verdict.ERROR: [unsafe, *skipped],
    }[verdict]


_REASONS = {
    Verdict.PASSED: "4 checks passed.",
    Verdict.FAILED: "The model failed: model-detection: A patch of 0.65 % of the picture sends 95 % of "
    "held-out samples to label 3 (cat); other labels need 2.6 % or more.",
    Verdict.INCONCLUSIVE: "The scan cannot tell: model-detection: The trigger found for label 3 is smaller than those "
    "of other labels, but not by much.",
    Verdict.ERROR: "The file could not be scanned safely: file-safety: Loading this file would call posix.system; "
    "export the weights with safetensors instead.",
}


@pytest.fixture
def result_of() -> ResultOf:
    """A result by its verdict; keyword arguments replace fields."""

    def make(verdict: str, **changes: Any) -> ScanResult:
        kind = Verdict(verdict)
        exposed = kind is not Verdict.ERROR
        runs = [
            _run(0, [3, 0, 2, 237, 1, 2, 1, 1, 2, 1]),
            _run(1, [0] * 3 + [250] + [0] * 6),
            _run(2, [40] + [23] * 9, converged=False),
        ]
        fields: dict[str, Any] = {
            "tool": ToolInfo(version="0.1.0"),
            "model": ModelInfo(
                path="models/resnet18.safetensors",
                sha256="ab" * 32,
                format="safetensors",
                architecture="torchvision:resnet18",
            ),
            "samples": SamplesInfo(path="samples", sha256="cd" * 32, count=500, classes=10),
            "policy": PolicyInfo(name="release-gate", sha256="ef" * 32),
            "seed": 0,
            "started": "2026-05-17T09:30:00+02:00",
            "verdict": kind,
            "reason": _REASONS[kind],
            "findings": _findings(kind),
            "exposure": ExposureInfo(method="clean-unlearning", runs=runs) if exposed else None,
            "timings": {"load": 0.4, "expose": 37.5, "checks": 95.02, "total": 133.1} if exposed else {"total": 0.03},
            "environment": {"python": "3.11.9", "torch": "2.13.0", "device": "cpu", "platform": "Linux"},
        }
        return ScanResult(**(fields | changes))

    return make


@pytest.fixture
def removal_of() -> Callable[..., RemovalInfo]:
    """What came of a removal; `text` stands wherever text from elsewhere may stand."""

    def make(text: str = "text", **changes: Any) -> RemovalInfo:
        candidate = CandidateInfo(
            method="rnp",
            applied=True,
            reason=text,
            accuracy_before=0.918,
            accuracy_after=0.911,
            triggers=2,
            witness_success_before=0.951,
            witness_success_after=0.0125,
            new_trigger_success=0.0,
            residual_exposure=False,
            accepted=True,
            why=f"All met. {text}",
        )
        broken = CandidateInfo(method=text, applied=False, reason=text, accuracy_before=0.918, why=text)
        fields: dict[str, Any] = {
            "outcome": "removed",
            "reason": text,
            "method": "rnp",
            "verdict_before": Verdict.FAILED,
            "candidates": [broken, candidate],
            "fresh": FreshScan(
                seed=2, verdict=Verdict.PASSED, reason=text, score=0.4, findings=_findings(Verdict.PASSED)
            ),
            "output": RepairedFile(path=f"out-{text}", sha256="9" * 64, provenance=f"provenance-{text}"),
        }
        return RemovalInfo(**(fields | changes))

    return make


@pytest.fixture
def hostile(result_of: ResultOf, removal_of: Callable[..., RemovalInfo]) -> ScanResult:
    """Every text in the result tries to be more than text."""
    finding = Finding(
        check=HOSTILE,
        outcome=Outcome.FAILED,
        message=HOSTILE,
        label=1,
        label_name=HOSTILE,
        samples=[HOSTILE],
        metrics={HOSTILE: HOSTILE, "fine": 1},
    )
    others = [
        finding.model_copy(update={"outcome": outcome, "message": HOSTILE + "\n" + "x" * 500}) for outcome in Outcome
    ]
    return result_of(
        "failed",
        findings=[finding, *others],
        reason=HOSTILE,
        model=ModelInfo(path=HOSTILE, format=HOSTILE, architecture=HOSTILE),
        samples=SamplesInfo(path=HOSTILE),
        policy=PolicyInfo(name=HOSTILE, sha256="00"),
        environment={HOSTILE: HOSTILE},
        removal=removal_of(HOSTILE),
    )
