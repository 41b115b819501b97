"""Scans the CIFAR-10 models of `cifar10_models` through the command line and prints a table.

    python -m ebyd_scan.benchmarks.cifar10_scan --data ../shared/data/cifar10 --models work/cifar10

Each model is scanned with several seeds, each scan a call of `ebyd-scan scan` with the shipped policy. The scans
see samples of test[:2500] only; ACC and ASR in the table were measured on test[2500:]. Resumable: a JSON report
that is there already is read, not made again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from .cifar10_models import CLEAN_SAMPLES, MEAN, STD


def write_samples(data: Path, out: Path, per_class: int) -> Path:
    """`per_class` samples of each class from the part of the test set that scans may see."""
    path = out / f"samples-{per_class}.npz"
    if not path.exists():
        testset = np.load(data / "test.npz")
        images, labels = testset["x"][:CLEAN_SAMPLES], testset["y"][:CLEAN_SAMPLES]
        order = np.random.default_rng(0).permutation(len(labels))
        chosen = np.sort(np.concatenate([order[labels[order] == label][:per_class] for label in range(10)]))
        np.savez(path, x=images[chosen], y=labels[chosen])
    return path


def scan(record: dict[str, Any], models: Path, samples: Path, seed: int, policy: str, reports: Path) -> dict[str, Any]:
    """One call of the command line; the JSON report."""
    report = reports / f"{record['name']}-{seed}.json"
    if not report.exists() or json.loads(report.read_text(encoding="utf-8"))["verdict"] == "error":
        command = [sys.executable, "-c", "from ebyd_scan.scanner.cli.main import main; main()", "scan"]
        command += [str(models / f"{record['name']}.safetensors"), "--architecture", record["architecture"]]
        command += ["--arch-arg", "num_classes=10", "--samples", str(samples), "--policy", policy, "--quiet"]
        command += ["--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD))]
        command += ["--seed", str(seed), "--json", str(report)]
        done = subprocess.run(command, capture_output=True, text=True)
        if not report.exists():
            raise click.ClickException(f"{record['name']}: the scan left no report: {done.stderr or done.stdout}")
    result: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return result


def is_right(record: dict[str, Any], result: dict[str, Any]) -> bool:
    """The verdict, and for a backdoored model the label too."""
    if record["target"] is None:
        return bool(result["verdict"] == "passed")
    return bool(result["verdict"] == "failed" and _finding(result)["label"] == record["target"])


def _finding(result: dict[str, Any], check: str = "model-detection") -> dict[str, Any]:
    return next(finding for finding in result["findings"] if finding["check"] == check)


def _row(record: dict[str, Any], results: list[dict[str, Any]]) -> str:
    asr = "-" if record["asr"] is None else f"{record['asr']:.3f}"
    attack = (record["attack"] or "none").partition("(")[0]
    target = "-" if record["target"] is None else str(record["target"])
    found = [_finding(result) for result in results]
    labels = ", ".join("-" if f["label"] is None else str(f["label"]) for f in found)
    collapsed = ", ".join(
        "-" if f["label"] is None else str(f["label"]) for f in (_finding(r, "backdoor-label") for r in results)
    )
    scores = ", ".join("-" if f["score"] is None else f"{f['score']:.2f}" for f in found)
    replayed = ", ".join("-" if f["witness"] is None else f"{f['witness']['attack_success_rate']:.2f}" for f in found)
    seconds = ", ".join(f"{result['timings']['total']:.0f}" for result in results)
    verdicts = ", ".join(result["verdict"] for result in results)
    right = sum(is_right(record, result) for result in results)
    return (
        f"| {record['name']} | {attack} | {record['accuracy']:.3f} | {asr} | {target} | {verdicts} | {labels} | "
        f"{collapsed} | {scores} | {replayed} | {seconds} | {right}/{len(results)} |"
    )


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--models", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("work/cifar10"))
@click.option("--group", type=click.Choice(["choosing", "reporting"]), default="reporting", show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--per-class", default=100, show_default=True, help="Clean samples a class; half of them are held out.")
@click.option("--policy", default="release-gate", show_default=True)
@click.option("--only", multiple=True, help="Only models whose name starts so; may be repeated.")
def main(data: Path, models: Path, group: str, seeds: int, per_class: int, policy: str, only: tuple[str, ...]) -> None:
    """Scan every model of the group and print a Markdown table."""
    samples = write_samples(data, models, per_class)
    reports = models / f"reports-{Path(policy).stem}-{per_class}"
    reports.mkdir(exist_ok=True)
    click.echo(
        "| model | attack | ACC | ASR | target | verdicts | label | collapse | score | replayed ASR | s | right |"
    )
    click.echo("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for path in sorted(models.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.get("group") != group or (only and not record["name"].startswith(only)):
            continue
        click.echo(_row(record, [scan(record, models, samples, seed, policy, reports) for seed in range(seeds)]))


if __name__ == "__main__":
    main()
