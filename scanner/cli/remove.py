"""`ebyd-scan remove`: repair a model, scan what came of it, write it to a new file."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from ...evidence.errors import ScanError
from ..read_request import read_request
from ..removal import Removal, with_method
from .run import Reports, as_failure, report_options, run_scan
from .scan import scan as scan_command

EXAMPLES = """\b
Examples:
  ebyd-scan remove weights.safetensors --samples clean/ -o repaired.safetensors \\
      --architecture torchvision:resnet18 --arch-arg num_classes=10 \\
      --mean 0.49,0.48,0.45 --std 0.20,0.20,0.20
  ebyd-scan remove net.onnx --samples clean.npz -o repaired.onnx --html report.html
  ebyd-scan remove my-text-classifier/ --samples reviews.tsv -o repaired/
  ebyd-scan remove traced.pt --samples clean.npz -o repaired.pt --method fine-pruning

\b
Exit codes, of MODEL as of `scan`: a failed model stays failed, unless the
            policy says `verdict_of: repaired` under `removal`.
            0 passed, 1 failed the policy, 2 usage or policy file wrong,
            3 could not scan, 4 inconclusive.
"""
OWN = frozenset({"project", "only", "remove_to", "reports"})
"""Options of `scan` that this command does not have."""


def _shared() -> list[click.Parameter]:
    """The same options as `scan` has, word for word: what is found is found in the same way."""
    shared = [
        copy.copy(parameter)
        for parameter in scan_command.params
        if parameter.name not in OWN and not str(parameter.name).startswith("report_")
    ]
    for parameter in shared:  # a scan may take them from a project file
        parameter.required = parameter.name in ("model", "samples")
    return shared


def _methods(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from ...policies.model import AUTO
    from ...policies.plugins import REMOVERS, plugin_names

    return [CompletionItem(name) for name in (AUTO, *plugin_names(REMOVERS)) if name.startswith(incomplete)]


@click.command(params=_shared(), epilog=EXAMPLES)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="OUT",
    required=True,
    help="Where the repaired model goes, in MODEL's format. Nothing that is there is overwritten.",
)
@click.option(
    "--method",
    metavar="NAME",
    shell_complete=_methods,
    help="`auto`, or the one remover to use.  [default: the policy's]",
)
@click.option("--force", is_flag=True, help="Repair a model that passed too.")
@report_options
def remove(
    out: Path,
    method: str | None,
    force: bool,
    reference: Path | None,
    reports: dict[str, Path | None],
    witness_dir: Path | None,
    quiet: bool,
    verbose: bool,
    **shared: Any,
) -> None:
    """Scan MODEL, remove the backdoor that is found, scan the repaired model, and write it to OUT.

    Removers are tried until one is as good as the policy wants, on samples that it did not see. What is written lies
    in OUT with a provenance file beside it (in it, where OUT is a folder). A model that passed has nothing to remove:
    OUT is a copy of it then. A repair that is not as good as the policy wants is written too, and marked so.
    """
    removal = Removal(out, force=force, method=method)
    try:
        loaded, request = read_request(reference=reference, **shared)
        loaded = with_method(loaded, removal)
        request = request.model_copy(update={"policy": loaded.policy})
    except ScanError as problem:
        raise as_failure(problem) from problem
    result = run_scan(request, loaded, Reports(reports, witness_dir), quiet=quiet, verbose=verbose, removal=removal)
    raise SystemExit(result.verdict.exit_code)
