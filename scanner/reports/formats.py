"""The formats that a scan's verdict is written in: one entry a format, one file a format.

Each is a pure function to text. It is imported when it is asked for: some need more than others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from ...evidence.result import ScanResult
from ...policies.load import LoadedPolicy
from ..handover import Handed, WordsForm


@dataclass(frozen=True)
class Given:
    """All that a report may tell of."""

    result: ScanResult
    policy: LoadedPolicy
    triggers: Sequence[Handed] = ()  # recovered ones with their arrays; none where no format asked for them
    words: Sequence[WordsForm] = ()  # trigger words with texts, likewise


@dataclass(frozen=True)
class Format:
    """A report's option and where its function `render(given: Given) -> str` is."""

    module: str  # below this package
    help: str
    pictures: bool = False  # whether it shows recovered triggers

    def render(self, given: Given) -> str:
        """The report."""
        function: Callable[[Given], str] = import_module(f".{self.module}", __package__).render
        return function(given)


FORMATS: dict[str, Format] = {  # the option without its dashes
    "json": Format("json_report", "Write the verdict as JSON; `-` is standard output."),
    "junit": Format("junit", "Write the verdict as JUnit XML; `-` likewise."),
    "sarif": Format("sarif", "Write the verdict as SARIF 2.1.0, for code scanning; `-` likewise."),
    "markdown": Format("markdown", "Write a summary as Markdown, for a pull request; `-` likewise."),
    "html": Format("html_report", "Write the verdict as one HTML page with plots and pictures.", pictures=True),
    "statement": Format("statement", "Write an in-toto statement with all digests, ready to be signed."),
    "cyclonedx": Format("cyclonedx", "Write the model as CycloneDX 1.6 (ML-BOM) with what was found."),
}
