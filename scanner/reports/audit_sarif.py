"""An audit as one SARIF 2.1.0 log: one run, the models as its artifacts, what keeps one from passing as its results.

GitHub takes at most 25,000 results a run and 10 MB of gzip a file, and shows the 5,000 gravest results. The worst
models come first, so that what has to be left out is what matters least.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from ...evidence.audit import Audit, AuditedModel
from ...evidence.result import ScanResult, Verdict
from .audit_words import counts_text, has_passed, headline, worst_first
from .sarif import add_scan
from .sarif_log import Run, location_of, times_of
from .sarif_rules import SCAN

MAX_RESULTS = 25_000
MAX_GZIP = 10_000_000
"""Bytes of the log once it is compressed."""
_MAX_TOLD = 5000  # notifications
_MAX_LEFT_OUT = 500  # files that are named in them
_FEWER = 2  # times fewer models, until the log fits


def render(audit: Audit) -> str:
    """See `to_sarif`; paths below the current folder become relative to it."""
    return to_sarif(audit, Path.cwd())


def to_sarif(audit: Audit, directory: PurePath) -> str:
    """Results as in the SARIF log of each scan; a model that passed has none, every other has at least one.

    Fingerprints have the model's name in them: they stay the same whatever else is in the audit, and differ where two
    models share a file. What is left out beyond GitHub's limits is counted in a notification.

    Args:
        directory: absolute; paths below it are written relative to it.
    """
    models = worst_first(audit)
    while True:
        text = _log(audit, models, directory)
        if _fits(text) or not models:
            return text
        models = models[: len(models) // _FEWER]


def _fits(text: str) -> bool:
    """Sooner told without compressing: gzip makes nothing much larger."""
    return len(text) <= 0.99 * MAX_GZIP or len(gzip.compress(text.encode("ascii"), 6)) <= MAX_GZIP


def _log(audit: Audit, models: Sequence[AuditedModel], directory: PurePath) -> str:
    where = location_of(audit.source, directory)["uri"].removeprefix("file:///")
    run = Run(audit.tool.version, directory, MAX_RESULTS, f"audit/{where}", _MAX_TOLD)
    shared = Counter(location_of(model.result.judged.model.path, directory)["uri"] for model in models)
    for model in models:
        result = model.result.judged
        place = run.add_artifact(result.model.path, result.model.sha256, _about(model, result), model.name)
        first = len(run.results)
        add_scan(run, result, place)
        for entry in run.results[first:]:
            entry["properties"] |= {"model": run.artifacts[place]["properties"]["name"]}
            if shared[run.artifacts[place]["location"]["uri"]] > 1:  # the path does not say which of them it is
                entry["message"]["text"] = f"{entry['properties']['model']}: {entry['message']['text']}"
    if not run.results and not has_passed(audit):
        place = run.add_artifact(audit.source, None, {})
        run.notify(SCAN, "error", f"{headline(audit)}.", place)
        run.add_result(SCAN, "error", f"{headline(audit)}.", place, {"verdict": audit.verdict.value})
    if rest := len(audit.models) - len(models):
        run.notify(SCAN, "warning", f"{rest} more models were left out, the worst stand first: the log would be larger "
                   "than GitHub takes.")  # fmt: skip
    for one in audit.left_out[:_MAX_LEFT_OUT]:
        run.notify(SCAN, "note", f"Not among the models, and not looked at: {one.path[:1000]}: {one.reason[:1000]}")
    return run.to_text(_invocation(audit), _properties(audit))


def _about(model: AuditedModel, result: ScanResult) -> dict[str, Any]:
    facts = {
        "name": model.name,
        "verdict": result.verdict.value,
        "format": result.model.format,
        "architecture": result.model.architecture,
        "policy": result.policy.name,
        "source": model.source,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _invocation(audit: Audit) -> dict[str, Any]:
    return {
        "executionSuccessful": audit.ended is not None and audit.verdict is not Verdict.ERROR and bool(audit.models),
        "exitCode": audit.exit_code,
        "exitCodeDescription": audit.verdict.value,
        **times_of(audit.started, audit.seconds),
    }


def _properties(audit: Audit) -> dict[str, Any]:
    return {
        "verdict": audit.verdict.value,
        "summary": f"{headline(audit)}.",
        "counts": counts_text(audit),
        "models": {verdict.value: count for verdict, count in audit.counts.items()},
        "left_out": len(audit.left_out),
        "audit": audit.number,
        "source": audit.source,
    }
