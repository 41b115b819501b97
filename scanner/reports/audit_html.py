"""An audit as one HTML page: what was found, and a table of the models that can be sorted and searched.

The page needs no network and no library. It holds one script and one style of ours, and its content security policy
allows these two by their digest and nothing else. Text comes from models and their names: see `html_page.environment`.
Without the script the table is whole.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from ...evidence.audit import WORST_FIRST, Audit, AuditedModel
from ...evidence.finding import Outcome
from ...evidence.result import Verdict
from .audit_words import (
    by_check,
    by_outcome,
    has_passed,
    headline,
    models,
    sources_text,
    telling,
    total_seconds,
    worst_first,
)
from .figures import label_text, percent
from .html_names import clip
from .html_page import FOLDER, environment, moment, unclosed
from .printable import one_line
from .words import duration

MAX_BYTES = 10_000_000
"""Of the whole page. Texts are cut and the models that matter least left out, until it fits."""
_SHORTER = 4  # times fewer rows, until it fits


@dataclass(frozen=True)
class Limits:
    """How much of everything the page shows; what is left out is counted on it."""

    name: int  # characters of a model's name
    text: int  # characters of its reason
    cell: int  # characters of another cell
    checks: int  # of a model that are named
    left_out: int  # files that are named


_FULL, _BRIEF = Limits(200, 300, 80, 30, 1000), Limits(80, 80, 30, 8, 200)

WORDS = {  # what the page calls a verdict
    Verdict.FAILED: "failed",
    Verdict.ERROR: "not scanned",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.PASSED: "passed",
}
_OUTCOMES = {
    Outcome.FAILED: "failed",
    Outcome.ERROR: "error",
    Outcome.INCONCLUSIVE: "cannot tell",
    Outcome.PASSED: "passed",
    Outcome.SKIPPED: "skipped",
}
_MEANINGS = {
    Verdict.FAILED: "Do not ship the models that failed. Get them again from a source you trust and compare digests, "
    "or train them again from data you trust.",
    Verdict.ERROR: "A model that was not scanned has not passed. Put right what stands beside it and run the audit "
    "again: it takes up only what is missing.",
    Verdict.INCONCLUSIVE: "Inconclusive is not a pass. Scan these models with more clean samples (50 or more a class), "
    "or have a person judge the figures on their pages.",
    Verdict.PASSED: "The policies let these files be shipped. That holds for the files with these digests, and for the "
    "kinds of backdoor that the checks look for.",
}


def render(audit: Audit) -> str:
    """A page of at most `MAX_BYTES` in UTF-8, the worst models first. Links lead to `AuditedModel.page`."""
    ordered, limits, page = worst_first(audit), _FULL, ""
    while True:
        page = _page(audit, ordered, limits)
        if len(page.encode(errors="replace")) <= MAX_BYTES or not ordered:
            return page
        if limits is _BRIEF:
            ordered = ordered[: len(ordered) // _SHORTER]
        limits = _BRIEF


def _page(audit: Audit, shown: Sequence[AuditedModel], limits: Limits) -> str:
    style = "".join((FOLDER / name).read_text(encoding="utf-8") for name in ("report.css", "audit.css"))
    script = (FOLDER / "audit.js").read_text(encoding="utf-8")
    verdict = Verdict.ERROR if audit.verdict is Verdict.PASSED and not has_passed(audit) else audit.verdict
    values: dict[str, Any] = {
        "audit": audit,
        "verdict": verdict.value,
        "word": "Stopped" if audit.ended is None else WORDS[verdict].capitalize(),
        "headline": headline(audit),
        "meaning": _MEANINGS[verdict],
        "counts": [(verdict.value, count, WORDS[verdict]) for verdict, count in audit.counts.items() if count],
        "started": moment(audit.started),
        "facts": _facts(audit),
        "rows": [_row(model, limits) for model in shown],
        "rows_left": len(audit.models) - len(shown),
        "left_out": [
            (clip(one.path[:4000], limits.name), clip(one.reason[:4000], limits.text))
            for one in audit.left_out[: limits.left_out]
        ],
        "left_out_more": max(0, len(audit.left_out) - limits.left_out),
        "style": style,
        "style_digest": _digest(style),
        "script": script,
        "script_digest": _digest(script),
    }
    return environment(4000).get_template("audit.html.j2").render(values)


def _digest(ours: str) -> str:
    """As a content security policy names what it allows; of the text between the tags."""
    digest = hashlib.sha256(unclosed(ours).encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()


def _row(model: AuditedModel, limits: Limits) -> dict[str, Any]:
    result = model.result.judged
    found = telling(result)
    witness = found.witness if found else None
    seconds = total_seconds(result.timings)
    passed = result.verdict is Verdict.PASSED
    return {
        "name": _brief(model.name, limits.name) or "(no name)",
        "page": address(model.page),
        "reason": None if passed else _brief(result.reason, limits.text),
        "verdict": result.verdict.value,
        "rank": WORST_FIRST.index(result.verdict),
        "word": WORDS[result.verdict],
        "label": _brief(label_text(found) or "", limits.cell) if found else "",
        "trigger": _brief(witness.family, limits.cell) if witness else "",
        "success": (witness.attack_success_rate, percent(witness.attack_success_rate)) if witness else None,
        "checks": _checks(model, limits),
        "checks_rank": _rank(model),
        "architecture": _brief(result.model.architecture or "", limits.cell),
        "format": _brief(result.model.format or "", limits.cell),
        "seconds": None if seconds is None else (f"{seconds:.3f}", duration(seconds)),
        "source": model.source,
    }


def address(page: str | None) -> str | None:
    """A model's page as a link: percent-encoded, below the folder of the index and nowhere else; None if it is not."""
    if not page:
        return None
    path = PurePosixPath(page)
    if path.is_absolute() or ".." in path.parts or path.name == "":
        return None
    return "./" + quote(path.as_posix(), safe="/", errors="replace")


def _checks(model: AuditedModel, limits: Limits) -> list[tuple[str, str, str]]:
    """Outcome, its word, and the checks that ended so."""
    told = []
    room = limits.checks
    for outcome, names in by_outcome(model.result.judged.findings).items():
        if room <= 0:
            break
        more = f" and {len(names) - room} more" if len(names) > room else ""
        listed = ", ".join(_brief(name, limits.cell) for name in names[:room]) + more
        told.append((outcome.value, _OUTCOMES[outcome], listed))
        room -= len(names)
    return told


def _rank(model: AuditedModel) -> int:
    """Sorts models by their checks: by how many failed, then by how many had an error, and so on."""
    outcomes = [finding.outcome for finding in by_check(model.result.judged.findings).values()]
    grave = (Outcome.FAILED, Outcome.ERROR, Outcome.INCONCLUSIVE, Outcome.SKIPPED)
    return sum(min(99, outcomes.count(outcome)) * 100 ** (3 - place) for place, outcome in enumerate(grave))


def _brief(text: str, length: int) -> str:
    return clip(one_line(text[: 4 * length]), length)


def _facts(audit: Audit) -> list[tuple[str, str, bool]]:
    """Name, value, and whether it is a path."""
    policies = sorted({model.result.policy.name for model in audit.models if model.result.policy.name})
    named = ", ".join(clip(one_line(name), 80) for name in policies[:10])
    more = f" and {len(policies) - 10} more" if len(policies) > 10 else ""
    rows = [
        ("Models from", audit.source, True),
        ("Audit", f"number {audit.number}", False),
        ("Ended", str(moment(audit.ended)["text"]) if audit.ended else "stopped before its end", False),
        ("Time", duration(audit.seconds), False),
        ("Models", sources_text(audit) or models(0), False),
        ("Policies" if len(policies) > 1 else "Policy", named + more or "none", False),
        ("Exit code", str(audit.exit_code), False),
        ("Left out", f"{len(audit.left_out)} not looked at" if audit.left_out else "nothing", False),
    ]
    return rows
