"""A summary as Markdown that fits a pull request's comment or a job's page: the verdict first, digests folded away.

GitHub takes 65,536 characters in a comment and 1 MiB in a job's summary. Whatever a worker says, this is shorter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...evidence.exposure import ExposureRun
from ...evidence.finding import Finding, Outcome
from ...evidence.result import ScanResult
from .figures import OUTCOMES, label_text, named, percent, score_text, top_class, witness_text
from .markdown_text import plain, size, table
from .removal import HEADS, removal_rows, removal_sentence, told_candidates
from .words import duration, sentence, times, way_out

if TYPE_CHECKING:
    from .formats import Given

MAX_BYTES = 65_000
_TABLE, _EVIDENCE, _EXPOSURE, _FACTS = 18_000, 12_000, 8_000, 10_000  # bytes; what is left, the rest fits in
_MAX_ROWS = 100  # of a table that are looked at
_SHORT, _LONG = 300, 1500  # characters of a message in the table, and of one that is told in full
_WORST_FIRST = (Outcome.FAILED, Outcome.ERROR, Outcome.INCONCLUSIVE, Outcome.PASSED, Outcome.SKIPPED)
_TELLING = (Outcome.FAILED, Outcome.ERROR, Outcome.INCONCLUSIVE)


def render(given: Given) -> str:
    """See `to_markdown`."""
    return to_markdown(given.result)


def to_markdown(result: ScanResult) -> str:
    """Verdict, reason and way out, a table of the checks, the evidence, and the rest folded away.

    Text from the model, the samples or a file is escaped and cut; the whole has at most `MAX_BYTES` bytes of UTF-8.
    """
    blocks = [
        [f"## ebyd-scan: {result.verdict.value.upper()}"],
        [f"**Verdict:** {plain(sentence(result))}."],
        [f"**Why:** {plain(result.reason, _LONG)}"],
        _checks(result.findings),
        _evidence(result.findings),
        *_removal(result),
        [f"**What to do:** {way_out(result).replace('figures above', 'figures')}"],
        ["<details>", "<summary>Digests, exposure and times</summary>"],
        _facts(result),
        *_exposure(result),
        ["</details>"],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _checks(findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return ["No check was reached."]
    ordered = sorted(findings, key=lambda finding: _WORST_FIRST.index(finding.outcome))
    rows = []
    for finding in ordered[:_MAX_ROWS]:
        label = label_text(finding)
        cells = (finding.check, label or "", (score_text(finding) or "").removeprefix("score "))
        check, label, score = (plain(cell, 100) for cell in cells)
        told = _outcome(finding.outcome)
        rows.append((check, told, label, score, plain(finding.message, _SHORT)))
    return table(("Check", "Outcome", "Label", "Score", "What it says"), rows, _TABLE, len(ordered[_MAX_ROWS:]))


def _outcome(outcome: Outcome) -> str:
    word = OUTCOMES[outcome][0]
    return f"**{word}**" if outcome in _TELLING else word


def _evidence(findings: Sequence[Finding]) -> list[str]:
    """What speaks against the model in full, as far as it does not stand in the table already."""
    lines: list[str] = []
    used = 0
    telling = [finding for finding in findings if finding.outcome in _TELLING and _more(finding)]
    for finding in telling:
        line = f"- **{plain(finding.check, 100)}:** {_told(finding)}"
        used += size(line)
        if used > _EVIDENCE:
            lines.append(f"- ... {len(telling) - len(lines)} more")
            break
        lines.append(line)
    return ["**Evidence**", "", *lines] if lines else []


def _more(finding: Finding) -> bool:
    """Whether there is more to tell than the table's row."""
    return finding.witness is not None or len(finding.message) > _SHORT


def _told(finding: Finding) -> str:
    parts = [plain(finding.message, _LONG)] if len(finding.message) > _SHORT else []
    if finding.witness is not None:
        parts.append(f"Witness: {plain(witness_text(finding.witness, finding.label_name), _LONG)}.")
        files = finding.witness.files
        parts += [f"Files: {plain(', '.join(files[:20]), 500)}"] if files else []
    return " ".join(parts)


def _removal(result: ScanResult) -> list[list[str]]:
    if result.removal is None:
        return []
    tried = [f"- {plain(name, 100)}: {plain(told, _LONG)}" for name, told in told_candidates(result.removal)[:10]]
    rows = [[plain(cell, 200) for cell in row] for row in removal_rows(result)]
    return [
        [f"**Removal:** {plain(removal_sentence(result.removal), _LONG)}"],
        table(HEADS, rows, _EXPOSURE) if rows else [],
        tried,
    ]


def _facts(result: ScanResult) -> list[str]:
    model, samples = result.model, result.samples
    counts = [f"{samples.count} samples" if samples.count is not None else ""]
    counts.append(f"{samples.classes} classes" if samples.classes is not None else "")
    rows = [
        ("Model", model.path),
        ("Model SHA-256", model.sha256 or "could not be read"),
        ("Built as", ", ".join(fact for fact in (model.architecture, model.format) if fact)),
        ("Samples", ", ".join([samples.path, *filter(None, counts)])),
        ("Samples SHA-256", samples.sha256 or ""),
        ("Policy", f"{result.policy.name}, seed {result.seed}"),
        ("Policy SHA-256", result.policy.sha256),
        ("Time", times(result.timings)),
        ("Made by", f"{result.tool.name} {result.tool.version}, {result.started}"),
    ]
    rows += [(f"File {name}", digest) for name, digest in list((model.files or {}).items())[:50]]
    return table(("What", "Value"), [(plain(name, 200), plain(value, 500)) for name, value in rows if value], _FACTS)


def _exposure(result: ScanResult) -> list[list[str]]:
    if result.exposure is None or not result.exposure.runs:
        return []
    names = {f.label: f.label_name for f in result.findings if f.label is not None}
    rows = []
    for run in result.exposure.runs[:_MAX_ROWS]:
        top = top_class(run)
        most = "none" if top is None else f"{named(top[0], names.get(top[0]))}, {percent(top[1])}"
        cells = (str(run.seed), str(len(run.trajectory)), _accuracy(run), most, run.reason, duration(run.seconds))
        rows.append([plain(cell, 200) for cell in cells])
    heads = ("Seed", "Steps", "Accuracy", "Most predicted class", "Ended", "Time")
    left = len(result.exposure.runs[_MAX_ROWS:])
    return [[f"Exposure: {plain(result.exposure.method, 100)}"], table(heads, rows, _EXPOSURE, left)]


def _accuracy(run: ExposureRun) -> str:
    after = "" if not run.applicable else " to " + ("broke" if run.after is None else percent(run.after.accuracy))
    return percent(run.before.accuracy) + after
