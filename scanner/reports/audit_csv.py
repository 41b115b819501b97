"""An audit as a table for a spreadsheet or a data frame: a row a model, a column a check.

RFC 4180: commas, double quotes, CRLF, a header. Text is on one line, control characters in it are written out. A text
that a spreadsheet would take for a formula gets an apostrophe in front, which most show as the text itself; what reads
the file with another tool takes it off again.
"""

from __future__ import annotations

import csv
from io import StringIO

from ...evidence.audit import Audit, AuditedModel
from ...evidence.finding import Finding
from .audit_words import Unique, by_check, telling, total_seconds
from .html_names import clip
from .printable import one_line

_MAX_TEXT = 8000  # characters; spreadsheets take 32,767 in a cell
# The wide forms too: spreadsheets set to East Asian languages read them as the narrow ones.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
_FIRST = ("name", "path", "sha256", "format", "architecture", "verdict", "reason", "label", "label_name")
_LAST = ("source", "seconds", "samples_path", "samples_sha256", "samples_count", "policy", "policy_sha256", "seed")
_VERSIONS = ("tool_version", "started")


def render(audit: Audit) -> str:
    """A row a model in the order of the plan; what was left out is not in it.

    A check has two columns, `CHECK` with the gravest outcome of it and `CHECK.score`; both are empty where it did not
    run. Figures are written as they are.
    """
    checks = list(dict.fromkeys(one.check for model in audit.models for one in model.result.judged.findings))
    unique = Unique(*_FIRST, *_LAST, *_VERSIONS)
    heads = [(unique(_text(check)), unique(f"{_text(check)}.score")) for check in checks]
    output = StringIO()
    writer = csv.writer(output, lineterminator="\r\n")
    writer.writerow([*_FIRST, *(head for pair in heads for head in pair), *_LAST, *_VERSIONS])
    for model in audit.models:
        writer.writerow(_row(model, checks))
    return output.getvalue()


def _row(model: AuditedModel, checks: list[str]) -> list[str]:
    result = model.result.judged
    found = telling(result)
    ended = by_check(result.findings)
    samples, policy = result.samples, result.policy
    return [
        _text(model.name),
        _text(result.model.path),
        _text(result.model.sha256),
        _text(result.model.format),
        _text(result.model.architecture),
        result.verdict.value,
        _text(result.reason),
        _figure(found.label if found else None),
        _text(found.label_name if found else None),
        *(cell for check in checks for cell in _cells(ended.get(check))),
        model.source,
        _figure(total_seconds(result.timings)),
        _text(samples.path),
        _text(samples.sha256),
        _figure(samples.count),
        _text(policy.name),
        _text(policy.sha256),
        _figure(result.seed),
        _text(result.tool.version),
        _text(result.started),
    ]


def _cells(finding: Finding | None) -> tuple[str, str]:
    return ("", "") if finding is None else (finding.outcome.value, _figure(finding.score))


def _figure(value: float | int | None) -> str:
    return "" if value is None else repr(value)


def _text(text: str | None) -> str:
    line = clip(one_line((text or "")[: 2 * _MAX_TEXT]), _MAX_TEXT)
    return f"'{line}" if line.startswith(_FORMULA) else line
