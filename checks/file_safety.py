"""Does the file hold anything but weights?"""

from __future__ import annotations

import time
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ..evidence.artifact import Artifact
from ..evidence.context import Evidence
from ..evidence.finding import Finding, Outcome
from .file_walk import FileWalk, offences
from .folder_files import surely_pickle, weight_files, weights_format
from .text import shown
from .zip_layout import Limits

_TOLD = 3  # offences that are told in full


class FileSafety:
    """Walks every pickle and every nested archive of the file, statically, before any loader sees it.

    Loading a PyTorch file can run whatever its pickles import. The check lists their globals with a symbolic
    unpickler and with picklescan, holds them against an allow-list of what tensors and plain values are rebuilt
    with, and fails on anything else; it also fails on archives that two readers could understand differently, on
    zip bombs, on damaged files and on safetensors headers that do not describe their file.
    Nothing is imported, executed or written, and torch is not needed. See docs/checks/file-safety.md.
    """

    id: ClassVar[str] = "file-safety"
    stage: ClassVar[Literal["file", "model", "exposure"]] = "file"

    def __init__(
        self,
        *,
        max_ratio: Annotated[
            float, Field(gt=1, description="unpacked to packed bytes of an archive member that make a zip bomb")
        ] = 100.0,
        max_unpacked_bytes: Annotated[
            int, Field(ge=1 << 20, description="bytes that one archive may unpack into, all members together")
        ] = 68_719_476_736,
        max_members: Annotated[int, Field(ge=1, description="members that one archive may have")] = 100_000,
        max_depth: Annotated[int, Field(ge=0, le=20, description="levels of archives within archives")] = 4,
        max_pickle_bytes: Annotated[
            int, Field(ge=1 << 10, description="size of one pickle, above which it is refused unseen")
        ] = 268_435_456,
    ) -> None:
        self.limits = Limits(max_ratio, max_unpacked_bytes, max_members, max_depth, max_pickle_bytes)

    def run(self, evidence: Evidence) -> Finding:
        """Walk the artifact's file. A file that cannot be read any more is an `error` finding."""
        started = time.monotonic()
        artifact = evidence.artifact
        try:
            walk, found = self._walk(artifact, evidence)
        except OSError as error:
            return Finding(
                check=self.id, outcome=Outcome.ERROR, message=f"The file cannot be read: {error.strerror or error}."
            )
        return Finding(
            check=self.id,
            outcome=Outcome.FAILED if found else Outcome.PASSED,
            message=self._message(found, walk.pickles, walk.archives),
            score=len(found),
            threshold=0,
            metrics={
                "pickles": walk.pickles,
                "archives": walk.archives,
                "members": walk.members,
                "globals": len(walk.globals),
            },
            seconds=time.monotonic() - started,
        )

    def _walk(self, artifact: Artifact, evidence: Evidence) -> tuple[FileWalk, list[str]]:
        """The file, or every file of a folder that holds weights or could be unpickled, as one walk."""
        whole, found = FileWalk(), list[str]()
        parts = [(artifact.path, artifact.format, "", True)]
        if artifact.format == "huggingface":
            loaded = set(weight_files(artifact.path))
            places = [(name, artifact.place(name)) for name in artifact.files]
            parts = [
                (path, kind, f"{shown(name)}: ", kind != "unknown" or surely_pickle(name) or name in loaded)
                for name, path in places
                if (kind := weights_format(path))
            ]
        for path, kind, prefix, sure in parts:
            walk, problems = offences(
                path,
                kind,
                allow_pickle=evidence.allow_pickle,
                trusted_modules=evidence.trusted_modules,
                limits=self.limits,
                sure=sure,
            )
            found += [prefix + problem for problem in problems]
            whole.globals |= walk.globals
            whole.pickles, whole.archives = whole.pickles + walk.pickles, whole.archives + walk.archives
            whole.members += walk.members
        return whole, found

    @staticmethod
    def _message(found: list[str], pickles: int, archives: int) -> str:
        if not found:
            looked = [f"{pickles} pickle{'s' * (pickles != 1)}" * bool(pickles), "an archive" * bool(archives)]
            inside = " and ".join(part for part in looked if part)
            return f"The file holds weights and plain values only{f' ({inside} looked through)' if inside else ''}."
        rest = len(found) - _TOLD
        more = f"; and {rest} more" if rest > 0 else ""
        hint = ""
        if any("whole pickled model" in text for text in found):
            hint = (
                " To convert a whole model, load it where it was made and save `model.state_dict()` with safetensors, "
                "or pass --allow-pickle if you trust where it comes from."
            )
        return f"The file must not be loaded: {'; '.join(found[:_TOLD])}{more}.{hint}"
