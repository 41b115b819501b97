"""Why a model cannot be scanned, as far as this is seen without torch and without running or unfolding anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...evidence.artifact import Format
from ...evidence.errors import ScanError
from ...policies.load import LoadedPolicy, load_policy
from ..models.arch_args import parse_architecture
from ..models.identify import format_of
from ..read_request import read_request
from .options import of_texts
from .plan import Planned

_WEIGHTS_ONLY: Final = ("safetensors", "pytorch-zip", "pytorch-legacy")
_FOR_PICTURES: Final = {
    "architecture": "architecture", "mean": "mean", "std": "std", "size": "size", "classes_file": "classes",
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What a model is by its first bytes."""

    format: Format | None  # None where it cannot be told
    problem: str | None = None  # one sentence: why it cannot be scanned


class Exists:
    """Whether paths are there; each is looked at once."""

    def __init__(self) -> None:
        self._problems: dict[Path, str | None] = {}

    def problem(self, path: Path) -> str | None:
        """What stands against reading a path, as a clause; None where it is there."""
        if path not in self._problems:
            self._problems[path] = _missing(path)
        return self._problems[path]


def _missing(path: Path) -> str | None:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    return None


def first_problem(options: Mapping[str, Any], exists: Exists) -> str | None:
    """What is missing for a scan with these options: the model, the samples or a file that goes with them."""
    if clause := exists.problem(options["model"]):
        return f"{_told(options['model'])} {clause}: check the path of the model"
    if options["samples"] is None:
        return f"{_told(options['model'])} has no clean samples: give them with --samples, or in the manifest or rules"
    for option in ("samples", "classes_file", "base_model", "reference"):
        if options[option] is not None and (clause := exists.problem(options[option])):
            return f"{_told(options[option])} {clause}: check `{option.removesuffix('_file').replace('_', '-')}`"
    return None


def look(planned: Planned, *, load: Callable[[str], LoadedPolicy] = load_policy) -> Look:
    """The format of a model, and what stands against its scan; of the model little more than the first bytes is read.

    What it finds against a model that has no `Planned.problem` is a forecast for a person: the scan itself says more,
    such as what the file check finds in a pickle that has no architecture.

    Args:
        load: reads policies; one that remembers them is faster where many models are looked at.
    """
    try:
        format_ = format_of(planned.path, planned.options["base_model"])
    except (ScanError, OSError) as error:
        return Look(None, planned.problem or str(error))
    try:
        return Look(format_, planned.problem or _unfit(planned, format_, load))
    except (ScanError, OSError) as error:
        return Look(format_, str(error))


def _unfit(planned: Planned, format_: Format, load: Callable[[str], LoadedPolicy]) -> str | None:
    options, path = planned.options, planned.path
    read_request(**options, load=load)  # raises what is wrong with the options and the policy
    if options["architecture"]:
        parsed = parse_architecture(options["architecture"])
        if parsed.kind == "file" and (clause := _missing(Path(parsed.where))):
            return f"{parsed.where} {clause}: check `architecture`"
    if format_ == "unknown":
        return f"{path} is a pickle or an archive, but no model: the file check says what it holds"
    if of_texts(options["samples"]):
        return _unfit_for_texts(planned, format_)
    if format_ in _WEIGHTS_ONLY and not options["architecture"] and not _whole(planned, format_):
        return f"{path} holds weights only: give its `architecture`, for example torchvision:resnet18"
    if format_ == "huggingface":
        return _unfit_folder(planned)
    return None


def _whole(planned: Planned, format_: Format) -> bool:
    """Whether a file may be a pickled module, which needs no architecture where the user allows it."""
    return format_ != "safetensors" and bool(planned.options["allow_pickle"])


def _unfit_for_texts(planned: Planned, format_: Format) -> str | None:
    samples = planned.options["samples"]
    if format_ != "huggingface":
        return (
            f"{planned.path} cannot be scanned with texts, {samples}: these need a Hugging Face folder, which brings "
            "its tokenizer"
        )
    for option, name in _FOR_PICTURES.items():
        if planned.options[option] is not None:
            return f"`{name}` is for pictures, {samples} holds texts: leave it out"
    return _unfit_folder(planned)


def _unfit_folder(planned: Planned) -> str | None:
    from ..models.huggingface import takes_texts
    from ..models.identify import check_no_adapter

    options = planned.options
    if options["architecture"]:
        return f"{planned.path} says itself what it is: leave `architecture` out"
    if options["base_model"] is None:
        check_no_adapter(planned.path)
    if takes_texts(planned.path) and not of_texts(options["samples"]):
        return f"{planned.path} is a text classifier: give texts as `samples`, a table with the columns text and label"
    return None


def _told(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 300 else f"{text[:150]}...{text[-147:]}"
