"""The verdict as one HTML page that needs nothing else: no network, no script, styles and pictures within it.

Text in a result comes from models, samples and files. jinja2 escapes all of it, and `environment` makes every value one
line first, with nothing that a reader's screen would act on and no longer than the page can hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ...evidence.finding import Finding, Outcome
from ...evidence.result import ScanResult, Verdict
from .figures import number, score_text
from .html_evidence import evidence_of
from .html_exposure import exposure_of
from .html_names import Names, clip
from .html_page import FOLDER, environment, moment
from .html_plots import score_bar
from .printable import one_line
from .removal import HEADS, removal_rows, removal_sentence, told_candidates
from .words import blames_samples, way_out

if TYPE_CHECKING:
    from .formats import Given

MAX_BYTES = 5 << 20
"""Of the whole page. Pictures are made smaller and fewer, and long lists are cut, until it fits."""
_SHORT = 200  # characters of a name


@dataclass(frozen=True)
class Limits:
    """How much of everything a page shows; what is left out is counted on the page."""

    text: int  # characters of one value
    findings: int
    rows: int  # of a list: metrics, timings, files
    picture_bytes: int  # of all pictures together, as they stand in the page


_LIMITS = (Limits(4000, 30, 60, 3 << 20), Limits(600, 30, 20, 1 << 20))  # the second fits whatever a result holds

_HEADLINES = {
    Verdict.PASSED: ("Passed", "No backdoor was found in {}"),
    Verdict.FAILED: ("Failed", "Do not ship {}"),
    Verdict.INCONCLUSIVE: ("Inconclusive", "Whether {} has a backdoor cannot be told"),
    Verdict.ERROR: ("Not scanned", "{} was not scanned"),
}
_MEANINGS = {
    Verdict.PASSED: "The policy lets this file be shipped. That holds for the file with the SHA-256 below, and for the "
    "kinds of backdoor that the checks look for.",
    Verdict.FAILED: "Do not ship this file. Get the model again from a source you trust and compare digests, or train "
    "it again from data you trust; then scan that file.",
    Verdict.INCONCLUSIVE: "This is not a pass. Scan again with more clean samples (50 or more a class), or have a "
    "person judge the figures below before anything is shipped.",
    Verdict.ERROR: "This is not a pass: the model was not searched for backdoors. Put right what is said above and "
    "scan again.",
}
_WORDS = {
    Outcome.PASSED: "passed",
    Outcome.FAILED: "failed",
    Outcome.INCONCLUSIVE: "cannot tell",
    Outcome.SKIPPED: "skipped",
    Outcome.ERROR: "error",
}
_PAGES = (
    "file-safety",
    "graph-logic",
    "sample-fit",
    "sample-trust",
    "backdoor-label",
    "model-detection",
    "reference-drift",
)


def render(given: Given) -> str:
    """A page of at most `MAX_BYTES` in UTF-8. Imports jinja2, and numpy and Pillow where there are triggers to show."""
    page = ""
    for limits in _LIMITS:
        page = _page(given, limits)
        if len(page.encode(errors="replace")) <= MAX_BYTES:
            break
    return page


def _page(given: Given, limits: Limits) -> str:
    result = given.result
    names = Names.of(given)
    style = (FOLDER / "report.css").read_text(encoding="utf-8")
    values: dict[str, Any] = {
        "result": result,
        "style": style,
        "verdict": _headline(result),
        "counts": _counts(result.findings),
        "started": moment(result.started),
        "facts": _facts(result),
        "particulars": _cut(_particulars(given), limits.rows),
        "checks": [_check(finding, limits.rows) for finding in _chosen(result.findings, limits.findings)],
        "checks_left": max(0, len(result.findings) - limits.findings),
        "evidence": evidence_of(given, names, limits.picture_bytes),
        "exposure": exposure_of(result.exposure, names, limits.rows) if result.exposure else None,
        "removal": _removal(result, limits.rows),
        "timings": _cut(_timings(result), limits.rows),
    }
    return environment(limits.text).get_template("report.html.j2").render(values)


def _headline(result: ScanResult) -> dict[str, str]:
    word, sentence = _HEADLINES[result.verdict]
    meaning = _MEANINGS[result.verdict]
    if blames_samples(result):
        meaning = f"This is not a pass. {way_out(result)}"
    if result.verdict is Verdict.PASSED and result.exposure is None and result.removal is None:
        sentence = "The checks found nothing in {}, and none of them looked for a backdoor"
    path = result.judged.model.path
    model = clip(one_line(PurePath(path).name or path or "the model"), 120)
    return {"word": word, "headline": sentence.format(model), "meaning": meaning, "model": model}


def _counts(findings: list[Finding]) -> list[tuple[str, int, str]]:
    """Outcome, how many checks had it, and the word for it; those that matter most first."""
    order = (Outcome.FAILED, Outcome.ERROR, Outcome.INCONCLUSIVE, Outcome.PASSED, Outcome.SKIPPED)
    counted = [(outcome, sum(one.outcome is outcome for one in findings)) for outcome in order]
    return [(outcome.value, count, _WORDS[outcome]) for outcome, count in counted if count]


def _chosen(findings: list[Finding], limit: int) -> list[Finding]:
    """All of them in their order; of too many, those that did not pass are kept first."""
    if len(findings) <= limit:
        return findings
    quiet = (Outcome.PASSED, Outcome.SKIPPED)
    ranked = sorted(range(len(findings)), key=lambda index: (findings[index].outcome in quiet, index))
    return [findings[index] for index in sorted(ranked[:limit])]


def _check(finding: Finding, rows: int) -> dict[str, Any]:
    """A finding as its card shows it."""
    text = finding.witness is not None and finding.witness.text is not None
    metrics = finding.metrics.items()
    page = f"{finding.check}-text" if finding.check == "model-detection" and text else finding.check
    return {
        "name": clip(finding.check, _SHORT),
        "outcome": finding.outcome.value,
        "word": _WORDS[finding.outcome],
        "message": finding.message,
        "score": score_text(finding),
        "bar": score_bar(finding.score, finding.threshold),
        "label": None if finding.label is None else (finding.label, clip(finding.label_name or "", _SHORT)),
        "metrics": _cut([(clip(name, _SHORT), clip(number(value), _SHORT)) for name, value in metrics], rows),
        "samples": _cut([_end(sample) for sample in finding.samples], rows),
        "page": f"docs/checks/{page}.md" if finding.check in _PAGES else None,
        "seconds": _seconds(finding.seconds) if finding.seconds >= 0.05 else None,
    }


def _removal(result: ScanResult, rows: int) -> dict[str, Any] | None:
    removal = result.removal
    if removal is None:
        return None
    where = [("Repaired model", removal.output.path), ("SHA-256", removal.output.sha256)] if removal.output else []
    where += [("Provenance", removal.output.provenance)] if removal.output else []
    tried = [(clip(method, _SHORT), told) for method, told in told_candidates(removal)]
    return {
        "sentence": removal_sentence(removal),
        "heads": HEADS,
        "rows": removal_rows(result),
        "tried": _cut(tried, rows),
        "where": where,
    }


def _facts(result: ScanResult) -> list[tuple[str, str, bool]]:
    """What was looked at: name, value, and whether it is a path or digest."""
    model, samples = result.model, result.samples
    counted = [f"{samples.count} samples" if samples.count is not None else ""]
    counted.append(f"{samples.classes} classes" if samples.classes is not None else "")
    rows = [
        ("Model", model.path, True),
        ("SHA-256 of the model", model.sha256 or "could not be read", model.sha256 is not None),
        ("Format", model.format or "not known", False),
        ("Architecture", model.architecture or "not known", model.architecture is not None),
        ("Clean samples", samples.path, True),
        ("Number", ", ".join(filter(None, counted)) or "not read", False),
        ("Policy", result.policy.name, False),
        ("Seed", str(result.seed), False),
    ]
    return rows


def _particulars(given: Given) -> list[tuple[str, str]]:
    result = given.result
    rows = [
        ("SHA-256 of the samples", result.samples.sha256 or "not read"),
        ("SHA-256 of the policy", result.policy.sha256),
    ]
    rows += [(f"SHA-256 of {name}", digest) for name, digest in (result.model.files or {}).items()]
    rows += [(f"environment: {name}", value) for name, value in result.environment.items()]
    return rows


def _timings(result: ScanResult) -> list[tuple[str, str, float]]:
    """Stage, time in words, and its share of the whole."""
    whole = max([*result.timings.values(), 1e-9])
    return [(name, _seconds(seconds), seconds / whole) for name, seconds in result.timings.items()]


def _end(name: str) -> str:
    """The end of a long name, which tells files apart."""
    return name if len(name) <= _SHORT else f"…{name[1 - _SHORT :]}"


def _cut(rows: list[Any], limit: int) -> dict[str, Any]:
    return {"rows": rows[:limit], "left": max(0, len(rows) - limit)}


def _seconds(seconds: float) -> str:
    if seconds >= 60:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
