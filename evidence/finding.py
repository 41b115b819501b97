"""What a check says."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat


class Outcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"  # looked, cannot tell
    SKIPPED = "skipped"  # does not apply; the message says why
    ERROR = "error"


class Witness(BaseModel):
    """A recovered trigger, replayed on held-out clean samples of the original model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str  # "patch", "blend" (a pattern added), "filter" (colours changed), "warp" or "words"
    label: int
    size: FiniteFloat  # share of the picture (patch) or side (warp), sum of amplitudes (blend), RMS (filter), words
    control_sizes: dict[int, FiniteFloat]  # the same for control labels of the same model
    attack_success_rate: FiniteFloat = Field(ge=0, le=1)
    samples: int  # held-out samples of other classes that it was replayed on
    text: str | None = None  # the words, of text classifiers
    control_success: dict[int, FiniteFloat] = Field(default_factory=dict)  # of words toward control labels
    files: list[str] = Field(default_factory=list)  # that show it, where any were asked for


class Finding(BaseModel):
    """One statement of one check, with the figures behind it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    outcome: Outcome
    message: str = Field(max_length=4000)  # one or two sentences for a person
    score: FiniteFloat | None = None
    threshold: FiniteFloat | None = None
    label: int | None = None  # class index
    label_name: str | None = None
    witness: Witness | None = None
    samples: list[str] = Field(default_factory=list)  # that the finding is about, by their names in the samples
    metrics: dict[str, FiniteFloat | int | str] = Field(default_factory=dict)
    seconds: FiniteFloat = 0.0
