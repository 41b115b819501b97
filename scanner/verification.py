"""Is what a report names still what was scanned, and does the report agree with itself? Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ..checks.folder_files import ADAPTER_CONFIG, folder_files, is_adapter_folder, is_model_folder
from ..evidence.artifact import BASE
from ..evidence.errors import ScanError
from ..evidence.finding import Outcome
from ..evidence.result import ToolInfo, Verdict
from ..policies.decide import decide
from ..policies.load import LoadedPolicy, built_in_names, load_policy
from .digests import file_digest, samples_digest
from .report_claims import Claims, read_claims

SCHEMA_VERSION: Literal["1"] = "1"


class Status(StrEnum):
    """What became of one thing that a report names."""

    SAME = "same"
    CHANGED = "changed"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    UNCHECKED = "not checked"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(_Part):
    """One thing that was looked at."""

    what: Literal["report", "model", "samples", "policy", "verdict"]
    status: Status
    message: str  # one sentence
    path: str | None = None
    expected: str | None = None  # as the report says it
    found: str | None = None


class Verification(_Part):
    """The JSON output of `verify-report` is exactly this."""

    schema_version: Literal["1"] = SCHEMA_VERSION
    tool: ToolInfo
    report: str
    kind: Literal["report", "statement"]
    verdict: Verdict  # that the report claims
    exit_code: int
    items: list[Item]


def verify(
    report: Path,
    *,
    model: Path | None = None,
    base_model: Path | None = None,
    samples: Path | None = None,
    classes_file: Path | None = None,
    policy: str | None = None,
) -> Verification:
    """Compare a report or statement with what is on disk, and with itself.

    Paths that are not given are the report's own, from the current folder.

    Raises:
        ScanError: the report cannot be read or is none.
        UsageError: the policy that is given is not there or not valid.
    """
    loaded = None if policy is None else load_policy(policy)
    claims = read_claims(report)
    items = [_self(claims), *_model(claims, model, base_model), _samples(claims, samples, classes_file)]
    known, item = _policy(claims, loaded)
    items += [item, _verdict(claims, known)]
    return Verification(
        tool=ToolInfo(version=version("ebyd-scan")),
        report=str(report),
        kind=claims.kind,
        verdict=claims.details.verdict,
        exit_code=exit_code(items),
        items=items,
    )


def exit_code(items: list[Item]) -> int:
    """0 all as it was, 1 something changed or is missing, 3 something cannot be read, 4 something was not checked."""
    found = {item.status for item in items}
    if {Status.CHANGED, Status.MISSING} & found:
        return 1
    return 3 if Status.UNREADABLE in found else 4 if Status.UNCHECKED in found else 0


def _self(claims: Claims) -> Item:
    if claims.contradictions:
        return Item(what="report", status=Status.CHANGED, message=f"edited: {'; '.join(claims.contradictions)}.")
    by = f"written by ebyd-scan {claims.details.tool.version}, {claims.details.started}"
    return Item(what="report", status=Status.SAME, message=f"A valid {claims.kind}, {by}.")


def _model(claims: Claims, given: Path | None, base: Path | None) -> Iterator[Item]:
    told = claims.details.model
    path = given or Path(told.path)
    if told.sha256 is None:
        message = "The report has no digest: the model could not be read."
        yield Item(what="model", status=Status.UNCHECKED, message=message, path=str(path))
        return
    files = told.files or {}
    if told.format != "huggingface":
        yield _file("model", path, told.sha256)
        for name, digest in files.items():  # beside an ONNX file
            yield _part(path.parent, name, digest)
        return
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as error:  # too long a name, or no right to look
        message = f"It cannot be read: {error.strerror}."
        yield Item(what="model", status=Status.UNREADABLE, message=message, path=str(path), expected=told.sha256)
        return
    if not is_folder:
        status, message = (
            (Status.CHANGED, "A folder was scanned, and this is a file.")
            if is_there
            else (Status.MISSING, "It is not there; say where it is with --model.")
        )
        yield Item(what="model", status=status, message=message, path=str(path), expected=told.sha256)
        return
    adapter = ADAPTER_CONFIG in files  # whose base model's files have names of their own
    own = {name: digest for name, digest in files.items() if not (adapter and name.startswith(BASE))}
    for name, digest in files.items():
        if name in own:
            yield _part(path, name, digest)
        elif base is None:
            message = "It is the base model's; say where that is with --base-model."
            yield Item(what="model", status=Status.UNCHECKED, message=message, path=name, expected=digest)
        else:
            yield _part(base, name.removeprefix(BASE), digest)
    yield from _added(path, own)
    if adapter and base is not None:
        yield from _added(base, {name.removeprefix(BASE): files[name] for name in files if name not in own})


def _part(folder: Path, name: str, digest: str) -> Item:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        message = "The report names a file outside of the model's folder, which no scan reads."
        return Item(what="model", status=Status.CHANGED, message=message, path=name, expected=digest)
    return _file("model", folder / name, digest)


def _added(folder: Path, files: dict[str, str]) -> Iterator[Item]:
    """Files that a loader would read and that were not there when it was scanned."""
    try:
        now = folder_files(folder) if is_model_folder(folder) or is_adapter_folder(folder) else []
    except ScanError:  # weights are missing, which has been told
        return
    for name in now:
        if name not in files:
            message = "It was not there when the folder was scanned, and a loader would read it."
            yield Item(what="model", status=Status.CHANGED, message=message, path=str(folder / name))


def _samples(claims: Claims, given: Path | None, classes_file: Path | None) -> Item:
    told = claims.details.samples
    path = given or Path(told.path)
    if told.sha256 is None:
        message = "The report has no digest: the scan ended before they were read."
        return Item(what="samples", status=Status.UNCHECKED, message=message, path=str(path))
    return _file("samples", path, told.sha256, classes_file)


def _file(what: Literal["model", "samples"], path: Path, expected: str, classes_file: Path | None = None) -> Item:
    found = None
    try:
        found = file_digest(path) if what == "model" else samples_digest(path, classes_file)
        status = Status.SAME if found == expected else Status.CHANGED
        message = "The SHA-256 is the report's." if status is Status.SAME else "The SHA-256 is not the report's."
        if status is Status.CHANGED and path.is_dir() and classes_file is None:
            message += " If the scan was given --classes, give it here too."
    except FileNotFoundError:
        status, message = Status.MISSING, f"It is not there; say where it is with --{what}."
    except ScanError as problem:
        status, message = Status.UNREADABLE, str(problem)
    return Item(what=what, status=status, message=message, path=str(path), expected=expected, found=found)


def _policy(claims: Claims, given: LoadedPolicy | None) -> tuple[LoadedPolicy | None, Item]:
    """The policy that the scan was made with, if it is known, and what is to be said about it."""
    told = claims.details.policy
    loaded = given
    if loaded is None and told.name in built_in_names():
        loaded = load_policy(told.name)
    if loaded is not None and loaded.sha256 == told.sha256:
        source = "the one that is shipped" if loaded.source == "built-in" else loaded.source
        message = f"{told.name!r} is {source}; the SHA-256 is the report's."
        return loaded, Item(what="policy", status=Status.SAME, message=message, path=told.name, found=loaded.sha256)
    if given is None:
        message = f"The report's policy {told.name!r} is not one that is shipped with this version; give it: --policy."
        return None, Item(what="policy", status=Status.UNCHECKED, message=message, path=told.name, expected=told.sha256)
    return None, Item(
        what="policy",
        status=Status.CHANGED,
        message=f"The SHA-256 is not the report's, whose policy is called {told.name!r}.",
        path=given.source if given.source != "built-in" else given.policy.name,
        expected=told.sha256,
        found=given.sha256,
    )


def _verdict(claims: Claims, policy: LoadedPolicy | None) -> Item:
    """Whether the policy gives this verdict, and this reason, for these findings."""
    told = claims.details
    if policy is None:
        message = f"Whether {told.verdict.value!r} follows from the findings can be said with the report's policy only."
        return Item(what="verdict", status=Status.UNCHECKED, message=message, expected=told.verdict.value)
    verdict, reason = decide(policy.policy, claims.findings)
    found = {"expected": told.verdict.value, "found": verdict.value}
    if verdict is not told.verdict:
        message = f"The report says {told.verdict.value!r}, but its findings give {verdict.value!r} under the policy."
        return Item(what="verdict", status=Status.CHANGED, message=message, **found)
    # A scan that ended early gives its own reason, and says so in a finding that is cut at 4000 characters.
    ended = [f.message for f in claims.findings if f.check == "scan" and f.outcome is Outcome.ERROR]
    if told.reason != reason and told.reason[:4000] not in ended:
        message = "The report's reason is not the one that its findings give under the policy."
        return Item(what="verdict", status=Status.CHANGED, message=message, expected=told.reason, found=reason)
    message = f"{told.verdict.value!r} is what the findings give under the policy."
    return Item(what="verdict", status=Status.SAME, message=message, **found)
