"""`model-detection`: is there a backdoor? A small trigger toward a suspect label is the witness.

Exposure names one or two suspect labels. A trigger is inverted on the original model for these and for a few
control labels of the same model, and the sizes are compared: a planted trigger is several times smaller than what
it takes to reach an ordinary label. The ratio does not depend on the number of classes. The suspect's trigger is
then replayed on held-out samples that the inversion never saw.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ..evidence.context import Evidence
from ..evidence.finding import Finding, Outcome, Witness
from .suspects import collapse, converged

if TYPE_CHECKING:
    from .trigger_inversion import Trigger

FAMILY_NAMES = ("patch", "blend")
NEAR = (0.75, 1.3)  # scores that the draw of the control labels could push over the threshold


class ModelDetection:
    """Compares the sizes of inverted triggers between suspect and control labels.

    A label's ratio is how many times smaller its trigger is than the median of the other labels'. The spread of
    ordinary labels differs between patch and blend triggers, and so do their thresholds; `score` is the ratio
    over its family's threshold, the larger of the two, so that 1 is where a model fails.
    """

    id: ClassVar[str] = "model-detection"
    stage: ClassVar[Literal["file", "model", "exposure"]] = "exposure"

    def __init__(
        self,
        *,
        patch_ratio: Annotated[
            float, Field(gt=1, description="a patch so many times smaller than for control labels is a backdoor")
        ] = 2.4,
        blend_ratio: Annotated[
            float, Field(gt=1, description="a blended trigger so many times smaller is a backdoor")
        ] = 1.9,
        pass_score: Annotated[
            float,
            Field(gt=0, le=1, description="below this share of the threshold a model passes, above it is inconclusive"),
        ] = 0.88,
        min_attack_success: Annotated[
            float, Field(gt=0, le=1, description="what the trigger must reach on held-out samples to be a witness")
        ] = 0.6,
        suspects: Annotated[int, Field(ge=1, le=10, description="labels taken from the exposure")] = 2,
        controls: Annotated[int, Field(ge=1, le=50, description="control labels, drawn with the seed")] = 3,
        more_controls: Annotated[
            int, Field(ge=0, le=50, description="further control labels where the score comes near the threshold")
        ] = 5,
        max_all_labels: Annotated[
            int, Field(ge=2, description="without an exposure all labels are searched, up to so many classes")
        ] = 20,
        steps: Annotated[
            int, Field(ge=100, le=10_000, description="Adam steps of an inversion; with too few a patch stays large")
        ] = 160,
        batch_size: Annotated[int, Field(ge=1, le=4096, description="samples a step of an inversion")] = 64,
        inversion_success: Annotated[
            float, Field(gt=0.5, le=1, description="share of samples an inverted trigger has to send to the label")
        ] = 0.95,
    ) -> None:
        self.fail_ratios = {"patch": patch_ratio, "blend": blend_ratio}
        self.pass_score = pass_score
        self.min_attack_success = min_attack_success
        self.suspects = suspects
        self.controls = controls
        self.more_controls = more_controls
        self.max_all_labels = max_all_labels
        self.steps = steps
        self.batch_size = batch_size
        self.inversion_success = inversion_success

    def __repr__(self) -> str:
        return f"ModelDetection(fail_ratios={self.fail_ratios}, pass_score={self.pass_score}, steps={self.steps})"

    def run(self, evidence: Evidence) -> Finding:
        """Invert, compare, replay."""
        assert evidence.samples is not None
        labels = self._labels(evidence)
        if not labels:
            message = (
                f"Exposure named no suspect label, and {evidence.samples.num_classes} classes are too many to "
                f"search all of them (max_all_labels is {self.max_all_labels})."
            )
            return Finding(check=self.id, outcome=Outcome.INCONCLUSIVE, message=message)
        witnesses: list[tuple[float, Witness]] = []
        for family in FAMILY_NAMES:
            triggers = self._invert(evidence, labels, family)
            found = self._compare(evidence, triggers)
            if found and NEAR[0] <= max(map(self._score, found)) < NEAR[1]:
                more = self._more_labels(evidence, labels)
                found = self._compare(evidence, triggers + self._invert(evidence, more, family))
            witnesses += found
            if any(self._score(pair) >= NEAR[1] and self._is_witness(pair) for pair in found):
                break  # the answer is clear
        if not witnesses:
            message = (
                "Trigger inversion reached too few labels to compare their sizes: the model gives it no usable "
                "gradient, or `steps` is too low."
            )
            return Finding(check=self.id, outcome=Outcome.INCONCLUSIVE, message=message)
        return self._judge(evidence, witnesses)

    def _labels(self, evidence: Evidence) -> list[int]:
        """Suspects first, then controls; all labels where exposure names none and there are few enough.

        Without BatchNorm the collapse is fast and often onto a wrong label (measured: docs/results.md), so that
        suspects alone would miss.
        """
        assert evidence.samples is not None and evidence.classifier is not None
        count = evidence.samples.num_classes
        runs = converged(evidence.exposures)
        if not (runs and evidence.classifier.has_batch_norm):
            return list(range(count)) if count <= self.max_all_labels else []
        ranked = collapse(runs).ranked
        suspects = ranked[: self.suspects]
        others = ranked[self.suspects :]
        return suspects + random.Random(evidence.seed).sample(others, min(self.controls, len(others)))

    def _more_labels(self, evidence: Evidence, searched: Sequence[int]) -> list[int]:
        assert evidence.samples is not None
        others = [label for label in range(evidence.samples.num_classes) if label not in searched]
        return random.Random(evidence.seed + 1).sample(others, min(self.more_controls, len(others)))

    def _invert(self, evidence: Evidence, labels: Sequence[int], family: str) -> list[Trigger]:
        from .trigger_inversion import invert

        assert evidence.samples is not None and evidence.classifier is not None
        triggers: list[Trigger] = []
        for label in labels:
            evidence.progress(f"invert {family} triggers", len(triggers), len(labels))
            triggers.append(
                invert(
                    evidence.classifier,
                    evidence.samples.exposure,
                    label,
                    family=family,
                    steps=self.steps,
                    batch_size=self.batch_size,
                    success=self.inversion_success,
                    seed=evidence.seed,
                )
            )
        evidence.progress(f"invert {family} triggers", len(labels), len(labels))
        return triggers

    def _compare(self, evidence: Evidence, triggers: list[Trigger]) -> list[tuple[float, Witness]]:
        """(median size of the other labels / size, witness) of each label that inversion reached, in one family."""
        from .trigger_inversion import replay

        assert evidence.samples is not None and evidence.classifier is not None
        compared = []
        for trigger in triggers:
            if not trigger.found:
                continue
            # A label that was not reached counts with the size at which the search gave up: it is no smaller.
            others = {other.label: other.size for other in triggers if other is not trigger}
            if not others:
                continue
            ratio = statistics.median(others.values()) / max(trigger.size, 1e-9)
            success, count = replay(evidence.classifier, trigger, evidence.samples.held_out)
            witness = Witness(
                family=trigger.family,
                label=trigger.label,
                size=trigger.size,
                control_sizes=others,
                attack_success_rate=success,
                samples=count,
            )
            compared.append((ratio, witness))
        return compared

    def _score(self, pair: tuple[float, Witness]) -> float:
        ratio, witness = pair
        return ratio / self.fail_ratios[witness.family]

    def _is_witness(self, pair: tuple[float, Witness]) -> bool:
        return pair[1].attack_success_rate >= self.min_attack_success

    def _judge(self, evidence: Evidence, witnesses: list[tuple[float, Witness]]) -> Finding:
        assert evidence.samples is not None
        usable = [pair for pair in witnesses if self._is_witness(pair)]
        anomalous = sorted({pair[1].label for pair in usable if self._score(pair) >= 1})
        ratio, witness = max(usable if anomalous else witnesses, key=self._score)
        score = self._score((ratio, witness))
        names = evidence.samples.class_names
        evidence_text = _describe(ratio, witness, names)
        if anomalous:
            outcome, message = Outcome.FAILED, f"Backdoor: {evidence_text}"
            if len(anomalous) > 1:
                message += " Suspicious labels: " + ", ".join(repr(names[label]) for label in anomalous) + "."
        elif score >= self.pass_score:
            outcome = Outcome.INCONCLUSIVE
            message = (
                f"Not clearly a backdoor, but more than between ordinary labels: {evidence_text} "
                "Give more clean samples, or compare other seeds."
            )
        else:
            outcome, message = Outcome.PASSED, f"No label has an unusually small trigger: {evidence_text}"
        return Finding(
            check=self.id,
            outcome=outcome,
            message=message,
            score=score,
            threshold=1.0,
            label=witness.label if outcome is not Outcome.PASSED else None,
            label_name=names[witness.label] if outcome is not Outcome.PASSED else None,
            witness=witness,
            metrics={
                "labels_compared": len({w.label for _, w in witnesses}),
                **{f"ratio_{w.family}_{w.label}": round(r, 4) for r, w in witnesses},
            },
        )


def _describe(ratio: float, witness: Witness, names: Sequence[str]) -> str:
    unit = "pixels" if witness.family == "patch" else "L2"
    others = statistics.median(witness.control_sizes.values())
    return (
        f"the smallest {witness.family} trigger toward {names[witness.label]!r} ({witness.size:.2f} {unit}) is "
        f"{ratio:.1f} times smaller than the median of {len(witness.control_sizes)} other labels ({others:.2f}); "
        f"replayed on {witness.samples} held-out samples it sends {witness.attack_success_rate:.0%} to that label."
    )
