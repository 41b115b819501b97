"""What `ebyd-scan inspect` gathers about files: static, in this process, without torch and without samples."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..checks.file_safety import FileSafety
from ..checks.folder_files import ADAPTER_CONFIG, CONFIG, is_adapter_folder, read_json
from ..checks.graph_logic import GraphLogic
from ..checks.onnx_head import OnnxHead, onnx_head
from ..evidence.artifact import Artifact, Format
from ..evidence.context import Evidence, Progress, silent
from ..evidence.errors import ScanError
from ..evidence.finding import Finding, Outcome
from ..evidence.result import ToolInfo, Verdict
from .models.identify import identify
from .models.parameter_count import count_numbers

SCHEMA_VERSION: Literal["1"] = "1"
_CONFIGS = (CONFIG, "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
_MAX_TEXT = 200  # characters of a name out of a file
_MAX_ERROR = 1000  # characters of a sentence
# Worst first. A failed file is told before one that could not be looked at: it is known to be bad.
_ORDER = (Verdict.FAILED, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASSED)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HuggingFaceFacts(_Part):
    """What a Hugging Face folder says about its model."""

    model_type: str | None
    architectures: list[str]
    labels: int | None  # None where the configuration does not say
    adapter: str | None = None  # of an adapter its kind, as LORA; the rest is then told by its model's folder
    base_model: str | None = None  # that an adapter names
    remote_code: bool  # asks for Python code to be run that comes with it


class InspectedFile(_Part):
    """One file or folder: what it is and what the checks found; as far as it went, where it could not be read."""

    path: str
    verdict: Verdict
    format: Format | None = None
    size: int | None = None  # bytes, of all files together
    sha256: str | None = None  # of a folder that of its list of files and their digests
    files: dict[str, str] = Field(default_factory=dict)  # in the folder, or with weights beside an .onnx -> SHA-256
    parameters: int | None = None  # numbers in the weights; None where that cannot be told without loading them
    types: dict[str, int] = Field(default_factory=dict)  # the same by type, as safetensors calls it
    onnx: OnnxHead | None = None
    huggingface: HuggingFaceFacts | None = None
    findings: list[Finding] = Field(default_factory=list)
    error: str | None = None  # one sentence: why it could not be inspected


class Inspection(_Part):
    """The JSON report of `inspect` is exactly this."""

    schema_version: Literal["1"] = SCHEMA_VERSION
    tool: ToolInfo
    verdict: Verdict  # the worst of all files
    exit_code: int
    files: list[InspectedFile]


def inspection_of(files: list[InspectedFile]) -> Inspection:
    """The whole answer. No file at all is an error: nothing inspected is never a pass."""
    found = {file.verdict for file in files}
    verdict = next((verdict for verdict in _ORDER if verdict in found), Verdict.ERROR)
    tool = ToolInfo(version=version("ebyd-scan"))
    return Inspection(tool=tool, verdict=verdict, exit_code=verdict.exit_code, files=files)


def distinct(paths: Iterable[Path]) -> Iterator[Path]:
    """The paths without those that lead to a file or folder that was named before."""
    seen = set[Path]()
    for path in paths:
        try:
            place = path.resolve()
        except (OSError, RuntimeError, ValueError):  # a loop of links: told when it is read
            place = path.absolute()
        if place not in seen:
            seen.add(place)
            yield path


def inspect_file(path: Path, *, allow_pickle: bool = False, progress: Progress = silent) -> InspectedFile:
    """Identify the file, check it, count its weights. Never raises but for an interrupt: what goes wrong is told."""
    known: dict[str, Any] = {}
    findings: list[Finding] = []
    error = None
    try:
        _gather(path, allow_pickle, progress, known, findings)
    except ScanError as problem:
        error = str(problem)
    except OSError as problem:
        error = f"{path} cannot be read ({problem.strerror or problem}): check the disk it is on"
    except Exception as problem:  # a reader that a hostile file has broken: the other files are still inspected
        text = (str(problem).strip().splitlines() or ["no more is known"])[0]
        error = f"{path} could not be inspected ({type(problem).__name__}: {text}): treat it as not inspected"
    return InspectedFile(
        path=_told(str(path)),
        verdict=_verdict(findings, error),
        findings=findings,
        error=None if error is None else _told(error)[:_MAX_ERROR],
        **known,
    )


def _gather(path: Path, allow_pickle: bool, progress: Progress, known: dict[str, Any], findings: list[Finding]) -> None:
    progress(path.name, 0, 2)
    if path.suffix == ".onnx" and path.is_file():  # before anything unfolds it
        known["onnx"] = head = _onnx_head(path)
        known["types"], known["parameters"] = head.weights, sum(head.weights.values())
    artifact = identify(path)
    known |= {"format": artifact.format, "size": artifact.size, "sha256": artifact.sha256}
    known["files"] = {_told(name): digest for name, digest in artifact.files.items()}
    progress(path.name, 1, 2)
    evidence = Evidence(artifact=artifact, seed=0, allow_pickle=allow_pickle)
    findings.append(FileSafety().run(evidence))
    if artifact.format == "huggingface":
        known["huggingface"] = _folder_facts(artifact)
    if findings[0].outcome is Outcome.PASSED and "onnx" not in known:
        numbers = count_numbers(artifact)
        if numbers is not None:
            known["types"], known["parameters"] = numbers, sum(numbers.values())
    findings.append(GraphLogic().run(evidence))
    progress(path.name, 2, 2)


def _verdict(findings: list[Finding], error: str | None) -> Verdict:
    outcomes = {finding.outcome for finding in findings}
    if Outcome.FAILED in outcomes:
        return Verdict.FAILED
    if error is not None or Outcome.ERROR in outcomes:
        return Verdict.ERROR
    return Verdict.INCONCLUSIVE if Outcome.INCONCLUSIVE in outcomes else Verdict.PASSED


def _onnx_head(path: Path) -> OnnxHead:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return onnx_head(path, view)
    except ValueError:  # nothing in it
        raise ScanError(f"{path} is empty: check the step that wrote it") from None


def _folder_facts(artifact: Artifact) -> HuggingFaceFacts:
    tables = {name: read_json(artifact.path / name) for name in _CONFIGS if name in artifact.files}
    if is_adapter_folder(artifact.path):
        tables[ADAPTER_CONFIG] = changes = read_json(artifact.path / ADAPTER_CONFIG)
        config, own_code = tables.get(CONFIG, {}), _own_code(changes)
    else:
        config = tables[CONFIG] if CONFIG in tables else read_json(artifact.path / CONFIG)
        changes, own_code = {}, False
    kind, architectures = config.get("model_type"), config.get("architectures")
    names, count = config.get("id2label"), config.get("num_labels")
    labels = len(names) if isinstance(names, dict) else count if type(count) is int else None
    return HuggingFaceFacts(
        model_type=_told(kind)[:_MAX_TEXT] if isinstance(kind, str) else None,
        architectures=[
            _told(name)[:_MAX_TEXT]
            for name in (architectures if isinstance(architectures, list) else [])[:10]
            if isinstance(name, str)
        ],
        labels=labels,
        adapter=_name(changes.get("peft_type"), "unknown kind") if changes else None,
        base_model=_name(changes.get("base_model_name_or_path"), None),
        remote_code=own_code or any(table.get("auto_map") for table in tables.values()),
    )


def _own_code(changes: dict[str, Any]) -> bool:
    """Whether an adapter names a class of its model that is not transformers' own."""
    mapping = changes.get("auto_mapping")
    library = mapping.get("parent_library") if isinstance(mapping, dict) else mapping
    return bool(library) and not str(library).startswith("transformers.")


def _name(value: object, otherwise: str | None) -> str | None:
    return _told(value)[:_MAX_TEXT] if isinstance(value, str) and value else otherwise


def _told(text: str) -> str:
    """A name may be any bytes; reports are Unicode."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
