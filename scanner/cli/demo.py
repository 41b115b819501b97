"""`ebyd-scan demo`: scans the shipped backdoored model and the shipped clean one."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ...evidence.errors import ScanError
from ...evidence.result import Verdict
from ...policies.load import load_policy
from ..request import ScanRequest
from .options import DeviceType
from .run import Failure, Reports, as_failure, run_scan

MODELS = Path(__file__).parents[2] / "fixtures" / "models"
SAMPLES = MODELS / "digits-samples.npz"


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-reports"),
    show_default=True,
    help="Folder for the JSON and JUnit reports.",
)
@click.option("--policy", "policy_name", default="release-gate", show_default=True, metavar="NAME|FILE")
@click.option("--device", type=DeviceType(), default="auto", show_default=True, metavar="auto|cpu|cuda[:N]")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def demo(out: Path, policy_name: str, device: str, quiet: bool) -> None:
    """Scan a shipped backdoored model (it fails) and a shipped clean one (it passes).

    Both recognise handwritten digits. The first was trained on data in which one image in ten carried a small
    checkerboard in a corner and the label 7. Leaves with 0 if both verdicts are right, with 3 if not.
    """
    try:
        policy = load_policy(policy_name)
        out.mkdir(parents=True, exist_ok=True)
    except ScanError as problem:
        raise as_failure(problem) from problem
    except OSError as problem:
        raise Failure(f"{out}: cannot make the folder for the reports: {problem.strerror}", 2) from problem
    lines = []
    for name, expected in (("digits-badnets", Verdict.FAILED), ("digits-clean", Verdict.PASSED)):
        card = json.loads((MODELS / f"{name}.json").read_text(encoding="utf-8"))
        request = ScanRequest(
            model=MODELS / f"{name}.safetensors",
            samples=SAMPLES,
            policy=policy.policy,
            architecture=card["architecture"],
            arch_args=card["arch_args"],
            mean=tuple(card["mean"]),
            std=tuple(card["std"]),
            device=device,
        )
        reports = Reports(out / f"{name}.json", out / f"{name}.junit.xml")
        result = run_scan(request, policy, reports, quiet=quiet)
        click.echo()
        label = next((f.label for f in result.findings if f.check == "model-detection"), None)
        right = result.verdict is expected and (expected is Verdict.PASSED or label == card["target"])
        lines.append(
            (
                right,
                f"{name}: {result.verdict.value} (exit code {result.verdict.exit_code})"
                + (f", label {label}" if label is not None else "")
                + (", as it should" if right else f", but should be {expected.value}, label {card['target']}"),
            )
        )
    for _, line in lines:
        click.echo(line)
    click.echo(f"Reports are in {out}.")
    raise SystemExit(0 if all(right for right, _ in lines) else 3)
