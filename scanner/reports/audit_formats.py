"""The formats that an audit is written in, as `formats.py` has those of a scan: one entry and one file a format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from ...evidence.audit import Audit


@dataclass(frozen=True)
class AuditFormat:
    """A report's option and where its function `render(audit: Audit) -> str` is."""

    module: str  # below this package
    help: str

    def render(self, audit: Audit) -> str:
        """The report."""
        function: Callable[[Audit], str] = import_module(f".{self.module}", __package__).render
        return function(audit)


AUDIT_FORMATS: dict[str, AuditFormat] = {  # the option without its dashes
    "json": AuditFormat("audit_json", "Write the audit as JSON; `-` is standard output."),
    "junit": AuditFormat("audit_junit", "Write one JUnit XML with a suite a model; `-` likewise."),
    "sarif": AuditFormat("audit_sarif", "Write one SARIF 2.1.0 log over all models, for code scanning; `-` likewise."),
    "csv": AuditFormat("audit_csv", "Write a table with a row a model, for a spreadsheet; `-` likewise."),
    "html": AuditFormat("audit_html", "Write a folder with an index page, to sort and to search, and a page a model."),
}
