"""`backdoor-label`: which label do the predictions of the exposed model collapse onto? (EBYD, arXiv 2410.19427, sec. 4)

A backdoor survives clean unlearning and pulls predictions to its target label. Accurate benign models collapse
too, so this check names a suspect and never fails a model; `model-detection` says whether there is a backdoor.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ..evidence.context import Evidence
from ..evidence.finding import Finding, Outcome
from .suspects import MIN_AGREEMENT, MIN_MARGIN, collapse, converged


class BackdoorLabel:
    """Agreement of seeded runs, margin to the runner-up, both after correction for the histogram before exposure."""

    id: ClassVar[str] = "backdoor-label"
    stage: ClassVar[Literal["file", "model", "exposure"]] = "exposure"
    tier: ClassVar[Literal["exposure"]] = "exposure"  # reads what exposing has shown and costs nothing

    def __init__(
        self,
        *,
        min_runs: Annotated[int, Field(ge=1, le=20, description="converged exposure runs needed to name a label")] = 3,
        min_agreement: Annotated[
            float, Field(gt=0, le=1, description="share of the runs that must collapse onto the same label")
        ] = MIN_AGREEMENT,
        min_margin: Annotated[
            float, Field(ge=0, lt=1, description="lead over the runner-up, as a share of the predictions")
        ] = MIN_MARGIN,
    ) -> None:
        self.min_runs = min_runs
        self.min_agreement = min_agreement
        self.min_margin = min_margin

    def __repr__(self) -> str:
        return f"BackdoorLabel(min_agreement={self.min_agreement}, min_margin={self.min_margin})"

    def run(self, evidence: Evidence) -> Finding:
        """Name the label, or say why none can be named."""
        assert evidence.samples is not None
        if not_applicable := [run.reason for run in evidence.exposures if not run.applicable]:
            return Finding(check=self.id, outcome=Outcome.SKIPPED, message=not_applicable[0])
        runs = converged(evidence.exposures)
        if len(runs) < self.min_runs:
            broken = [run.reason for run in evidence.exposures if run not in runs]
            message = (
                f"{len(runs)} of {len(evidence.exposures)} exposure runs converged and {self.min_runs} are needed"
                + (f": {broken[0]}" if broken else ": raise exposure.seeds in the policy")
            )
            return Finding(check=self.id, outcome=Outcome.INCONCLUSIVE, message=message)
        seen = collapse(runs)
        name = evidence.samples.class_names[seen.label]
        agreeing = seen.tops.count(seen.label)
        figures = f"{seen.gain[seen.label]:+.0%} of predictions, {seen.margin:.0%} ahead of the next"
        label = seen.named(self.min_agreement, self.min_margin)
        if label is not None:
            message = (
                f"Without the clean task, predictions collapse onto {name!r} in {agreeing} of {len(runs)} runs "
                f"({figures}). Benign models collapse too: whether it is a backdoor is for model-detection to say."
            )
        else:
            message = (
                f"Without the clean task, predictions go to no single label: {name!r} leads in {agreeing} of "
                f"{len(runs)} runs ({figures})."
            )
        return Finding(
            check=self.id,
            outcome=Outcome.PASSED,
            message=message,
            score=seen.gain[seen.label],
            label=label,
            label_name=name if label is not None else None,
            metrics={
                "agreement": seen.agreement,
                "margin": seen.margin,
                "runs": len(runs),
                "runner_up": seen.ranked[1],
            },
        )
