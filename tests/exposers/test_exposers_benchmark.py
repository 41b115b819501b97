"""The table of benchmarks/exposers.py, on the shipped digit models."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from click.testing import CliRunner  # noqa: E402
from ebyd_scan.benchmarks.exposers import Subject, Tally, main, parse_exposer  # noqa: E402
from ebyd_scan.evidence.errors import UsageError  # noqa: E402
from ebyd_scan.evidence.exposure import ExposureRun, TrajectoryStep  # noqa: E402
from ebyd_scan.fixtures.digits import MODELS  # noqa: E402
from pydantic import ValidationError  # noqa: E402


def _run(after: list[int] | None) -> ExposureRun:
    return ExposureRun(
        method="m",
        seed=0,
        converged=after is not None,
        reason="because",
        trajectory=[],
        before=TrajectoryStep(step=0, accuracy=1, histogram=[5, 5, 10]),
        after=after and TrajectoryStep(step=1, accuracy=0, histogram=after),
        seconds=2.0,
    )


def test_a_row_is_counted() -> None:
    tally = Tally()
    backdoored, clean = Subject("b", 1, None, None), Subject("c", None, None, None)
    assert "target 1 at rank 0 with gain 0.65" in tally.add(backdoored, [_run([0, 18, 2])])
    assert "rank 1" in tally.add(backdoored, [_run([8, 8, 4])])  # a tie counts against the target
    assert "no run converged" in tally.add(backdoored, [_run(None)])
    tally.add(clean, [_run([10, 5, 5]), _run([10, 5, 5])])
    assert tally.row("x") == "| x | 3 | 1/3 (33%) | 2/3 (67%) | 0.40 | 1 | 0.25 | 4/5 (80%) | 2.0 |"
    assert Tally().row("x") == "| x | 0 | - | - | - | 0 | - | - | - |"


def test_the_command_reads_cards_and_samples() -> None:
    samples = MODELS / "digits-samples.npz"
    arguments = ["--models", str(MODELS), "--samples", str(samples), "--count", "200", "--threads", "1"]
    spec = "weight-perturbation:max_epochs=1,epsilon=0.9"
    done = CliRunner().invoke(main, [*arguments, "--exposer", spec, "--exposer", "sparsification:step_share=0.1"])
    assert done.exit_code == 0, done.output
    assert "| exposer | backdoored, n |" in done.stdout
    assert f"| {spec} | 1 | " in done.stdout
    assert "| sparsification:step_share=0.1 | 1 | 1/1 (100%) |" in done.stdout
    nothing = CliRunner().invoke(main, ["--models", str(MODELS), "--samples", f"other={samples}"])
    assert "left out, it has no samples" in nothing.stderr
    assert CliRunner().invoke(main, []).exit_code == 2


def test_exposers_are_parsed() -> None:
    assert parse_exposer("sparsification:criterion=magnitude,stop_accuracy=0.3").criterion == "magnitude"
    with pytest.raises(UsageError, match="did you mean"):
        parse_exposer("sparsificatoin")
    with pytest.raises(ValidationError):
        parse_exposer("sparsification:stop_accuracy=7")
