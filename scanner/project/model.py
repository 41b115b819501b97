"""What `ebyd-scan.yaml` may say: a list of models, each with the options of `scan`, and defaults for all of them."""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, create_model, field_validator

from ...evidence.errors import UsageError
from ..models.arch_args import parse_architecture
from ..models.placement import DEVICES
from ..reports.formats import FORMATS

PROJECT_FILE: Final = "ebyd-scan.yaml"
MAX_MODELS: Final = 1000
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"
MAX_SEED: Final = 2**31 // 1000 - 1
ONLY_ON_COMMAND_LINE: Final = ("allow-pickle", "trust-remote-code")
"""They let a model run its own code: a person says so for a run, no file for all runs."""


def _dashed(name: str) -> str:
    return name.replace("_", "-")


class Part(BaseModel):
    """A mapping in a file."""

    # Strict as policies are: what is meant is written, not guessed.
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, alias_generator=_dashed, protected_namespaces=()
    )


def _pixel_units(value: float | list[float]) -> float | list[float]:
    if max(abs(number) for number in _numbers(value)) > 10:
        raise ValueError("must be for pixels in 0..1 (divide 0..255 units by 255)")
    return value


def _above_zero(value: float | list[float]) -> float | list[float]:
    if min(_numbers(value)) <= 0:
        raise ValueError("must be above 0")
    return value


def _numbers(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]


def _is_architecture(value: str) -> str:
    try:
        parse_architecture(value)
    except UsageError:
        raise ValueError(
            "must be torchvision:NAME, timm:NAME, package.module:callable or path/to/file.py:callable"
        ) from None
    return value


def _is_device(value: str) -> str:
    if not re.fullmatch(DEVICES, value):
        raise ValueError("must be auto, cpu, cuda or cuda:N, or several GPUs such as cuda:0+cuda:1")
    return value


def _is_keywords(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if wrong := [key for key in value if not key.isidentifier()]:
        raise ValueError(f"must have names of arguments as keys, and {wrong[0]!r} is none")
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise ValueError("must hold finite numbers") from None
    return value


def _is_file(value: str) -> str:
    if value in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        raise ValueError("must be a file: standard output has the verdicts of all models")
    return value


TakenPath = Annotated[str, Field(min_length=1, max_length=4096)]
_Report = Annotated[TakenPath, AfterValidator(_is_file)]
_Channels = Annotated[list[float], Field(min_length=1, max_length=100)]
_Pixels = Annotated[float | _Channels, AfterValidator(_pixel_units)]
_Size = Annotated[int, Field(ge=1, le=99999)]
_Column = Annotated[str, Field(min_length=1)]

_fields: dict[str, Any] = {
    f"to_{name.replace('-', '_')}": (_Report | None, Field(None, alias=name, description=form.help.split("; `-`")[0]))
    for name, form in FORMATS.items()
}
ReportPaths: type[Part] = create_model(
    "ReportPaths", __base__=Part, __doc__="Where reports go; {name} is the model's name.", **_fields
)


class Options(Part):
    """Options of a scan that a file may set."""

    samples: TakenPath | None = Field(None, description="clean labelled samples: a folder, an .npz or a table of texts")
    classes: TakenPath | None = Field(None, description="classes.txt that maps class folders to indices")
    architecture: Annotated[str, AfterValidator(_is_architecture)] | None = Field(
        None, description="for files that hold weights only; it is run: name only code you trust"
    )
    arch_args: Annotated[dict[str, JsonValue], AfterValidator(_is_keywords)] | None = Field(
        None, description="keyword arguments for the architecture"
    )
    base_model: TakenPath | None = Field(None, description="for an adapter: the folder of the model it was trained on")
    mean: _Pixels | None = Field(None, description="mean of pixels in 0..1, a number or one a channel")
    std: Annotated[_Pixels, AfterValidator(_above_zero)] | None = Field(None, description="standard deviation likewise")
    size: _Size | Annotated[list[_Size], Field(min_length=2, max_length=2)] | None = Field(
        None, description="samples are resized to so many pixels: a number, or height and width"
    )
    text_column: _Column | None = Field(None, description="column of the texts")
    pair_column: _Column | None = Field(None, description="column of the second text of pairs")
    label_column: _Column | None = Field(None, description="column of the labels")
    max_length: Annotated[int, Field(ge=4, le=100_000)] | None = Field(None, description="tokens a text is cut to")
    policy: TakenPath | None = Field(None, description="name of a built-in policy, or a file")
    reference: TakenPath | None = Field(None, description="an approved release to compare with")
    device: Annotated[str, AfterValidator(_is_device)] | None = Field(None, description="auto, cpu, cuda or cuda:N")
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = Field(None, description="seed of every random draw")
    timeout: Annotated[float, Field(gt=0, le=1e9)] | None = Field(None, description="seconds the scan may take")
    memory: Annotated[float, Field(gt=0, le=1e9)] | None = Field(None, description="GiB the scan may use")

    @field_validator("seed", "max_length", "size", mode="before")
    @classmethod
    def _no_booleans(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError("must be a whole number")
        return value

    @field_validator("mean", "std", mode="after")
    @classmethod
    def _finite(cls, value: float | list[float] | None) -> float | list[float] | None:
        if value is not None and not all(map(math.isfinite, _numbers(value))):
            raise ValueError("must be finite")
        return value


class Defaults(Options):
    """Options for every model that does not say otherwise."""

    reports: ReportPaths | None = Field(None, description="files for reports, by format")
    witness_dir: TakenPath | None = Field(None, description="folder for recovered triggers")
    remove_to: TakenPath | None = Field(None, description="new file or folder for the repaired model")


class ModelEntry(Defaults):
    """One model to scan."""

    name: str = Field(
        min_length=1, max_length=100, description="a short name, once in the file: letters, digits, `.`, `_` and `-`"
    )
    model: TakenPath = Field(description="the model's file or folder")

    @field_validator("name")
    @classmethod
    def _fits_a_file_name(cls, value: str) -> str:
        if not re.fullmatch(NAME, value):
            raise ValueError("must be letters, digits, `.`, `_` and `-`, a letter or digit first")
        return value


def version_is_a_number(value: object) -> object:
    """The value, as it is. Raises ValueError for what Literal[1] takes for 1: True is equal to it."""
    if type(value) is not int:
        raise ValueError("must be 1")
    return value


class Project(Part):
    """A project of ebyd-scan: the models that `ebyd-scan scan` scans, and how. Paths are relative to the file."""

    version: Literal[1] = Field(description="version of the format")
    defaults: Defaults = Field(default_factory=Defaults, description="options for every model")
    models: list[ModelEntry] = Field(
        min_length=1, max_length=MAX_MODELS, description="the models, in the order they are scanned in"
    )

    _version = field_validator("version", mode="before")(version_is_a_number)
