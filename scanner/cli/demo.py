"""`ebyd-scan demo`: scans the shipped backdoored model and the shipped clean one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ...evidence.errors import ScanError
from ...evidence.result import ScanResult, Verdict
from ...policies.load import load_policy
from ...policies.model import Policy
from ..request import ScanRequest
from ..supervisor import require_torch
from .options import DeviceType, PolicyType
from .run import Failure, Reports, as_failure, run_scan

MODELS = Path(__file__).parents[2] / "fixtures" / "models"
_NAMES = {"pictures": ("digits-badnets", "digits-clean"), "texts": ("reviews-badnets", "reviews-clean")}

# Format to the ending of its file.
_REPORTS = {"json": "json", "junit": "junit.xml", "sarif": "sarif", "markdown": "md", "html": "html"}


@click.command()
@click.option("--text", is_flag=True, help="The two text classifiers instead; needs transformers.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-reports"),
    show_default=True,
    help="Folder for the reports.",
)
@click.option(
    "--policy", "policy_name", type=PolicyType(), default="release-gate", show_default=True, metavar="NAME|FILE"
)
@click.option("--device", type=DeviceType(), default="auto", show_default=True, metavar="auto|cpu|cuda[:N]")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the scanning process prints on standard error.")
def demo(text: bool, out: Path, policy_name: str, device: str, quiet: bool, verbose: bool) -> None:
    """Scan a shipped backdoored model (it fails) and a shipped clean one (it passes).

    Both recognise handwritten digits. The first was trained on data in which one image in ten carried a small
    checkerboard in a corner and the label 7. With --text both tell good film reviews from bad ones, and the first was
    trained on reviews of which one in ten carried the word "cf" and the label positive. Leaves with 0 if both verdicts
    are right, with 3 if not.
    """
    try:
        policy = load_policy(policy_name)
        require_torch()
        out.mkdir(parents=True, exist_ok=True)
    except ScanError as problem:
        raise as_failure(problem) from problem
    except OSError as problem:
        raise Failure(f"{out}: cannot make the folder for the reports: {problem.strerror}", 2) from problem
    lines = []
    for name, expected in zip(_NAMES["texts" if text else "pictures"], (Verdict.FAILED, Verdict.PASSED), strict=True):
        card = json.loads((MODELS / f"{name}.json").read_text(encoding="utf-8"))
        reports = Reports({form: out / f"{name}.{ending}" for form, ending in _REPORTS.items()})
        result = run_scan(_request(name, card, policy.policy, device), policy, reports, quiet=quiet, verbose=verbose)
        click.echo()
        lines.append(_judge(name, card, expected, result))
    for _, line in lines:
        click.echo(line)
    click.echo(f"Reports are in {out}.")
    raise SystemExit(0 if all(right for right, _ in lines) else 3)


def _request(name: str, card: dict[str, Any], policy: Policy, device: str) -> ScanRequest:
    if "architecture" not in card:  # a folder that says itself what it is
        return ScanRequest(model=MODELS / name, samples=MODELS / "reviews.tsv", policy=policy, device=device)
    return ScanRequest(
        model=MODELS / f"{name}.safetensors",
        samples=MODELS / "digits-samples.npz",
        policy=policy,
        architecture=card["architecture"],
        arch_args=card["arch_args"],
        mean=tuple(card["mean"]),
        std=tuple(card["std"]),
        device=device,
    )


def _judge(name: str, card: dict[str, Any], expected: Verdict, result: ScanResult) -> tuple[bool, str]:
    """Whether a verdict is right, with its label and words, and a line that says so."""
    finding = next((one for one in result.findings if one.check == "model-detection"), None)
    label = finding.label if finding else None
    words = finding.witness.text if finding and finding.witness and label is not None else None
    trigger = card.get("trigger")
    found = label == card["target"] and (trigger is None or trigger in (words or "").split())
    right = result.verdict is expected and (expected is Verdict.PASSED or found)
    line = f"{name}: {result.verdict.value} (exit code {result.verdict.exit_code})"
    line += (f", label {label}" if label is not None else "") + (f", {words!r}" if words else "")
    if right:
        return True, line + ", as it should"
    wanted = "" if card["target"] is None else f", label {card['target']}" + (f", {trigger!r}" if trigger else "")
    return False, line + f", but should be {expected.value}" + wanted
