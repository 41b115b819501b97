"""`ebyd-scan scan`: the full gate on one model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from ...evidence.errors import ScanError
from ..read_request import read_request
from ..removal import Removal, with_method
from .options import DeviceType, FloatsType, LimitType, PolicyType, SizeType
from .run import Reports, as_failure, report_options, run_scan

EXAMPLES = """\b
Examples:
  ebyd-scan scan weights.safetensors --architecture torchvision:resnet18 \\
      --arch-arg num_classes=10 --samples clean/ \\
      --mean 0.49,0.48,0.45 --std 0.20,0.20,0.20 --junit report.xml
  ebyd-scan scan traced.pt --samples clean.npz --policy quick --json report.json
  ebyd-scan scan net.pth --architecture my_package.nets:small --samples clean/
  ebyd-scan scan my-text-classifier/ --samples reviews.tsv
  ebyd-scan scan my-adapter/ --base-model bert/ --samples reviews.tsv
  ebyd-scan scan                    # the models that ebyd-scan.yaml lists
  ebyd-scan scan --only resnet -q   # one of them

\b
Exit codes: 0 passed, 1 failed the policy, 2 usage or policy file wrong,
            3 could not scan, 4 inconclusive.
"""


def _models_of_project(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from ..project.load import load_project
    from ..project.model import PROJECT_FILE

    try:
        entries = load_project(Path(ctx.params.get("project") or PROJECT_FILE))
    except ScanError:
        return []
    return [CompletionItem(entry.name) for entry in entries if entry.name.startswith(incomplete)]


@click.command(epilog=EXAMPLES)
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option(
    "--project",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Without MODEL: scan the models that this file lists.  [default: ebyd-scan.yaml]",
)
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    shell_complete=_models_of_project,
    help="Of the project's models this one; may be repeated.",
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Clean labelled samples: a folder of class folders, or an .npz with x and y; texts as .csv, .tsv, .jsonl or "
    ".parquet with text and label.",
)
@click.option(
    "--classes",
    "classes_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="classes.txt that maps class folders to indices.  [default: the one in the samples folder]",
)
@click.option(
    "--architecture",
    metavar="SPEC",
    help="For files that hold weights only: torchvision:NAME, timm:NAME, package.module:callable or "
    "path/to/file.py:callable. It is run: name only code you trust.",
)
@click.option(
    "--base-model",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="For an adapter (LoRA): the local folder of the model that it was trained on.",
)
@click.option(
    "--arch-arg",
    "arch_args",
    multiple=True,
    metavar="KEY=VALUE",
    help="Argument for the architecture; may be repeated.",
)
@click.option(
    "--mean",
    type=FloatsType(),
    metavar="R,G,B",
    help="Mean the model was trained with, of pixels in 0..1.  [default: none subtracted]",
)
@click.option(
    "--std", type=FloatsType(positive=True), metavar="R,G,B", help="Standard deviation likewise.  [default: 1]"
)
@click.option(
    "--size", type=SizeType(), metavar="N|HxW", help="Resize samples to this many pixels.  [default: as they are]"
)
@click.option("--text-column", metavar="NAME", help="Column of the texts.  [default: found by its name]")
@click.option("--pair-column", metavar="NAME", help="Column of the second text of pairs.  [default: likewise]")
@click.option("--label-column", metavar="NAME", help="Column of the labels.  [default: likewise]")
@click.option(
    "--max-length",
    type=click.IntRange(4, 100_000),
    metavar="TOKENS",
    help="Cut texts to this many tokens, as in training.  [default: what the model takes, at most 512]",
)
@click.option(
    "--policy",
    "policy_name",
    type=PolicyType(),
    default="release-gate",
    show_default=True,
    metavar="NAME|FILE",
    help="Which checks, which thresholds: see `ebyd-scan policy list`.",
)
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="A release that was approved before, to compare with: same architecture, --mean and --std. The policy has to "
    "name reference-drift.",
)
@report_options
@click.option(
    "--witness-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write a recovered trigger, if there is one, as .npz and .png.",
)
@click.option(
    "--remove-to",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Remove the backdoor that is found, and write the repaired model there: see `ebyd-scan remove --help`.",
)
@click.option(
    "--device",
    type=DeviceType(),
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:N]",
    help="Where to compute.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 // 1000 - 1),
    default=0,
    show_default=True,
    help="Seed of every random draw: same seed, same verdict.",
)
@click.option(
    "--timeout",
    type=LimitType(),
    metavar="SECONDS",
    help="Time limit of the scan.  [default: the policy's]",
)
@click.option(
    "--memory",
    type=LimitType(),
    metavar="GIB",
    help="Memory limit of the scan.  [default: the policy's]",
)
@click.option(
    "--allow-pickle",
    is_flag=True,
    help="Take a whole-module pickle in which the file check finds nothing. Loading runs its code: trust it first.",
)
@click.option(
    "--trust-remote-code",
    is_flag=True,
    help="Run the Python code in a Hugging Face folder that needs it to build its model. Read that code first.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the scanning process prints on standard error.")
def scan(
    project: Path | None,
    only: tuple[str, ...],
    reference: Path | None,
    reports: dict[str, Path | None],
    witness_dir: Path | None,
    remove_to: Path | None,
    quiet: bool,
    verbose: bool,
    **shared: Any,
) -> None:
    """Scan MODEL for backdoors: check the file, expose, find suspect labels, look for a trigger, give a verdict.

    MODEL is a safetensors file, a PyTorch checkpoint, a TorchScript file, a torch.export program, an ONNX file or a
    Hugging Face folder. A folder brings its own image processor: --mean, --std and --size are not needed. Text
    classifiers are scanned as Hugging Face folders with their tokenizer, on a table of texts. A LoRA adapter's folder
    is scanned with its model's: --base-model.

    Without MODEL the models of a project are scanned, each with the options that `ebyd-scan.yaml` gives it.
    """
    if shared["model"] is None:
        from .scan_project import scan_project

        raise SystemExit(scan_project(click.get_current_context(), project, only, quiet=quiet, verbose=verbose))
    if project or only:
        raise click.UsageError(f"{'--project' if project else '--only'} goes without MODEL: the project names its own.")
    if shared["samples"] is None:
        raise click.UsageError("Missing option '--samples'.")
    removal = Removal(remove_to, option="--remove-to") if remove_to else None
    try:
        loaded, request = read_request(reference=reference, **shared)
        if removal:
            loaded = with_method(loaded, removal)
    except ScanError as problem:
        raise as_failure(problem) from problem
    result = run_scan(request, loaded, Reports(reports, witness_dir), quiet=quiet, verbose=verbose, removal=removal)
    raise SystemExit(result.verdict.exit_code)
