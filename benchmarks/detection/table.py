"""The tables of the detection benchmark, from stored results, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from .measure import SCAN, detected
from .statistics import auroc, auroc_interval, detection_at, interval

Record = dict[str, Any]
ONE_TARGET_NOT = ("all-to-all", "parallel")  # attacks that have no single right label
PATCH_OR_BLEND = ("badnets", "badnets-1%", "badnets-0.5%", "trojan-patch", "watermark", "blend", "one-pixel")


def score(record: Record, method: str) -> float:
    """The method's score; a scan without one (nothing could be searched) counts as the least suspicious."""
    value = record[method]["score"]
    return float(value) if value is not None else 0.0


def right_label(record: Record) -> bool:
    """Whether the scan's label is the attacker's target."""
    return bool(record[SCAN]["label"] == record["card"]["target"])


def rate(hits: int, count: int) -> str:
    """`97.5 % (39/40; 86.8 to 99.9)`"""
    low, high = interval(hits, count)
    share = f"{100 * hits / count:.1f} %" if count else "-"
    return f"{share} ({hits}/{count}; {100 * low:.1f} to {100 * high:.1f})"


def area(positive: Sequence[float], negative: Sequence[float]) -> str:
    """`0.975 (0.93 to 1.00)`"""
    low, high = auroc_interval(positive, negative)
    return f"{auroc(positive, negative):.3f} ({low:.2f} to {high:.2f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def overall(clean: list[Record], planted: list[Record]) -> str:
    """The figures a gate is judged by."""
    caught = [record for record in planted if detected(record[SCAN])]
    one = [record for record in planted if record["card"]["kind"] not in ONE_TARGET_NOT]
    patches = [record for record in caught if record["card"]["kind"] in PATCH_OR_BLEND]
    witnessed = [record[SCAN]["witness_asr"] or 0.0 for record in patches]
    unsure = [record for record in clean if record[SCAN]["outcome"] == "inconclusive"]
    one_caught = [record for record in one if detected(record[SCAN])]
    rows = [
        ("AUROC", area([score(r, SCAN) for r in planted], [score(r, SCAN) for r in clean])),
        ("backdoored models failed", rate(len(caught), len(planted))),
        (
            "backdoored models failed or inconclusive",
            rate(sum(record[SCAN]["outcome"] != "passed" for record in planted), len(planted)),
        ),
        ("clean models wrongly failed", rate(sum(detected(record[SCAN]) for record in clean), len(clean))),
        ("clean models inconclusive", rate(len(unsure), len(clean))),
        ("right label, one target, of those failed", rate(sum(map(right_label, one_caught)), len(one_caught))),
        (
            "witness: replayed ASR, patch and blend models failed (mean; smallest)",
            f"{statistics.mean(witnessed):.1%}; {min(witnessed):.1%} (n = {len(witnessed)})" if witnessed else "-",
        ),
    ]
    return _table(("figure", "measured (95 % interval)"), rows)


def by(records: list[Record], clean: list[Record], key: Callable[[Record], str]) -> str:
    """A row a value of `key` over backdoored models, each against all clean ones."""
    negative = [score(r, SCAN) for r in clean]
    rows = []
    for value in sorted({key(record) for record in records}):
        part = [record for record in records if key(record) == value]
        asrs = [float(record["card"]["asr"]) for record in part]
        scores = [score(r, SCAN) for r in part]
        rows.append(
            (
                value,
                f"{min(asrs):.2f} to {max(asrs):.2f}",
                area(scores, negative),
                rate(sum(detected(r[SCAN]) for r in part), len(part)),
                f"{sum(right_label(r) for r in part)}/{len(part)}",
                ", ".join(sorted({str(r[SCAN]["family"]) for r in part})),
            )
        )
    return _table(("", "ASR", "AUROC", "failed", "right label", "witness family"), rows)


def by_clean(clean: list[Record], key: Callable[[Record], str]) -> str:
    """A row a value of `key` over clean models."""
    rows = []
    for value in sorted({key(record) for record in clean}):
        part = [record for record in clean if key(record) == value]
        accuracies = [float(record["card"]["accuracy"]) for record in part]
        rows.append(
            (
                value,
                f"{min(accuracies):.2f} to {max(accuracies):.2f}",
                rate(sum(detected(r[SCAN]) for r in part), len(part)),
                f"{sum(r[SCAN]['outcome'] == 'inconclusive' for r in part)}/{len(part)}",
                f"{max(score(r, SCAN) for r in part):.2f}",
            )
        )
    return _table(("clean models", "accuracy", "wrongly failed", "inconclusive", "largest score"), rows)


def against(clean: list[Record], planted: list[Record], methods: Sequence[str]) -> str:
    """Every method beside the others, on the same models."""
    rows = []
    for method in methods:
        high, low = [score(r, method) for r in planted], [score(r, method) for r in clean]
        if method == SCAN:
            hits, false = (sum(detected(r[SCAN]) for r in group) for group in (planted, clean))
            labels = sum(right_label(r) for r in planted if r["card"]["kind"] not in ONE_TARGET_NOT)
            seconds = [r[SCAN]["seconds"]["all"] for r in (*planted, *clean)]
        else:
            hits, false = (sum(bool(r[method]["detected"]) for r in group) for group in (planted, clean))
            labels = sum(
                r[method]["label"] == r["card"]["target"] for r in planted if r["card"]["kind"] not in ONE_TARGET_NOT
            )
            seconds = [r[method]["seconds"] for r in (*planted, *clean)]
        one = sum(r["card"]["kind"] not in ONE_TARGET_NOT for r in planted)
        rows.append(
            (
                method,
                area(high, low),
                f"{detection_at(high, low, 0.05):.1%}",
                rate(hits, len(planted)),
                rate(false, len(clean)),
                f"{labels}/{one}",
                f"{statistics.median(seconds):.1f}",
            )
        )
    head = ("method", "AUROC", "detected at 5 % false positives", "own rule: detected", "own rule: false alarms",
            "label named right", "seconds a model (median)")  # fmt: skip
    return _table(head, rows)


def stages(records: list[Record]) -> str:
    """Seconds a stage, median and longest."""
    names = sorted({name for record in records for name in record[SCAN]["seconds"]})
    rows = []
    for name in names:
        values = [record[SCAN]["seconds"].get(name, 0.0) for record in records]
        rows.append((name, f"{statistics.median(values):.1f}", f"{max(values):.1f}"))
    return _table(("stage", "median s", "longest s"), rows)
