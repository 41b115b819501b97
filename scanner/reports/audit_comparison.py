"""Two audits compared, for a person and as JSON; what got worse comes first."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ...evidence.result import Verdict
from ..audit.compare import Comparison, FindingChange, FindingSide, ModelChange, Side
from .audit_terminal import cut, line
from .audit_words import models
from .figures import OUTCOMES, named, number
from .json_report import as_json
from .plain_console import plain_console, text_of
from .printable import one_line
from .terminal import VERDICTS

MAX_SHOWN = 50
"""Models of each kind that are told one by one; the JSON has all of them."""
_FINDINGS = 5  # of a model that are told
_STYLES = {"worse": ("WORSE", "bold red"), "other": ("changed", "yellow"), "better": ("better", "green")}
_VERDICTS = {verdict: word.lower() for verdict, (word, _) in VERDICTS.items()}


def to_json(comparison: Comparison) -> str:
    """The whole of it, field by field, ASCII only."""
    return as_json(comparison.model_dump(mode="json"))


def to_text(comparison: Comparison, *, color: bool, width: int) -> str:
    """Counts, then the models that changed with a line a change, new ones and those that are gone.

    Args:
        comparison: text in it is shown as it is: markup is not interpreted, control characters are written out.
        color: False gives no escape sequences, and nothing beyond ASCII but what the audits' own text holds.
        width: columns, at least 40.
    """
    console, output = plain_console(color=color, width=max(40, width))
    a, b = comparison.a, comparison.b
    console.print(Text(_summary(comparison), style="bold"))
    for before, ref in (("Before", a), ("After", b)):
        told = f"{before}: audit {ref.number} of {cut(ref.source)}, {cut(ref.started)}: {_VERDICTS[ref.verdict]}"
        stopped = "" if ref.complete else ", stopped before its end"
        console.print(Text(told + stopped, style="dim"), soft_wrap=True)
    _changed(console, comparison.changed)
    _listed(console, "New", "new", comparison.new)
    _listed(console, "Gone", "gone", comparison.gone)
    return text_of(output)


def _summary(comparison: Comparison) -> str:
    """`500 models: 2 got worse, 1 got better; 4 new, of which 1 did not pass; 2 gone; 491 unchanged.`"""
    count = {kind: sum(one.direction == kind for one in comparison.changed) for kind in _STYLES}
    parts = [f"{count['worse']} got worse", f"{count['better']} got better", f"{count['other']} changed otherwise"]
    told = [part for part in parts if not part.startswith("0 ")]
    bad = sum(side.verdict is not Verdict.PASSED for side in comparison.new)
    new = f"{len(comparison.new)} new" + (f", of which {bad} did not pass" if bad else "")
    groups = [", ".join(told), new, f"{len(comparison.gone)} gone", f"{comparison.unchanged} unchanged"]
    said = "; ".join(group for group in groups if group and not group.startswith("0 "))
    total = len(comparison.changed) + len(comparison.new) + len(comparison.gone) + comparison.unchanged
    return f"{models(total)}: {said}." if said else "No models in either audit."


def _changed(console: Console, changes: list[ModelChange]) -> None:
    if not changes:
        return
    console.print()
    for change in changes[:MAX_SHOWN]:
        line(console, _STYLES[change.direction], change.after.name, _what(change))
        for one in change.findings[:_FINDINGS]:
            console.print(Text(f"    {cut(one.check)}: {_finding(one)}"), soft_wrap=True)
        _more(console, len(change.findings) - _FINDINGS, "checks that changed")
    _more(console, len(changes) - MAX_SHOWN, "models that changed")


def _what(change: ModelChange) -> str:
    before, after = change.before, change.after
    told = {
        "verdict": f"{_VERDICTS[before.verdict]} -> {_VERDICTS[after.verdict]}",
        "file": f"another file ({_digest(before)} -> {_digest(after)})",
        "name": f"was called {cut(before.name)}",
    }
    said = ", ".join(text for kind, text in told.items() if kind in change.changed)
    return said if "verdict" in change.changed else ", ".join(filter(None, (f"still {_VERDICTS[after.verdict]}", said)))


def _digest(side: Side) -> str:
    return "unread" if side.sha256 is None else one_line(side.sha256[:12])


def _finding(change: FindingChange) -> str:
    """`passed -> FAILED, label none -> 3 (cat), score 0.97 -> 0.24`."""
    before, after = change.before, change.after
    parts = []
    if "outcome" in change.changed:
        parts.append(f"{_outcome(before)} -> {_outcome(after)}")
    if "label" in change.changed:
        parts.append(f"label {_label(before)} -> {_label(after)}")
    if "score" in change.changed:
        parts.append(f"score {_score(before)} -> {_score(after)}")
    return one_line(", ".join(parts))


def _outcome(side: FindingSide | None) -> str:
    return "did not run" if side is None else OUTCOMES[side.outcome][0]


def _label(side: FindingSide | None) -> str:
    return "none" if side is None or side.label is None else cut(named(side.label, side.label_name), 80)


def _score(side: FindingSide | None) -> str:
    return "none" if side is None or side.score is None else number(side.score)


def _listed(console: Console, title: str, kind: str, sides: list[Side]) -> None:
    if not sides:
        return
    console.print()
    console.print(Text(f"{title}: {len(sides)}"))
    for side in sides[:MAX_SHOWN]:
        line(console, VERDICTS[side.verdict], side.name, one_line(side.reason))
    _more(console, len(sides) - MAX_SHOWN, f"that are {kind}")


def _more(console: Console, rest: int, what: str) -> None:
    if rest > 0:
        console.print(Text(f"    ... and {rest} more {what}", style="dim"))
