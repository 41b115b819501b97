"""What a JSON report or an in-toto statement says, read with distrust: somebody may have edited it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from ..evidence.errors import ScanError
from ..evidence.finding import Finding
from ..evidence.result import ScanResult
from .reports.printable import one_line
from .reports.statement import (
    EXTENSION,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    ScanDetails,
    details_of,
    subjects,
    test_result,
)

MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class Claims:
    """What is claimed, whatever the file's format."""

    kind: Literal["report", "statement"]
    details: ScanDetails
    findings: list[Finding]
    contradictions: list[str] = field(default_factory=list)  # where the file does not agree with itself


def read_claims(path: Path) -> Claims:
    """The claims in a file.

    Raises:
        ScanError: it cannot be read, or is neither a report nor a statement of ebyd-scan; one sentence.
    """
    data = _object(path)
    if "_type" in data:
        return _statement(path, data)
    if "payloadType" in data or "dsseEnvelope" in data:
        raise ScanError(
            f"{path}: is a signed envelope: verify its signature with the tool that made it, and give the statement "
            "that it holds"
        )
    if data.get("bomFormat") == "CycloneDX":
        raise ScanError(
            f"{path}: is a BOM, which does not hold all that is verified: give the JSON report or statement"
        )
    try:
        result = ScanResult.model_validate(data)
    except ValidationError as error:
        raise ScanError(f"{path}: is no valid report: {_first(error)}") from None
    contradictions = []
    if result.model_dump(mode="json") != data:  # defaults were filled in, or values read as others
        contradictions.append("fields are missing, or values are written otherwise than ebyd-scan writes them")
    judged = result.judged  # the repaired model, where the policy wants its verdict
    return Claims("report", details_of(judged), judged.findings, contradictions + _folder(details_of(judged)))


def _statement(path: Path, data: dict[str, Any]) -> Claims:
    predicate = data.get("predicate")
    if data["_type"] != STATEMENT_TYPE or not isinstance(predicate, dict) or EXTENSION not in predicate:
        raise ScanError(f"{path}: is no in-toto statement that ebyd-scan has made")
    if data.get("predicateType") != PREDICATE_TYPE:
        raise ScanError(f"{path}: its predicateType is not {PREDICATE_TYPE}")
    try:
        details = ScanDetails.model_validate(predicate[EXTENSION])
        findings = [Finding(**one.model_dump()) for one in details.checks]
        subject = subjects(details.model)
    except ValidationError as error:
        raise ScanError(f"{path}: is no valid statement: {EXTENSION}: {_first(error)}") from None
    contradictions = _folder(details)
    if data.get("subject") != subject:
        contradictions.append(f"`subject` does not name the model that `{EXTENSION}` names")
    for name, value in test_result(details).items():
        if predicate.get(name) != value:
            contradictions.append(f"`{name}` does not say what `{EXTENSION}` says")
    return Claims("statement", details, findings, contradictions)


def _folder(details: ScanDetails) -> list[str]:
    """A folder's digest is that of the list of its files; see `identify`."""
    model = details.model
    if model.format != "huggingface" or model.sha256 is None:
        return []
    listing = "".join(f"{digest}  {name}\n" for name, digest in (model.files or {}).items())
    with contextlib.suppress(UnicodeEncodeError):  # half a character, which no file's name has
        if hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest() == model.sha256:
            return []
    return ["`model.sha256` is not the digest of the files that `model.files` lists"]


def _object(path: Path) -> dict[str, Any]:
    try:
        if path.is_dir():
            raise ScanError(f"{path}: is a folder; give a JSON report or a statement")
        if path.exists() and not path.is_file():
            raise ScanError(f"{path}: is not a regular file")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ScanError(f"{path}: cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise ScanError(f"{path}: is larger than {MAX_BYTES >> 20} MiB, which no report is")
    try:
        found = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        told = " (nested too deeply)" if isinstance(error, RecursionError) else f": {error}"
        raise ScanError(f"{path}: is no valid JSON{told}"[:1000]) from None
    if not isinstance(found, dict):
        raise ScanError(f"{path}: is neither a JSON report nor a statement of ebyd-scan")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers differ in which of two values they take: a report with both says two things."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _first(error: ValidationError) -> str:
    detail = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, detail["loc"])) or "the whole"
    more = error.error_count() - 1
    return one_line(f"{where}: {detail['msg']}")[:500] + (f" (and {more} more)" if more else "")
