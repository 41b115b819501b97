"""`ebyd-scan audit`: the full gate on many models, by many workers; `audit show` and `audit compare` tell of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from ...evidence.verdict import Verdict
from ..reports.audit_formats import AUDIT_FORMATS
from .run import format_options
from .scan import scan as scan_command

STORE = "ebyd-audit.sqlite"
EXECUTORS = ("auto", "in-process", "processes", "ray")
EXAMPLES = """\b
Examples:
  ebyd-scan audit checkpoints/ --samples clean/ --architecture my_nets.py:resnet \\
      --mean 0.49,0.48,0.45 --std 0.20,0.20,0.20 --html report/
  ebyd-scan audit checkpoints/ --rules rules.yaml --dry-run
  ebyd-scan audit models.csv --workers 4 --junit audit.xml --sarif audit.sarif
  ebyd-scan audit models.csv --since last     # what has changed since then
  ebyd-scan audit models.csv --only error     # what could not be scanned
  ebyd-scan audit big.yaml --executor ray --ray-address auto
  ebyd-scan audit show                        # the last audit once more
  ebyd-scan audit compare last~1 last         # what has changed

\b
A killed audit goes on where it was: run the same command again.

\b
Exit codes: that of the worst model: 1 failed, 3 could not scan, 4
            inconclusive, 0 all passed; 2 usage, manifest or policy wrong.
"""
_NOT_SHARED = frozenset({"model", "project", "only", "samples", "policy_name", "witness_dir", "remove_to", "reports"})


def _shared() -> list[click.Parameter]:
    """Options of `scan`, for all models of which neither the manifest nor a rule says anything else."""
    return [
        copy.copy(parameter)
        for parameter in scan_command.params
        if parameter.name not in _NOT_SHARED and not str(parameter.name).startswith("report_")
    ]


class AuditCommand(click.Command):
    """A command with two others behind it, so that `audit FOLDER` needs no further word."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of `audit show` or `audit compare` where that is meant."""
        if args and args[0] in ("show", "compare"):
            from .audit_show import compare, show

            command = show if args[0] == "show" else compare
            return command.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


def audit_report_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of an audit's reports."""
    return format_options(command, {name: form.help for name, form in AUDIT_FORMATS.items()}, folders=("html",))


def store_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where audits are kept."""
    return click.option(
        "--store",
        "store_path",
        type=click.Path(path_type=Path, dir_okay=False),
        default=STORE,
        show_default=True,
        metavar="FILE",
        help="What audits have found, as SQLite; made where there is none.",
    )(command)


def _sources(_ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    words = [CompletionItem(word) for word in ("show", "compare") if word.startswith(incomplete)]
    return words or [CompletionItem(incomplete, type="file")]


@click.command(cls=AuditCommand, epilog=EXAMPLES)
@click.argument("source", type=click.Path(path_type=Path), shell_complete=_sources)
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Clean labelled samples, for models of which nothing else is said.",
)
@click.option(
    "--policy",
    "policy_name",
    default="audit",
    show_default=True,
    metavar="NAME|FILE",
    help="Likewise: which checks, which thresholds.",
)
@click.option(
    "--rules",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="For a folder: which of its models are scanned how.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be scanned and how, and what cannot be and why.")
@store_option
@click.option(
    "--since",
    metavar="WHEN",
    help="Only models that have changed since a date, so long ago as 7d or 12h, or `last`: the last audit's start.",
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([verdict.value for verdict in Verdict]),
    help="Only models that ended so when they were audited last; may be repeated.",
)
@click.option(
    "--search",
    type=click.Choice(["all", "suspects"]),
    default="all",
    show_default=True,
    help="Search all models for triggers, or only those that the cheap tiers say something of: faster, and the others "
    "are left inconclusive.",
)
@click.option(
    "--workers", type=click.IntRange(1, 1000), metavar="N", help="Models at a time.  [default: one a GPU or CPU]"
)
@click.option(
    "--cpus",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="CPU threads a model.  [default: what there is, shared among the workers]",
)
@click.option(
    "--executor",
    "executor_name",
    type=click.Choice(EXECUTORS),
    default="auto",
    show_default=True,
    help="What runs the workers: this machine's processes, or Ray.",
)
@click.option("--ray-address", metavar="ADDRESS", help="A Ray cluster that is there.  [default: a local one is made]")
@click.option(
    "--retries",
    type=click.IntRange(0, 10),
    default=1,
    show_default=True,
    help="Further tries of a model whose worker went away.",
)
@audit_report_options
def audit(source: Path, dry_run: bool, quiet: bool, verbose: bool, **options: Any) -> None:
    """Scan many models: those that a manifest lists (.csv, .yaml), or all that lie in a folder.

    Cheap tiers come first: the static checks of all files, then the exposure of all models that can be loaded, then the
    search for triggers, the most suspicious models first. What is found is kept in a store at once: a killed audit
    goes on where it was, and a model that has not changed is answered from there.
    """
    from .audit_run import AuditOptions, run

    defaults = {str(parameter.name): options.pop(str(parameter.name)) for parameter in _shared()
                if parameter.name not in ("quiet", "verbose")}  # fmt: skip
    defaults |= {"samples": options.pop("samples"), "policy_name": options.pop("policy_name")}
    raise SystemExit(run(AuditOptions(source, defaults, dry_run=dry_run, quiet=quiet, verbose=verbose, **options)))


audit.params += _shared()  # after those that are about audits
