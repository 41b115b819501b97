"""The page of `torchvision_zoo` from its records."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

Record = dict[str, Any]

HEAD = ["model", "parameters, M", "side", "build, s", "step, s", "scan (exit)", "scan, s"]
HEAD += ["ONNX export, s", "graph-logic", "parity"]
NEW_HEAD = ["model", "export, s", "graph-logic", "parity"]
ALARM = "**alarm**"
INTRO = """# Architectures

Every classifier that torchvision lists, and some of timm, through the whole scanner.
{when}, with {versions}.

{commands}

Weights are random, with gains of 0.2 in BatchNorm; classes {classes}, samples noise: what is asked is whether each
step runs, not what it finds. A verdict means nothing here; that there is one, and no error, does.

- `side` is that of the pictures in pixels, as small as the architecture takes them.
- `step` is an epoch of [clean unlearning](exposers/clean-unlearning.md) on eight samples; some weights have to have
  changed after it, and all have to be finite.
- `scan` is the real command on a safetensors file with `--architecture` and a small policy: `file-safety`, an exposure,
  `backdoor-label`, and `model-detection` with 60 steps of patches. Exit 0 is passed, 1 failed, 4 inconclusive.
- The ONNX file is read back as the scanner reads it: `graph-logic` says whether the graph raises an alarm, parity is
  the largest difference to onnxruntime's scores, as a share of the largest score. 1e-3 is the limit.
- Times are on one thread of a machine that others used meanwhile; that of the scan includes starting its processes.
"""


def _row(record: Record) -> list[str]:
    scan = record["scan"]
    return [
        record["name"],
        f"{record['parameters'] / 1e6:.1f}" if "parameters" in record else "",
        str(record["size"]),
        _seconds(record["build"]),
        _seconds(record["step"]),
        f"{scan['verdict']} ({scan['exit']})" if "exit" in scan else "broke",
        _seconds(scan),
        *_onnx(record["export"]),
    ]


def _seconds(part: Record) -> str:
    return "broke" if "error" in part else f"{part['seconds']:.1f}"


def _onnx(part: Record) -> list[str]:
    """Seconds of the export, what `graph-logic` says, and the parity."""
    if "skipped" in part:
        return ["too large", "", ""]
    if "error" in part:
        return ["refused", "", ""]
    logic, parity = part["graph_logic"], part["parity"]
    return [f"{part['export_s']:.1f}", _alarm(logic), f"{parity['difference']:.0e}" if _is_number(parity) else "broke"]


def _alarm(logic: Record) -> str:
    outcome = str(logic.get("outcome", "broke"))
    return {"passed": "none", "failed": ALARM}.get(outcome, outcome)


def _is_number(parity: Record) -> bool:
    return isinstance(parity.get("difference"), float)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _is_exposed(record: Record) -> bool:
    step = record["step"]
    return bool(step.get("finite") and step.get("moved"))


def _is_scanned(record: Record) -> bool:
    return record["scan"].get("exit") in (0, 1, 4) and not record["scan"].get("errors")


def _summary(records: list[Record], key: str = "export") -> str:
    """One paragraph of figures."""
    count = len(records)
    done = [record[key] for record in records if "export_s" in record.get(key, {})]
    tried = [record[key] for record in records if key in record and "skipped" not in record[key]]
    logic = Counter(_alarm(part["graph_logic"]) for part in done)
    parities = [part["parity"]["difference"] for part in done if _is_number(part["parity"])]
    text = ""
    if key == "export":
        verdicts = Counter(record["scan"]["verdict"] for record in records if _is_scanned(record))
        text = (
            f"Of {count}: built {sum('error' not in record['build'] for record in records)}, exposed "
            f"{sum(map(_is_exposed, records))}, scanned without an error {sum(map(_is_scanned, records))} ("
            + ", ".join(f"{verdict} {number}" for verdict, number in sorted(verdicts.items()))
            + "), "
        )
    worst = f"{max(parities):.0e}" if parities else "not measured"
    return (
        f"{text}exported {len(done)} of {len(tried)} tried; `graph-logic`: {logic[ALARM]} alarms, no alarm "
        f"{logic['none']}; read back and computed {len(parities)}, worst parity {worst}."
    )


def _what_broke(records: list[Record]) -> str:
    lines = []
    for record in records:
        for part in ("build", "step", "scan", "export", "new_export"):
            entry = record.get(part, {})
            said = [entry[key] for key in ("error", "skipped") if key in entry] + entry.get("errors", [])
            for key in ("graph_logic", "parity"):
                inner = entry.get(key, {})
                said += [f"{key}: {inner['error']}"] if "error" in inner else []
                said += [inner["message"]] if inner.get("outcome") in ("failed", "inconclusive", "error") else []
                if "rounding" in inner:
                    said.append(f"torch's own scores in float32 are off those in float64 by {inner['rounding']:.0e}.")
            if part == "step" and "error" not in entry and not _is_exposed(record):
                said.append(f"moved {entry['moved']:.0%} of the parameters, all of them finite: {entry['finite']}")
            lines += [_wrapped(f"- {record['name']}, {part}: {text}", indent="  ") for text in said]
    return "\n".join(lines) + "\n" if lines else ""


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(" ".join(text.split()), 120, subsequent_indent=indent, break_on_hyphens=False)


def _versions() -> str:
    found = []
    for package in ("torch", "torchvision", "timm", "onnxruntime"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def document(out: Path, listed: dict[str, list[str]]) -> str:
    """The page from all finished records in `out`; says what did not work, and what of `listed` is missing."""
    groups: dict[str, list[Record]] = {"torchvision": [], "timm": []}
    times = []
    for path in sorted(out.glob("*.json")):
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        if "scan" in record and "export" in record:
            groups[record["spec"].split(":")[0]].append(record)
            times.append(path.stat().st_mtime)
    if not times:
        raise click.UsageError(f"there are no finished records in {out}")
    base = "    python -m ebyd_scan.benchmarks.torchvision_zoo"
    commands = "\n".join([base, f"{base} --timm", f"{base} --markdown FILE"])
    classes = next(iter(groups["torchvision"] or groups["timm"]))["arch_args"]["num_classes"]
    when = date.fromtimestamp(max(times)).isoformat()
    text = INTRO.format(when=when, versions=_versions(), commands=commands, classes=classes)
    for library, records in groups.items():
        if not records:
            continue
        text += f"\n## {library}\n{_wrapped(_summary(records))}\n"
        if missing := sorted(set(listed[library]) - {record["name"] for record in records}):
            text += "\n" + _wrapped(f"Not run: {', '.join(missing)}.") + "\n"
        text += f"\n{_table(HEAD, [_row(record) for record in records])}"
        if new := [record for record in records if "new_export" in record]:
            rows = [[record["name"], *_onnx(record["new_export"])] for record in new]
            told = _wrapped(f"With torch's new exporter {_summary(new, 'new_export')}")
            text += f"\n{told}\n\n{_table(NEW_HEAD, rows)}"
        if broke := _what_broke(records):
            text += f"\nWhat did not run, or not as it should:\n{broke}"
    return text
