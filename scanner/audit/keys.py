"""What a finding hangs on: the model, the samples, the policy, how the model is loaded, and the tool's version.

The same model with the same of all these has the same findings, whatever it is called; that is what a store is asked
for. Limits of time and memory, threads and devices are not among them: they decide whether there is an answer, and the
answer is the same within tolerance.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from ...evidence.errors import ScanError
from ...evidence.result import ModelInfo
from ...policies.load import LoadedPolicy
from ...policies.plugins import CHECKS, EXPOSERS
from ..digests import file_digest, samples_digest
from ..models.arch_args import parse_architecture
from ..request import ScanRequest
from ..tool import tool_version


class Digests:
    """Digests of what models share, each made once: samples of a hundred models are read one time."""

    def __init__(self) -> None:
        self._samples: dict[tuple[Path, Path | None], str] = {}
        self._trees: dict[Path, str] = {}
        self._settings: dict[str, str] = {}

    def samples(self, request: ScanRequest) -> str:
        """Of the clean samples. Raises ScanError where they are missing or cannot be read."""
        place = request.samples, request.classes_file
        if place not in self._samples:
            try:
                self._samples[place] = samples_digest(*place)
            except FileNotFoundError:
                raise ScanError(f"{request.samples} does not exist: check the path of the clean samples") from None
        return self._samples[place]

    def settings(self, request: ScanRequest, policy: LoadedPolicy) -> str:
        """Of all that the findings hang on but the model itself. Raises ScanError."""
        parts: dict[str, Any] = {
            "tool": tool_version(),
            "plugins": _plugins(),
            "policy": policy.sha256,
            "samples": self.samples(request),
            "classes": self._tree(request.classes_file),
            "code": self._code(request.architecture),
            "base": self._tree(request.base_model),
            "reference": self._tree(request.reference),
            "request": request.model_dump(
                mode="json",
                include={
                    "architecture", "arch_args", "mean", "std", "size", "seed", "allow_pickle", "trust_remote_code",
                    "text",
                },
            ),
        }  # fmt: skip
        text = json.dumps(parts, sort_keys=True)
        return self._settings.setdefault(text, hashlib.sha256(text.encode()).hexdigest())

    def _code(self, architecture: str | None) -> str | None:
        """Of the file that builds the model; modules that it imports are not looked at."""
        parsed = parse_architecture(architecture) if architecture else None
        return self._tree(Path(parsed.where)) if parsed and parsed.kind == "file" else None

    def _tree(self, path: Path | None) -> str | None:
        """Of a file, or of names and contents of all files of a folder."""
        if path is None:
            return None
        if path not in self._trees:
            try:
                self._trees[path] = _tree_digest(path)
            except FileNotFoundError:
                raise ScanError(f"{path} does not exist: check the path") from None
        return self._trees[path]


def key_of(settings: str, model: ModelInfo) -> str:
    """Of the findings on this model under these settings; the name of the file is not in it, its format is."""
    parts = [settings, model.sha256, model.format, model.files or {}]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _tree_digest(path: Path) -> str:
    if not path.is_dir():
        return file_digest(path)
    lines = [
        f"{file_digest(place)}  {place.relative_to(path)}\n" for place in sorted(path.rglob("*")) if place.is_file()
    ]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


@cache
def _plugins() -> list[str]:
    """Checks and exposers of other packages, with their versions."""
    points = [*entry_points(group=CHECKS), *entry_points(group=EXPOSERS)]
    dists = {(point.dist.name, point.dist.version) for point in points if point.dist}
    return sorted(f"{name} {number}" for name, number in dists if name != "ebyd-scan")
