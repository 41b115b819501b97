"""`ebyd-scan selftest`: which planted backdoors would a scan of this model have caught?"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ...evidence.errors import ScanError, UsageError
from ...evidence.result import ScanResult
from ...policies.load import LoadedPolicy
from ..planted import ATTACKS, DEFAULT_EPOCHS, AttackName, Planted
from ..read_request import check_names, read_request
from ..reports.selftest import to_selftest_json, to_selftest_text
from ..reports.write import write_atomically
from ..request import ScanRequest
from ..selftest import SelfTest, check_policy, run_selftest
from ..supervisor import Stop, require_torch, supervise
from . import run as console
from .progress import show_progress
from .scan import scan as scan_command

EXAMPLES = """\b
Examples:
  ebyd-scan selftest weights.safetensors --architecture torchvision:resnet18 \\
      --arch-arg num_classes=10 --samples clean/ \\
      --mean 0.49,0.48,0.45 --std 0.20,0.20,0.20
  ebyd-scan selftest net.pth --architecture my_package.nets:small --samples clean/ \\
      --attack patch --attack blend --json selftest.json

\b
Exit codes: 0 every planted backdoor that took was caught, and the unmodified model passed;
            1 one was missed, or the unmodified model failed; 2 usage or policy file wrong;
            3 could not scan; 4 nothing took, or a scan was inconclusive.
"""
# The same options as `scan` has, word for word: the self-test is a test of that scan.
# fmt: off
SHARED = frozenset({
    "model", "samples", "classes_file", "architecture", "arch_args", "mean", "std", "size", "policy_name",
    "device", "seed", "timeout", "memory", "allow_pickle", "trust_remote_code", "quiet", "verbose",
    "base_model",
})
# fmt: on


def _shared() -> list[click.Parameter]:
    shared = [copy.copy(parameter) for parameter in scan_command.params if parameter.name in SHARED]
    for parameter in shared:  # a scan may take them from a project file
        parameter.required = parameter.name in ("model", "samples")
    return shared


@click.command(params=_shared(), epilog=EXAMPLES)
@click.option(
    "--attack",
    "attacks",
    type=click.Choice(ATTACKS),
    multiple=True,
    help="Plant this backdoor; may be repeated.  [default: all]",
)
@click.option(
    "--epochs",
    type=click.IntRange(1, 10_000),
    default=DEFAULT_EPOCHS,
    show_default=True,
    help="Epochs of planting at most; it ends as soon as the trigger works.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write everything as JSON; `-` is standard output.",
)
def selftest(
    attacks: tuple[AttackName, ...], epochs: int, json_path: Path | None, quiet: bool, verbose: bool, **shared: Any
) -> None:
    """Plant known backdoors in copies of MODEL and say which of them a scan would have caught.

    Each copy is fine-tuned on half of the samples, in memory and in a process of its own, and scanned as
    `ebyd-scan scan` scans; so is MODEL as it is. MODEL is not changed. --timeout and --memory hold for each copy.
    """
    try:
        policy, request = read_request(**shared)
        check_policy(policy)
        if request.of_texts:
            raise UsageError(
                f"{request.samples}: the self-test plants backdoors in image classifiers, not in those of texts"
            )
        check_names(request)
        console.check_reports(request, policy, console.Reports({"json": json_path}))
        require_torch()
        with console.stopped_by_sigterm() as stop:
            scan = _scanner(policy, len(attacks or ATTACKS) + 1, stop, quiet=quiet, verbose=verbose)
            test = run_selftest(request, attacks or ATTACKS, epochs, scan)
    except ScanError as problem:
        raise console.as_failure(problem) from problem
    _report(test, json_path)
    raise SystemExit(test.exit_code)


def _scanner(policy: LoadedPolicy, total: int, stop: Stop, **how: Any) -> Callable[..., ScanResult]:
    number = 0

    def scan(request: ScanRequest, on_plant: Callable[[Planted], None]) -> ScanResult:
        nonlocal number
        number += 1
        which = f"{number} of {total}, {request.plant.attack if request.plant else 'unmodified'}"
        with show_progress(how["quiet"]) as progress:

            def show(stage: str, done: int, steps: int) -> None:
                progress(f"{which}: {stage}", done, steps)

            return supervise(request, policy, progress=show, verbose=how["verbose"], stop=stop, on_plant=on_plant)

    return scan


def _report(test: SelfTest, json_path: Path | None) -> None:
    to_stdout = json_path is not None and console.is_stdout(json_path)
    width = max(60, min(120, console.terminal_width(without=120)))
    console.echo(to_selftest_text(test, color=console.color(to_stdout), width=width), err=to_stdout)
    if json_path is None:
        return
    if to_stdout:
        console.echo(to_selftest_json(test))
        return
    try:
        write_atomically(json_path, to_selftest_json(test))
    except ScanError as problem:
        raise console.Failure(str(problem), 3) from problem
