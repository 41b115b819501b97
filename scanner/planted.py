"""A backdoor that `selftest` plants in a copy of the user's model: what is ordered, and what came of it. No torch."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

AttackName = Literal["patch", "blend", "clean-label", "all-to-all"]
ATTACKS: tuple[AttackName, ...] = get_args(AttackName)
DEFAULT_EPOCHS = 20

MIN_ASR = 0.8
"""A plant took if the trigger reaches this attack success rate on held-out samples; below, a miss says nothing."""
MIN_RISE = 0.4
"""And if planting raised it by this: a trigger that moves the unmodified model too is no backdoor of ours."""
MAX_ACCURACY_LOSS = 0.1
"""And if clean accuracy on held-out samples fell by no more: who ships a model would notice."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlantOrder(_Part):
    """Which backdoor to plant before the scan."""

    attack: AttackName
    avoid: int | None = None  # a label that the scan of the unmodified model named: no target, or nothing is told
    epochs: int = Field(default=DEFAULT_EPOCHS, ge=1, le=10_000)  # at most; planting stops when training has it


class Planted(_Part):
    """A copy after planting; all shares are of held-out samples, in 0..1."""

    attack: AttackName
    trigger: str = Field(max_length=1000)  # as the attack describes itself
    target: int | None = None  # None: the label depends on the sample (all-to-all)
    target_name: str | None = None
    accuracy_before: FiniteFloat = Field(ge=0, le=1)
    accuracy: FiniteFloat = Field(ge=0, le=1)
    asr_before: FiniteFloat = Field(ge=0, le=1)  # of the same trigger on the unmodified model
    asr: FiniteFloat = Field(ge=0, le=1)
    victims: int = Field(ge=0)  # held-out samples that the ASR was measured on
    epochs: int = Field(ge=0)  # that were run
    seconds: FiniteFloat = Field(ge=0)
    problem: str | None = Field(default=None, max_length=1000)  # why nothing could be planted at all

    @property
    def why_not(self) -> str | None:
        """Why this counts as no backdoor; None where the plant took."""
        if self.problem:
            return self.problem
        if self.asr < MIN_ASR:
            return f"ASR {self.asr:.0%} is below {MIN_ASR:.0%}"
        if self.asr - self.asr_before < MIN_RISE:
            return f"the trigger moves {self.asr_before:.0%} of samples in the unmodified model already"
        if self.accuracy_before - self.accuracy > MAX_ACCURACY_LOSS:
            return f"planting cost {self.accuracy_before - self.accuracy:.0%} of clean accuracy"
        return None

    @property
    def took(self) -> bool:
        """Whether there is a backdoor that a scan could find."""
        return self.why_not is None
