"""The self-test for a person: a table, why something did not take or was not seen, and one plain sentence."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from ...evidence.finding import Finding, Outcome
from ...evidence.result import ScanResult, Verdict
from ..planted import MIN_ASR
from ..selftest import Answer, PlantedCopy, SelfTest, deciding
from .figures import named, number, percent
from .json_report import as_json
from .plain_console import plain_console, text_of
from .printable import one_line

_STYLES = {
    Answer.CAUGHT: "green",
    Answer.MISSED: "bold red",
    Answer.UNCLEAR: "yellow",
    Answer.NOT_PLANTED: "dim",
    Answer.NOT_SCANNED: "bold magenta",
}
_COLUMNS = ("planted", "accuracy", "ASR", "verdict", "label named", "score (bar)", "witness", "time", "so")


def to_selftest_text(test: SelfTest, *, color: bool, width: int) -> str:
    """The table and the sentence, wrapped at `width` columns; without `color` no escape sequences."""
    console, output = plain_console(color=color, width=max(60, width))
    if test.copies:
        console.print(_table(test))
        console.print()
        for line in _notes(test):
            console.print(Text(one_line(line)))
    console.print(Text(one_line(test.summary), style="bold"))
    return text_of(output)


def to_selftest_json(test: SelfTest) -> str:
    """The whole of it, field by field, ASCII only."""
    return as_json(test.model_dump(mode="json"))


def _table(test: SelfTest) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in _COLUMNS:
        table.add_column(title, overflow="fold", no_wrap=title in ("accuracy", "ASR", "score (bar)", "time"))
    for row, style in ((_unmodified_row(test.unmodified), ""), *((_row(c), _STYLES[c.answer]) for c in test.copies)):
        table.add_row(*(Text(cell) for cell in row[:-1]), Text(row[-1], style=style))
    return table


def _unmodified_row(result: ScanResult) -> tuple[str, ...]:
    finding = deciding(result)
    label = "-" if finding is None or finding.outcome is Outcome.PASSED else _label(finding)
    time = f"{result.timings.get('total', 0.0):.0f} s"
    return ("nothing", "-", "-", result.verdict.value, label, _score(finding), _witness(finding), time, "-")


def _row(copy: PlantedCopy) -> tuple[str, ...]:
    planted, finding = copy.planted, copy.finding
    scanned = copy.answer is not Answer.NOT_PLANTED
    label = "-" if copy.label is None or finding is None else _label(finding)
    if copy.label_right is not None:
        label += ", right" if copy.label_right else ", wrong"
    return (
        _what(copy),
        _change(planted.accuracy_before, planted.accuracy) if planted else "-",
        _change(planted.asr_before, planted.asr) if planted else "-",
        copy.result.verdict.value if scanned else "not asked",
        label,
        _score(finding),
        _witness(finding),
        f"{copy.result.timings.get('total', 0.0):.0f} s",
        copy.answer.value,
    )


def _what(copy: PlantedCopy) -> str:
    if copy.planted is None or copy.planted.target is None:
        return copy.attack
    return f"{copy.attack} to {one_line(named(copy.planted.target, copy.planted.target_name))}"


def _change(before: float, after: float) -> str:
    return f"{percent(before).removesuffix(' %')} -> {percent(after)}"


def _label(finding: Finding) -> str:
    return "-" if finding.label is None else one_line(named(finding.label, finding.label_name))


def _score(finding: Finding | None) -> str:
    if finding is None or finding.score is None:
        return "-"
    return number(finding.score) + (f" ({number(finding.threshold)})" if finding.threshold is not None else "")


def _witness(finding: Finding | None) -> str:
    if finding is None or finding.witness is None or finding.outcome is Outcome.PASSED:
        return "-"
    return f"{one_line(finding.witness.family)}, {percent(finding.witness.attack_success_rate)}"


def _notes(test: SelfTest) -> list[str]:
    """What the table cannot hold."""
    notes = []
    if test.unmodified.verdict is not Verdict.PASSED:
        notes.append(f"The unmodified model is {test.unmodified.verdict.value}: {test.unmodified.reason}")
    for copy in test.copies:
        if copy.answer is Answer.NOT_PLANTED and copy.planted:
            notes.append(f"{copy.attack} did not take ({copy.planted.why_not}), and is not counted as missed.")
        elif copy.answer is Answer.UNCLEAR and copy.result.verdict is Verdict.FAILED:
            notes.append(f"{copy.attack} is unclear: its copy failed, but the unmodified model does not pass either.")
        elif copy.answer is not Answer.CAUGHT:
            notes.append(f"{copy.attack} is {copy.answer.value}: {copy.result.reason}")
    victims = max((copy.planted.victims for copy in test.copies if copy.planted), default=0)
    return [
        *notes,
        f"Accuracy and ASR are measured on held-out samples (up to {victims} with the trigger), before and after "
        f"planting; a plant took at an ASR of {percent(MIN_ASR)} or more. At a score above the bar a model fails. "
        "The witness is the family of the recovered trigger and the share of held-out samples that it moves.",
    ]
