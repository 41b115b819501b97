"""What `inspect` found, for a person and as JSON; run as a module, it prints the JSON Schema that is shipped."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...checks.onnx_head import OnnxHead, OnnxValue
from ...evidence.finding import Finding
from ...evidence.result import Verdict
from ..inspection import SCHEMA_VERSION, HuggingFaceFacts, InspectedFile, Inspection
from .figures import OUTCOMES
from .json_report import as_json
from .plain_console import plain_console, text_of
from .printable import one_line
from .schema import schema_text

_VERDICTS = {
    Verdict.PASSED: ("passed", "green"),
    Verdict.FAILED: ("FAILED", "bold red"),
    Verdict.INCONCLUSIVE: ("cannot tell", "yellow"),
    Verdict.ERROR: ("ERROR", "bold magenta"),
}
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_SHOWN = 6  # inputs, outputs, opsets and files beside that are told one by one
_INDENT = 2


def to_inspection_json(inspection: Inspection) -> str:
    """The whole of it, field by field, ASCII only."""
    return as_json(inspection.model_dump(mode="json"))


def inspection_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of what `to_inspection_json` writes."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:ebyd-scan:inspection:{SCHEMA_VERSION}",
        **Inspection.model_json_schema(mode="serialization"),
    }


def to_file_text(file: InspectedFile, *, color: bool, width: int) -> str:
    """A block about one file: its verdict and name, what it is, and a line or more a finding.

    Text out of the file is shown as it is: markup is not interpreted, control characters are written out.
    """
    console, output = plain_console(color=color, width=max(40, width))
    word, style = _VERDICTS[file.verdict]
    console.print(Text.assemble((word, style), "  ", (one_line(file.path), "bold")))
    if file.error is not None:
        console.print(Padding(Text(one_line(file.error)), (0, 0, 0, _INDENT)))
    _facts(console, file)
    for finding in file.findings:
        _finding(console, finding)
    return text_of(output)


def to_summary(inspection: Inspection) -> str:
    """One line over all files: `12 files: 10 passed, 1 failed, 1 could not be inspected.`"""
    counts = Counter(file.verdict for file in inspection.files)
    words = {
        Verdict.PASSED: "passed",
        Verdict.FAILED: "failed",
        Verdict.INCONCLUSIVE: "inconclusive",
        Verdict.ERROR: "could not be inspected",
    }
    told = [f"{counts[verdict]} {word}" for verdict, word in words.items() if counts[verdict]]
    return f"{len(inspection.files)} files: {', '.join(told)}.\n"


def size_text(size: int) -> str:
    """`46.8 MB`, in powers of 1000 as disks are sold and folders are shown."""
    value, unit = float(size), 0
    while round(value, 1) >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{size} bytes"


def _facts(console: Console, file: InspectedFile) -> None:
    rows: list[tuple[str, str]] = []
    if file.format is not None and file.size is not None:
        kind = "a pickle or archive of no known model format" if file.format == "unknown" else file.format
        rows.append(("format", f"{kind}, {size_text(file.size)}"))
    if file.sha256 is not None:
        if file.parameters is not None:
            rows.append(("parameters", _parameters(file)))
        elif file.error is None:
            rows.append(("parameters", "not counted"))
    if file.huggingface is not None:
        rows += _folder(file.huggingface)
    if file.onnx is not None and file.sha256 is not None:
        rows += _graph(file.onnx)
    if file.sha256 is not None:
        rows.append(("SHA-256", file.sha256))
    if file.format == "onnx":
        rows += [("beside it", f"{digest} {name}") for name, digest in list(file.files.items())[:_SHOWN]]
        if len(file.files) > _SHOWN:
            rows.append(("beside it", f"{len(file.files) - _SHOWN:,} files more"))
    if not rows:
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(one_line(value)))
    console.print(Padding(table, (0, 0, 0, _INDENT)))


def _parameters(file: InspectedFile) -> str:
    total = f"{file.parameters:,}"
    if len(file.types) < 2:
        return f"{total} ({next(iter(file.types))})" if file.types else total
    parts = sorted(file.types.items(), key=lambda part: -part[1])
    return f"{total} ({', '.join(f'{name} {numbers:,}' for name, numbers in parts)})"


def _folder(facts: HuggingFaceFacts) -> list[tuple[str, str]]:
    kind = ", ".join([facts.model_type or "no model type", *facts.architectures])
    rows = [("model", kind), ("labels", "not told" if facts.labels is None else f"{facts.labels:,}")]
    if facts.adapter:
        rows = [("adapter", facts.adapter), ("of model", facts.base_model or "not told")]
    if facts.remote_code:
        rows.append(("remote code", "asked for: it has Python code run that its configuration names (auto_map)"))
    return rows


def _graph(head: OnnxHead) -> list[tuple[str, str]]:
    opsets = _some([f"{domain} {number}" for domain, number in head.opsets.items()])
    producer = " ".join(part for part in (head.producer, head.producer_version) if part)
    return [
        ("ONNX", f"opset {opsets}; IR {head.ir_version}; {head.nodes:,} node{'s' * (head.nodes != 1)}"),
        ("producer", producer or "not told"),
        ("inputs", _some([_value(value) for value in head.inputs])),
        ("outputs", _some([_value(value) for value in head.outputs])),
    ]


def _value(value: OnnxValue) -> str:
    shape = "" if value.shape is None else f"[{', '.join(map(str, value.shape))}]"
    return f"{value.name} {value.type}{shape}"


def _some(parts: list[str]) -> str:
    rest = len(parts) - _SHOWN
    return ", ".join(parts[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "") or "none"


def _finding(console: Console, finding: Finding) -> None:
    word, style = OUTCOMES[finding.outcome]
    row = Table.grid(padding=(0, 2))
    row.add_column(width=max(len(words) for words, _ in OUTCOMES.values()), no_wrap=True)
    row.add_column(style="bold", no_wrap=True)
    row.add_column(overflow="fold")
    row.add_row(Text(word, style=style), Text(one_line(finding.check)), Text(one_line(finding.message)))
    console.print(Padding(row, (0, 0, 0, _INDENT)))


if __name__ == "__main__":
    sys.stdout.write(schema_text(inspection_schema()))
