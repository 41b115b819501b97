"""What one scan is asked to do: everything the worker needs, as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from ..policies.model import Policy
from .planted import PlantOrder
from .removal_order import RemovalOrder
from .tiers import Part

TEXT_TABLES: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
"""Suffixes of samples that are texts."""


class TextOptions(BaseModel):
    """How a table of texts is read; None where the column is found by its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str | None = None
    pair_column: str | None = None
    label_column: str | None = None
    max_length: int | None = None  # tokens; None: what the model takes


class ScanRequest(BaseModel):
    """One model, its samples and the policy; travels to the worker as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Path
    samples: Path
    policy: Policy
    architecture: str | None = None
    arch_args: dict[str, Any] = Field(default_factory=dict)
    classes_file: Path | None = None
    mean: tuple[float, ...] | None = None  # of pixels in 0..1, one a channel; None: pixels go in as they are
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None  # height, width in pixels
    device: str = "auto"
    seed: int = 0
    allow_pickle: bool = False
    trust_remote_code: bool = False  # of a Hugging Face folder
    base_model: Path | None = None  # the folder of the model that an adapter was trained on
    reference: Path | None = None  # a release that was approved before; architecture, mean and std are the model's
    keep_witness: bool = False  # hand recovered triggers over, with samples
    text: TextOptions = TextOptions()  # where the samples are texts
    plant: PlantOrder | None = None  # a backdoor to plant in the loaded model first (selftest)
    removal: RemovalOrder | None = None  # repair the model after the checks
    part: Part | None = None  # of a scan that is done in parts; None: all of it
    threads: int | None = Field(None, ge=1)  # of the CPU, at most; None: as many as torch takes

    @property
    def of_texts(self) -> bool:
        """Whether the samples are texts, by their suffix."""
        return self.samples.suffix.lower() in TEXT_TABLES
