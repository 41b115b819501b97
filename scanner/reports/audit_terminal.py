"""An audit for a person at a terminal, or reading a CI log: what did not pass, the worst first, a line a model."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ...evidence.audit import Audit, AuditedModel
from ...evidence.result import Verdict
from .audit_words import counts_text, found_text, has_passed, headline, sources_text, telling, worst_first
from .plain_console import plain_console, text_of
from .printable import one_line
from .terminal import VERDICTS
from .words import duration

MAX_SHOWN = 50
"""Models that did not pass and are told one by one; the reports have all of them."""
_LEFT_OUT = 5  # files that are named
MAX_NAME = 300
"""Characters of a name that are shown."""
_MIN_DETAIL = 40  # characters that are shown even where the name fills the line
_WORD = max(len(word) for word, _ in VERDICTS.values())


def to_text(audit: Audit, *, color: bool, width: int) -> str:
    """The verdict and counts, the models that did not pass, what was left out, and the way out.

    A model stands on one line, which ends at `width` columns unless its name is longer: `grep` and `head` work.

    Args:
        audit: text in it is shown as it is: markup is not interpreted, control characters are written out.
        color: False gives no escape sequences, and nothing beyond ASCII but what the audit's own text holds.
        width: columns, at least 40.
    """
    console, output = plain_console(color=color, width=max(40, width))
    word, style = _word(audit)
    console.print(Text.assemble((word, style), ": ", (headline(audit), "bold"), "."))
    counts = "; ".join(filter(None, (counts_text(audit), sources_text(audit))))
    console.print(Text(f"{counts[0].upper()}{counts[1:]}."))
    _models(console, audit)
    _left_out(console, audit)
    _facts(console, audit)
    console.print()
    console.print(Text(_way_out(audit)))
    return text_of(output)


def _word(audit: Audit) -> tuple[str, str]:
    if audit.ended is None:
        return "STOPPED", VERDICTS[Verdict.ERROR][1]
    return VERDICTS[Verdict.ERROR if audit.verdict is Verdict.PASSED and not has_passed(audit) else audit.verdict]


def _models(console: Console, audit: Audit) -> None:
    bad = [model for model in worst_first(audit) if model.result.verdict is not Verdict.PASSED]
    if not bad:
        return
    console.print()
    for model in bad[:MAX_SHOWN]:
        line(console, VERDICTS[model.result.verdict], model.name, _detail(model))
    if (rest := len(bad) - MAX_SHOWN) > 0:
        console.print(Text(f"... and {rest} more that did not pass; the reports name them all."))
    if len(bad) == len(audit.models):
        console.print(Text("No model passed."))


def _detail(model: AuditedModel) -> str:
    """What was found and why that is the verdict."""
    result = model.result.judged
    finding = telling(result)
    found = None if finding is None else found_text(finding)
    return ": ".join(one_line(part) for part in (found, result.reason) if part)


def line(console: Console, word: tuple[str, str], name: str, detail: str) -> None:
    """A word with its style, a name in full, and as much of the detail as the line has room for."""
    shown = cut(name)
    room = max(_MIN_DETAIL, console.width - _WORD - len(shown) - 4)
    text = Text.assemble((word[0].ljust(_WORD), word[1]), "  ", (shown, "bold"), "  ", cut(detail, room))
    console.print(text, soft_wrap=True)


def _left_out(console: Console, audit: Audit) -> None:
    if not audit.left_out:
        return
    console.print()
    console.print(Text(f"Not among the models, and not looked at: {len(audit.left_out)}"))
    for one in audit.left_out[:_LEFT_OUT]:
        console.print(Text(f"  {cut(one.path)}: {cut(one.reason)}"), soft_wrap=True)
    if (rest := len(audit.left_out) - _LEFT_OUT) > 0:
        console.print(Text(f"  ... and {rest} more"))


def cut(text: str, length: int = MAX_NAME) -> str:
    """One line of at most `length` characters, in ASCII but for what the text holds."""
    shown = one_line(text[: 2 * length])
    return shown if len(shown) <= length else f"{shown[: length - 3]}..."


def _facts(console: Console, audit: Audit) -> None:
    console.print()
    made = f"{audit.tool.name} {one_line(audit.tool.version)}"
    facts = f"Audit {audit.number} of {cut(audit.source)}, {duration(audit.seconds)}, {made}, {cut(audit.started)}"
    console.print(Text(facts, style="dim"), soft_wrap=True)


def _way_out(audit: Audit) -> str:
    """What to do about the worst of it."""
    if audit.ended is None:
        return "The audit was stopped before its end: run it again, and it takes up what is missing."
    if not audit.models:
        return "Nothing was looked at: see what was left out, and name the models in a manifest."
    return {
        Verdict.PASSED: "This holds for these files (see their SHA-256) and the kinds of backdoor that the checks look "
        "for.",
        Verdict.FAILED: "Do not ship the files that failed. Get the models again from a source you trust and compare "
        "digests, or train them again from data you trust; then run the audit again.",
        Verdict.INCONCLUSIVE: "Scan the unclear ones again with more clean samples (50 or more a class), or have a "
        "person judge their reports before anything is shipped.",
        Verdict.ERROR: "Put right what is said above and run the audit again; until then, treat these models as not "
        "scanned.",
    }[audit.verdict]
