"""The tables of removal, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from .measure import AUTO, SCAN

Record = dict[str, Any]


def backdoored(records: Sequence[Record], methods: Sequence[str]) -> str:
    """All methods over the models that each was measured on, then `auto` by attack, then model by model."""
    done = [one for one in records if AUTO in one]
    parts = [
        f"{len(done)} of {len(records)} models measured with auto.\n",
        _methods(records, methods),
        _kinds(done),
        _models(done),
        _acceptance(done),
    ]
    return "\n".join(parts)


def _methods(records: Sequence[Record], methods: Sequence[str]) -> str:
    lines = [
        "| method | n | ASR after, mean | ASR after, worst | models above 20 % | accuracy lost, points, mean | worst "
        "| seconds, median |",
        "|---|---|---|---|---|---|---|---|",
    ]
    before = [one for one in records if "before" in one]
    if before:
        asr = [one["before"]["asr"] for one in before]
        lines.append(f"| not repaired | {len(before)} | {fmean(asr):.1%} | {max(asr):.1%} | {len(before)} | | | |")
    for name in methods:
        some = [one for one in records if name in one and one[name].get("asr") is not None]
        if not some:
            continue
        asr, lost = [one[name]["asr"] for one in some], [_lost(one, name) for one in some]
        lines.append(
            f"| {name} | {len(some)} | {fmean(asr):.1%} | {max(asr):.1%} | {sum(one > 0.2 for one in asr)} "
            f"| {fmean(lost):.1f} | {max(lost):.1f} | {median(one[name]['seconds'] for one in some):.0f} |"
        )
    return "\n".join(lines) + "\n"


def _kinds(records: Sequence[Record]) -> str:
    lines = ["| attack | n | ASR before | ASR after auto | accuracy lost, points |", "|---|---|---|---|---|"]
    for kind in sorted({one["card"]["kind"] for one in records}):
        some = [one for one in records if one["card"]["kind"] == kind]
        lines.append(
            f"| {kind} | {len(some)} | {fmean(one['before']['asr'] for one in some):.1%} "
            f"| {', '.join(format(one[AUTO]['asr'], '.1%') for one in some)} "
            f"| {', '.join(format(_lost(one, AUTO), '.1f') for one in some)} |"
        )
    return "\n".join(lines) + "\n"


def _models(records: Sequence[Record]) -> str:
    lines = [
        "| model | network | scan | accuracy before | after | ASR before | after | by | accepted | fresh scan |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in records:
        auto, before = one[AUTO], one["before"]
        lines.append(
            f"| {one['card']['name']} | {one['card']['architecture'].partition(':')[2]} | {one[SCAN]['outcome']} "
            f"| {before['accuracy']:.3f} | {auto['accuracy']:.3f} | {before['asr']:.3f} | {auto['asr']:.3f} "
            f"| {auto['method']} | {'yes' if auto['accepted'] else 'no'} | {auto['fresh']} |"
        )
    return "\n".join(lines) + "\n"


def _acceptance(records: Sequence[Record]) -> str:
    """What `auto` says of its own repairs, and what the command leaves by default where the scan found nothing."""
    lines = []
    for said, some in (
        ("accepted", [one for one in records if one[AUTO]["accepted"]]),
        ("not accepted", [one for one in records if not one[AUTO]["accepted"]]),
        ("failed by the scan", [one for one in records if one[SCAN]["outcome"] == "failed"]),
        ("passed by the scan", [one for one in records if one[SCAN]["outcome"] == "passed"]),
    ):
        if some:
            asr = [one[AUTO]["asr"] for one in some]
            lost = fmean(_lost(one, AUTO) for one in some)
            lines.append(f"- {said}: {len(some)}, mean ASR {fmean(asr):.1%}, worst {max(asr):.1%}, {lost:.1f} points")
    passes = sum(one[AUTO]["fresh"] == "passed" for one in records)
    lines.append(f"- fresh scan with another seed passed: {passes} of {len(records)}")
    return "\n".join(lines) + "\n"


def clean_models(records: Sequence[Record]) -> str:
    """What the command does with clean models, and what a forced repair costs them."""
    done = [one for one in records if AUTO in one]
    untouched = [one for one in done if one[SCAN]["outcome"] == "passed"]
    lost = [_lost(one, AUTO) for one in done]
    default = [0.0 if one[SCAN]["outcome"] == "passed" else _lost(one, AUTO) for one in done]
    return (
        f"{len(done)} clean models: {len(untouched)} passed the scan and were left as they are.\n"
        f"Accuracy lost, points: by default mean {fmean(default):.2f}, worst {max(default):.1f}; "
        f"with a forced repair mean {fmean(lost):.2f}, worst {max(lost):.1f}.\n"
    )


def _lost(record: Record, name: str) -> float:
    """Percentage points of clean accuracy."""
    return 100 * float(record["before"]["accuracy"] - record[name]["accuracy"])
