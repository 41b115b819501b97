"""What a finding hangs on: the model, the samples, the policy, how the model is loaded, and the tool's version.

The same model with the same of all these has the same findings, whatever it is called; that is what a store is asked
for. Limits of time and memory, threads and devices are not among them: they decide whether there is an answer, and the
answer is the same within tolerance.
"""

from __future__ import annotations

import glob
import hashlib
import json
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...evidence.errors import ScanError
from ...evidence.result import ModelInfo
from ...policies.load import LoadedPolicy
from ...policies.plugins import CHECKS, EXPOSERS
from ..digests import samples_digest, tree_digest
from ..models.arch_args import parse_architecture
from ..request import ScanRequest
from ..tool import tool_version
from .watched import Watched, state_of


class Digests:
    """Digests of what models share, each made once: samples of a hundred models are read one time."""

    def __init__(self) -> None:
        self._samples: dict[tuple[Path, Path | None], str] = {}
        self._trees: dict[Path, str] = {}
        self._states: dict[Path, str | None] = {}  # before they were read
        self._watched: dict[tuple[Any, ...], Watched] = {}
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
            "reference": self._reference(request.reference),
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

    def watched(self, request: ScanRequest) -> Watched:
        """All that `settings` reads for this request but the samples, which a scan digests itself. Made before it."""
        inputs = request.architecture, request.reference, request.base_model, request.classes_file
        if inputs not in self._watched:  # most models of an audit share them, and looking them up takes a while
            self._watched[inputs] = Watched(partial(_shared, request), self._trees, self._states)
        return self._watched[inputs]

    def _code(self, architecture: str | None) -> Any:
        """Of the code that builds the model; or the version of a library."""
        parsed = parse_architecture(architecture) if architecture else None
        if parsed and parsed.kind in ("torchvision", "timm"):
            return _version(parsed.kind)
        return [self._tree(place) for place in _code(architecture)] or None

    def _reference(self, path: Path | None) -> Any:
        beside = [self._tree(place) for place in _beside(path)]
        return [self._tree(path), *beside] if beside else self._tree(path)

    def _tree(self, path: Path | None) -> str | None:
        """Of a file, or of names and contents of all files of a folder."""
        if path is None:
            return None
        if path not in self._trees:
            self._states[path] = state_of(path)
            try:
                self._trees[path] = tree_digest(path)
            except FileNotFoundError:
                raise ScanError(f"{path} does not exist: check the path") from None
        return self._trees[path]


def key_of(settings: str, model: ModelInfo) -> str:
    """Of the findings on this model under these settings; the name of the file is not in it, its format is."""
    parts = [settings, model.sha256, model.format, model.files or {}]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _shared(request: ScanRequest) -> list[Path]:
    given = [request.classes_file, request.base_model, request.reference]
    return [*filter(None, given), *_code(request.architecture), *_beside(request.reference)]


def _code(architecture: str | None) -> list[Path]:
    """The Python files in the folder of the code that builds the model; none of a library's or of what is not there."""
    parsed = parse_architecture(architecture) if architecture else None
    if parsed is None or parsed.kind in ("torchvision", "timm"):
        return []
    file = Path(parsed.where) if parsed.kind == "file" else _module_file(parsed.where)
    if file is None or not file.exists():
        return []  # the scan tells
    return [place for place in sorted(file.parent.glob("*.py")) if place.is_file()]


def _beside(path: Path | None) -> list[Path]:
    """An ONNX file may have weights beside it, which are called like it by those who write them."""
    if path is None or path.suffix.lower() != ".onnx":
        return []
    return [place for place in sorted(path.parent.glob(f"{glob.escape(path.stem)}*")) if place.is_file()]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def _module_file(name: str) -> Path | None:
    """The file of a module, without importing it or a package that it is in."""
    first, *inner = name.split(".")
    try:
        spec = find_spec(first)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not inner:
        return Path(spec.origin) if spec.origin else None
    for folder in spec.submodule_search_locations or ():
        place = Path(folder).joinpath(*inner)
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None


@cache
def _plugins() -> list[str]:
    """Checks and exposers of other packages, with their versions."""
    points = [*entry_points(group=CHECKS), *entry_points(group=EXPOSERS)]
    dists = {(point.dist.name, point.dist.version) for point in points if point.dist}
    return sorted(f"{name} {number}" for name, number in dists if name != "ebyd-scan")
