"""Does the graph of an ONNX file decide anything that its weights should decide?"""

from __future__ import annotations

import time
from typing import ClassVar, Literal

from ..evidence.context import Evidence
from ..evidence.errors import MissingExtra
from ..evidence.finding import Finding, Outcome

_TOLD = 3  # offences that are told in full


class GraphLogic:
    """Reads the graph of an ONNX file, statically, and looks for a backdoor that sits in its nodes.

    An ONNX file is a program: it can compare pixels or token ids and put out scores of its own, with weights that are
    clean. The check follows what every tensor is made from, from the inputs to the scores, and fails where a decision
    meets data in a way that no layer of a classifier does, where the input reaches the scores around the layers, and
    where the graph needs chance, a second input, or code that is not in the file.
    Only nodes, names and small constants are looked at; nothing is executed. See docs/checks/graph-logic.md.
    """

    id: ClassVar[str] = "graph-logic"
    stage: ClassVar[Literal["file", "model", "exposure"]] = "file"

    def run(self, evidence: Evidence) -> Finding:
        """Read the artifact's graph. Raises ScanError where it cannot be read."""
        started = time.monotonic()
        artifact = evidence.artifact
        if artifact.format != "onnx":
            return Finding(
                check=self.id,
                outcome=Outcome.SKIPPED,
                message=f"For ONNX files only, this is {artifact.format}.",
            )
        try:
            from .graph_offences import offences
        except ModuleNotFoundError:
            raise MissingExtra("onnx", "onnx") from None
        found, metrics = offences(artifact.path)
        return Finding(
            check=self.id,
            outcome=Outcome.FAILED if found else Outcome.PASSED,
            message=self._message(found),
            score=len(found),
            threshold=0,
            metrics=metrics,
            seconds=time.monotonic() - started,
        )

    @staticmethod
    def _message(found: list[str]) -> str:
        if not found:
            return "The graph only computes: no node of it decides by itself what the scores are."
        rest = len(found) - _TOLD
        more = f"; and {rest} more" if rest > 0 else ""
        return f"The graph holds logic of its own: {'; '.join(found[:_TOLD])}{more}."
