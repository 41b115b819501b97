"""The verdict for a person at a terminal, or reading a CI log."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...evidence.exposure import ExposureRun
from ...evidence.finding import Finding, Outcome
from ...evidence.removal import RemovalInfo
from ...evidence.result import ScanResult, Verdict
from .figures import OUTCOMES, label_text, named, number, percent, score_text, top_class, witness_text
from .plain_console import plain_console, text_of
from .printable import one_line
from .removal import HEADS, removal_rows, removal_sentence, told_candidates
from .words import duration, sentence, times, way_out

VERDICTS = {
    Verdict.PASSED: ("PASSED", "bold green"),
    Verdict.FAILED: ("FAILED", "bold red"),
    Verdict.INCONCLUSIVE: ("INCONCLUSIVE", "bold yellow"),
    Verdict.ERROR: ("ERROR", "bold magenta"),
}
_INDENT = 2


def to_text(result: ScanResult, *, color: bool, width: int) -> str:
    """Verdict and reason, a line or more a check, the exposure, the times, and the way out.

    Args:
        result: text in it is shown as it is: markup is not interpreted, control characters are written out.
        color: False gives no escape sequences, and nothing beyond ASCII but what the result's own text holds.
        width: columns to wrap at, at least 40.
    """
    console, output = plain_console(color=color, width=max(40, width))
    _verdict(console, result)
    for finding in result.findings:
        _finding(console, finding, result.reason)
    if result.exposure is not None and result.exposure.runs:
        _exposure(console, result.exposure.method, result.exposure.runs, _label_names(result))
    if result.removal is not None:
        _removal(console, result, result.removal)
    _facts(console, result)
    console.print()
    _indented(console, Text(way_out(result)), 0)
    return text_of(output)


def _verdict(console: Console, result: ScanResult) -> None:
    word, style = VERDICTS[result.verdict]
    console.print(Text.assemble((word, style), ": ", (sentence(result), "bold"), "."))
    _indented(console, Text(one_line(result.reason)), 0)
    console.print()


def _finding(console: Console, finding: Finding, reason: str) -> None:
    word, style = OUTCOMES[finding.outcome]
    label = label_text(finding)
    figures = [
        None if label is None else f"label {one_line(label)}",
        score_text(finding),
        duration(finding.seconds) if finding.seconds >= 0.05 else None,
    ]
    head = Text.assemble((one_line(finding.check), "bold"), "  ", ", ".join(figure for figure in figures if figure))
    row = Table.grid(padding=(0, 2))
    row.add_column(width=max(len(words) for words, _ in OUTCOMES.values()))
    row.add_column(overflow="fold")
    row.add_row(Text(word, style=style), head)
    message = one_line(finding.message)
    if finding.outcome is Outcome.PASSED or message not in one_line(reason):  # else it stands above
        row.add_row("", Text(message))
    if finding.witness is not None:
        row.add_row("", Text(f"Witness: {one_line(witness_text(finding.witness, finding.label_name))}."))
    if finding.metrics:
        metrics = "; ".join(f"{one_line(name)} {one_line(number(value))}" for name, value in finding.metrics.items())
        row.add_row("", Text(metrics, style="dim"))
    console.print(Padding(row, (0, 0, 0, _INDENT)))


def _exposure(console: Console, method: str, runs: list[ExposureRun], names: Mapping[int, str]) -> None:
    console.print()
    console.print(Text(f"Exposure ({one_line(method)})", style="bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for title in ("seed", "steps", "accuracy", "most predicted class", "ended"):
        # on a narrow terminal rich would cut what may not wrap
        table.add_column(title, overflow="fold", no_wrap=title == "accuracy" and console.width >= 60)
    for run in runs:
        top = top_class(run)
        most = "-" if top is None else f"{one_line(named(top[0], names.get(top[0])))}, {percent(top[1])}"
        cells = (str(run.seed), str(len(run.trajectory)), _accuracy(run), most, _ended(run))
        table.add_row(*(Text(cell) for cell in cells))
    console.print(Padding(table, (0, 0, 0, _INDENT)))


def _accuracy(run: ExposureRun) -> str:
    before = percent(run.before.accuracy)
    if not run.applicable:
        return before
    return f"{before} -> {'broke' if run.after is None else percent(run.after.accuracy)}"


def _ended(run: ExposureRun) -> str:
    prefix = "" if run.converged else "did not converge: " if run.applicable else "does not apply: "
    return prefix + one_line(run.reason)


def _removal(console: Console, result: ScanResult, removal: RemovalInfo) -> None:
    console.print()
    console.print(Text("Removal", style="bold"))
    _indented(console, Text(one_line(removal_sentence(removal))), _INDENT)
    for method, told in told_candidates(removal):
        _indented(console, Text.assemble((one_line(method), "bold"), "  ", one_line(told)), _INDENT)
    if rows := removal_rows(result):
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
        for title in HEADS:
            table.add_column(title.lower(), overflow="fold")
        for row in rows:
            table.add_row(*(Text(one_line(cell)) for cell in row))
        console.print(Padding(table, (0, 0, 0, _INDENT)))
    if removal.output:
        _indented(console, Text(one_line(f"provenance: {removal.output.provenance}"), style="dim"), _INDENT)


def _facts(console: Console, result: ScanResult) -> None:
    model, samples = result.model, result.samples
    counts = [f"{samples.count} samples" if samples.count is not None else None]
    counts.append(f"{samples.classes} classes" if samples.classes is not None else None)
    about = ", ".join(fact for fact in counts if fact)
    rows = [
        ("model", model.path),
        ("SHA-256", model.sha256 or "could not be read"),
        ("built as", ", ".join(fact for fact in (model.architecture, model.format) if fact)),
        ("samples", f"{samples.path} ({about})" if about else samples.path),
        ("policy", f"{result.policy.name}, seed {result.seed}"),
        ("time", times(result.timings)),
        ("made by", f"{result.tool.name} {result.tool.version}, {result.started}"),
    ]
    console.print()
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        if value:
            table.add_row(name, Text(one_line(value)))
    console.print(Padding(table, (0, 0, 0, _INDENT)))


def _label_names(result: ScanResult) -> dict[int, str]:
    return {f.label: f.label_name for f in result.findings if f.label is not None and f.label_name}


def _indented(console: Console, text: Text, columns: int) -> None:
    console.print(Padding(text, (0, 0, 0, columns)))
