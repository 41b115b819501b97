"""What the SARIF reports of `scan` and of `inspect` are made of; both follow what GitHub's code scanning reads.

Sources: SARIF 2.1.0 (OASIS, sections 3.4, 3.11, 3.20, 3.27) and GitHub's "SARIF support for code scanning".
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import PurePath, PurePosixPath
from typing import Any, Literal
from urllib.parse import quote

from ...evidence.finding import Finding, Outcome
from .figures import label_text, score_text, witness_text
from .json_report import as_json
from .printable import one_line
from .sarif_rules import rule_id, rules

Level = Literal["error", "warning", "note"]
MAX_RESULTS = 5000  # of more than these GitHub shows as many
_MAX_TEXT = 4000  # characters of a message, as long as a finding's may be
_MAX_VALUE = 500  # characters of a text in a property
_MAX_ITEMS = 50  # entries of a table in a property
_DETAILED = 200  # results with all their figures; messages have them too, and an upload may have 10 MB
_SHA256 = re.compile("[0-9a-f]{64}")
_SEMANTIC = re.compile(r"\d+\.\d+\.\d+")
_ROOT = "%SRCROOT%"


@dataclass
class Run:
    """A SARIF run in the making."""

    version: str  # of ebyd-scan
    directory: PurePath  # that relative paths start from: GitHub takes it for the repository's root
    most: int  # results, and notifications, that are written
    category: str  # of the analysis; a later upload in the same category replaces an earlier one
    most_told: int | None = None  # notifications that are written, where these are others
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    notifications: list[dict[str, Any]] = field(default_factory=list)
    _names: dict[int, str] = field(default_factory=dict)
    _seen: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add_artifact(self, path: str, sha256: str | None, properties: Mapping[str, Any], name: str = "") -> int:
        """The file or folder that was looked at; its place in the list.

        Where models may share a file, `name` tells them apart, in fingerprints too.
        """
        location = {**location_of(path, self.directory), "index": len(self.artifacts)}
        artifact: dict[str, Any] = {"location": location, "roles": ["analysisTarget"]}
        if sha256 and _SHA256.fullmatch(sha256):  # that of a folder is of the list of its files
            artifact["hashes"] = {"sha-256": sha256}
        if properties:
            artifact["properties"] = cleaned(properties)
        self._names[len(self.artifacts)] = name
        self.artifacts.append(artifact)
        return len(self.artifacts) - 1

    def add_finding(self, finding: Finding, level: Level, artifact: int) -> None:
        """A finding about the whole file, with its figures unless there are too many."""
        detailed = len(self.results) < _DETAILED
        properties = properties_of(finding) if detailed else {"outcome": finding.outcome.value}
        self.add_result(finding.check, level, describe(finding), artifact, properties, finding.label)

    def add_result(
        self,
        check: str,
        level: Level,
        text: str,
        artifact: int,
        properties: Mapping[str, Any],
        label: int | None = None,
    ) -> None:
        """A result about the whole file.

        It has no region: the file is binary, and GitHub's upload would read it line by line to hash the line named.
        """
        location = self.artifacts[artifact]["location"]
        known = self.artifacts[artifact].get("hashes", {}).get("sha-256") or PurePosixPath(location["uri"]).name
        mark = fingerprint(known, rule_id(check), label, self._names[artifact])
        copy = mark, location["uri"]  # GitHub adds the path to a fingerprint; copies of a file are told apart by it
        self._seen[copy] += 1
        self.results.append(
            {
                "ruleId": rule_id(check),
                "kind": "fail",  # others may not have a level, and readers then hide them, or show them all alike
                "level": level,
                "message": {"text": message(text)},
                "locations": [{"physicalLocation": {"artifactLocation": location}}],
                "partialFingerprints": {"primaryLocationLineHash": f"{mark}:{self._seen[copy]}"},
                "properties": cleaned(properties),
            }
        )

    def notify(self, check: str, level: Level, text: str, artifact: int | None = None) -> None:
        """Something that the run has to say and that is no result: a check that was skipped, say."""
        notification: dict[str, Any] = {
            "level": level,
            "message": {"text": message(text)},
            "associatedRule": {"id": rule_id(check)},
        }
        if artifact is not None:
            location = self.artifacts[artifact]["location"]
            notification["locations"] = [{"physicalLocation": {"artifactLocation": location}}]
        self.notifications.append(notification)

    def to_text(self, invocation: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
        """The whole log as JSON, ASCII only; what goes beyond the limits is left out, the least grave first."""
        results = _worst(self.results, self.most)
        notifications = _worst(self.notifications, self.most if self.most_told is None else self.most_told)
        if left := len(self.results) - len(results):
            text = f"{left} more results were left out: at most {self.most} are written."
            notifications.append({"level": "warning", "message": {"text": text}})
        told, places = rules([entry["ruleId"] for entry in results] + _associated(notifications))
        for entry in results:
            entry["ruleIndex"] = places[entry["ruleId"]]
        for entry in notifications:
            if "associatedRule" in entry:
                entry["associatedRule"]["index"] = places[entry["associatedRule"]["id"]]
        driver: dict[str, Any] = {"name": "ebyd-scan", "version": one_line(self.version), "rules": told}
        if _SEMANTIC.fullmatch(self.version):
            driver["semanticVersion"] = self.version
        run = {
            "tool": {"driver": driver},
            "automationDetails": {"id": f"ebyd-scan/{self.category}/"},
            "originalUriBaseIds": {_ROOT: {"description": {"text": "The folder that ebyd-scan was started in."}}},
            "invocations": [{**invocation, "toolExecutionNotifications": notifications}],
            "artifacts": self.artifacts,
            "results": results,
            "properties": cleaned(properties),
        }
        schema = "https://json.schemastore.org/sarif-2.1.0.json"
        return as_json({"$schema": schema, "version": "2.1.0", "runs": [run]})


def times_of(started: str, seconds: float | None) -> dict[str, str]:
    """Start and end of an invocation in UTC, as far as they are known.

    Args:
        started: ISO 8601; UTC where it names no zone.
        seconds: how long it took.
    """
    times = {}
    try:
        start = datetime.fromisoformat(started)
        start = start.astimezone(UTC) if start.tzinfo else start.replace(tzinfo=UTC)
        times["startTimeUtc"] = f"{start:%Y-%m-%dT%H:%M:%SZ}"
        if seconds is not None:
            times["endTimeUtc"] = f"{start + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError):  # no time, or none that a calendar has
        pass
    return times


def location_of(path: str, directory: PurePath) -> dict[str, str]:
    """A SARIF `artifactLocation`: relative below `directory`, else a `file` URI; percent-encoded, forward slashes.

    `..` is taken out as text, links are not followed.
    """
    whole = os.path.normpath(directory / path)
    try:
        below = PurePath(whole).relative_to(directory).as_posix()
    except ValueError:
        return {"uri": "file://" + _quoted(PurePath(whole).as_posix())}
    return {"uri": _quoted(below), "uriBaseId": _ROOT}


def fingerprint(known: str, rule: str, label: int | None, name: str = "") -> str:
    """The same for the same bytes, check, label and name: 32 hex digits.

    Scores and messages are not in it, which change with a seed. The path is not either; GitHub adds it by itself.
    The digest is, so that an alert that was dismissed comes back when the file is another one.
    """
    named = [name] if name else []
    parts = "\n".join(["ebyd-scan/1", known, rule, "" if label is None else str(label), *named])
    return hashlib.sha256(parts.encode("utf-8", "replace")).hexdigest()[:32]


def describe(finding: Finding) -> str:
    """The finding's sentence, then its figures: GitHub shows the first sentence as the title."""
    lead = {Outcome.INCONCLUSIVE: "Cannot tell: ", Outcome.ERROR: "Not checked: "}.get(finding.outcome, "")
    label = label_text(finding)
    facts = [None if label is None else f"label {label}", score_text(finding)]
    figures = ", ".join(fact for fact in facts if fact)
    parts = [lead + (one_line(finding.message) or "no reason given.")]
    if figures:
        parts.append(figures[0].upper() + figures[1:] + ".")
    if finding.witness is not None:
        parts.append(f"Witness: {witness_text(finding.witness, finding.label_name)}.")
    return " ".join(parts)


def properties_of(finding: Finding) -> dict[str, Any]:
    """The figures of a finding, for machines."""
    fields = {"outcome", "score", "threshold", "label", "label_name", "witness", "metrics", "seconds"}
    told: dict[str, Any] = finding.model_dump(mode="json", include=fields, exclude_none=True)
    return told | ({"samples": finding.samples[:_MAX_ITEMS]} if finding.samples else {})


def message(text: str) -> str:
    """One line without control characters; what SARIF would take for a link is none any more."""
    return one_line(text)[:_MAX_TEXT].replace("](", "] (") or "no reason given."


def cleaned(value: Any) -> Any:
    """The same, with text of one line and of bounded length, and tables of bounded length."""
    if isinstance(value, str):
        return one_line(value[: 2 * _MAX_VALUE])[:_MAX_VALUE]
    if isinstance(value, Mapping):
        return {str(cleaned(str(name))): cleaned(item) for name, item in list(value.items())[:_MAX_ITEMS]}
    if isinstance(value, Sequence):
        return [cleaned(item) for item in value[:_MAX_ITEMS]]
    return value


def _quoted(path: str) -> str:
    return quote(path, safe="/", errors="replace")


def _worst(entries: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """All of them in their order, or the gravest `most`."""
    if len(entries) <= most:
        return list(entries)
    grave = ("error", "warning", "note")
    return sorted(entries, key=lambda entry: grave.index(entry["level"]))[:most]


def _associated(notifications: list[dict[str, Any]]) -> list[str]:
    return [entry["associatedRule"]["id"] for entry in notifications if "associatedRule" in entry]
