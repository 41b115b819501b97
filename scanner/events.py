"""What a worker tells its supervisor: one JSON object a line, never a pickle.

A worker has touched a hostile file; what it says is validated like any other input.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter

from ..evidence.exposure import ExposureRun
from ..evidence.finding import Finding
from ..evidence.removal import CandidateInfo
from ..evidence.result import ModelInfo, SamplesInfo
from .handover import RecoveredForm, WordsForm
from .planted import Planted
from .removal_order import Repaired

MAX_STEPS = 2**53  # a bar divides them as floats


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProgressEvent(_Event):
    kind: Literal["progress"] = "progress"
    stage: str = Field(max_length=200)
    done: int = Field(ge=0, le=MAX_STEPS)
    total: int = Field(ge=0, le=MAX_STEPS)


class ModelEvent(_Event):
    kind: Literal["model"] = "model"
    model: ModelInfo


class SamplesEvent(_Event):
    kind: Literal["samples"] = "samples"
    samples: SamplesInfo


class EnvironmentEvent(_Event):
    kind: Literal["environment"] = "environment"
    environment: dict[str, str]


class FindingEvent(_Event):
    kind: Literal["finding"] = "finding"
    finding: Finding


class ExposureEvent(_Event):
    kind: Literal["exposure"] = "exposure"
    run: ExposureRun


class RecoveredEvent(_Event):
    """A recovered trigger; its arrays follow in pieces before the next one comes."""

    kind: Literal["recovered"] = "recovered"
    form: RecoveredForm


class PieceEvent(_Event):
    kind: Literal["piece"] = "piece"
    data: str  # base64


class WordsEvent(_Event):
    """Trigger words of a text classifier, with texts that show what they do."""

    kind: Literal["words"] = "words"
    form: WordsForm


class PlantedEvent(_Event):
    """The model scanned is a copy with a backdoor of ours, or was to be one."""

    kind: Literal["planted"] = "planted"
    planted: Planted


class CandidateEvent(_Event):
    """A remover and the figures of what it gave."""

    kind: Literal["candidate"] = "candidate"
    candidate: CandidateInfo


class RepairedEvent(_Event):
    """What came of an order to remove; the file, if there is one, is written."""

    kind: Literal["repaired"] = "repaired"
    repaired: Repaired


class TimingEvent(_Event):
    kind: Literal["timing"] = "timing"
    stage: str = Field(max_length=200)
    seconds: FiniteFloat


class StoppedEvent(_Event):
    """The scan went no further, and that is an answer: the findings say why."""

    kind: Literal["stopped"] = "stopped"
    reason: str = Field(max_length=4000)


class ErrorEvent(_Event):
    kind: Literal["error"] = "error"
    message: str = Field(max_length=4000)
    usage: bool = False  # the command line is wrong, not the model
    again: bool = False  # the same scan may end otherwise another time: memory, a missing package, a file in change


class DoneEvent(_Event):
    kind: Literal["done"] = "done"


Event = (
    ProgressEvent
    | ModelEvent
    | SamplesEvent
    | EnvironmentEvent
    | FindingEvent
    | ExposureEvent
    | RecoveredEvent
    | PieceEvent
    | WordsEvent
    | PlantedEvent
    | CandidateEvent
    | RepairedEvent
    | TimingEvent
    | StoppedEvent
    | ErrorEvent
    | DoneEvent
)

PARSER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])
