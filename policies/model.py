"""The policy: which exposer, which checks, which thresholds, and what an inconclusive result means."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

OnInconclusive = Literal["inconclusive", "fail", "pass"]
"""What an inconclusive check means for the verdict."""

ON_INCONCLUSIVE = "on_inconclusive"
"""The one key of a check's settings that is the policy's and not the check's."""


class _Settings(BaseModel):
    # Strict: a policy that says "3" where a number belongs is a mistake to be told, not one to be guessed around.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ExposureSettings(_Settings):
    """How the model is exposed."""

    method: str = Field("clean-unlearning", description="the exposer, by the name it is installed under")
    seeds: int = Field(3, ge=1, le=20, description="how many seeded runs; checks look at their agreement")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="the exposer's hyper-parameters")


class SampleSettings(_Settings):
    """How the clean samples are split and how many are needed."""

    held_out: float = Field(0.5, ge=0.1, le=0.9, description="share kept back, on which figures are measured")
    min_per_class: int = Field(5, ge=1, description="fewer samples than this of any class are a usage error")
    max_count: int = Field(2000, ge=1, description="at most so many samples are used, drawn evenly over classes")


class Limits(_Settings):
    """What a scan may use before it is stopped."""

    timeout: float = Field(1800, gt=0, description="seconds for the whole scan of one model")
    memory: float = Field(8, gt=0, description="GiB of memory for the whole scan of one model")


AUTO = "auto"
"""The removal method that tries several removers."""


class AcceptSettings(_Settings):
    """What a repaired model has to reach, measured on held-out samples."""

    max_accuracy_drop: float = Field(0.02, ge=0, le=1, description="clean accuracy that the repair may cost")
    max_witness_success: float = Field(
        0.1, ge=0, le=1, description="attack success that triggers recovered before the repair may still have"
    )
    max_new_trigger_success: float = Field(
        0.1, ge=0, le=1, description="the same of suspicious triggers that are recovered on the repaired model"
    )
    allow_residual_exposure: bool = Field(
        False, description="whether the exposed repaired model may still collapse onto a label suspected before"
    )


class RemovalSettings(_Settings):
    """How a backdoor is removed, where that is ordered, and when the repaired model is accepted."""

    method: str = Field(AUTO, description="`auto`, or the one remover to use, by the name it is installed under")
    candidates: list[str] = Field(
        ["universal-unlearning", "trigger-unlearning"],
        min_length=1,
        max_length=20,
        description="the removers that `auto` tries, in this order; the first that is accepted is kept",
    )
    options: dict[str, dict[str, JsonValue]] = Field(
        default_factory=dict, description="hyper-parameters, by the name of the remover"
    )
    accept: AcceptSettings = Field(default_factory=AcceptSettings, description="when a repaired model is accepted")
    verdict_of: Literal["original", "repaired"] = Field(
        "original", description="which model the verdict, and so the exit code, is about where a repair was ordered"
    )

    @property
    def tried(self) -> list[str]:
        """The removers to try, in order."""
        return list(dict.fromkeys(self.candidates)) if self.method == AUTO else [self.method]


class Policy(_Settings):
    """A policy of ebyd-scan: how a model is exposed, which checks it has to pass, and when it has passed."""

    # What the checks take is not known here: `load_policy` and `build_checks` hold it against their constructors.
    version: Literal[1] = Field(description="version of the policy format")
    name: str = Field(min_length=1, max_length=100, description="a short name; reports show it")
    description: str = Field("", max_length=2000, description="what the policy is for")
    exposure: ExposureSettings = Field(default_factory=ExposureSettings, description="how the model is exposed")
    checks: dict[str, dict[str, JsonValue]] = Field(
        min_length=1,
        description="the checks, in the order they run in, each with its hyper-parameters and, if it differs from "
        "the policy's, `on_inconclusive`",
    )
    on_inconclusive: OnInconclusive = Field(
        "inconclusive", description="what an inconclusive check means for the verdict"
    )
    samples: SampleSettings = Field(default_factory=SampleSettings, description="how the clean samples are used")
    removal: RemovalSettings = Field(
        default_factory=RemovalSettings, description="how a backdoor is removed, where that is ordered"
    )
    limits: Limits = Field(default_factory=Limits, description="what a scan may use before it is stopped")

    @field_validator("version", mode="before")
    @classmethod
    def _version_is_a_number(cls, value: object) -> object:
        if type(value) is not int:  # True == 1, and Literal[1] takes it
            raise ValueError("must be 1")
        return value

    @field_validator("checks", mode="before")
    @classmethod
    def _empty_settings(cls, value: object) -> object:
        # `file-safety:` with nothing behind it is how one writes "with its defaults" in YAML.
        if isinstance(value, dict):
            return {name: {} if settings is None else settings for name, settings in value.items()}
        return value
