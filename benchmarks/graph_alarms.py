"""What graph-logic says of classifiers that nobody has tampered with, and of the same with a backdoor in the graph.

    python -m ebyd_scan.benchmarks.graph_alarms
    python -m ebyd_scan.benchmarks.graph_alarms --kind text --model bert --model gpt2 --keep exported/ --plant

Every model has random weights and is written by both of torch's exporters. A model that an exporter cannot write is
told, not counted. With --plant every file is also given each backdoor of `graph_backdoors`; those that onnxruntime
shows to work are counted.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from onnx import ModelProto

from ..checks.graph_logic import GraphLogic
from ..checks.onnx_read import parse
from ..evidence.context import Evidence
from ..evidence.errors import ScanError
from ..evidence.finding import Outcome
from ..scanner.models.identify import identify
from .graph_backdoors import planted
from .graph_models import BUILDERS, NAMES, export

EXPORTERS = ("new", "old")


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters print whole graphs when they fail, some of it from C."""
    sys.stdout.flush()
    kept, nothing = (os.dup(1), os.dup(2)), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        for number, saved in enumerate(kept, 1):
            os.dup2(saved, number)
            os.close(saved)
        os.close(nothing)


def _written(kind: str, name: str, exporter: str, path: Path) -> str | None:
    """Export the model; why it cannot be, or None. Attention is written out where the fused one has no operator."""
    reason = ""
    for attention in (None, "eager") if kind != "torchvision" else (None,):
        torch.manual_seed(0)
        try:
            with torch.no_grad(), _quiet():
                export(BUILDERS[kind](name, attention), path, exporter=exporter)
            return None
        except Exception as error:  # whatever the exporters say
            reason = reason or f"{type(error).__name__}: {' '.join(str(error).split())[:90]}"
    return reason


@dataclass
class _Counts:
    files: int = 0
    alarms: int = 0
    not_exported: int = 0
    planted: int = 0
    found: int = 0


def _judged(path: Path) -> tuple[Outcome, str]:
    try:
        finding = GraphLogic().run(Evidence(artifact=identify(path), seed=0))
    except ScanError as error:
        return Outcome.ERROR, str(error)
    return finding.outcome, finding.message


def _row(kind: str, name: str, exporter: str, path: Path, plant: bool, counts: _Counts) -> str:
    """A row of the table."""
    if not path.exists() and (reason := _written(kind, name, exporter, path)):
        counts.not_exported += 1
        return f"| {name} | {exporter} | | not exported | | {reason} |"
    model = parse(path, path.read_bytes())
    started = time.perf_counter()
    outcome, message = _judged(path)
    seconds = time.perf_counter() - started
    counts.files += 1
    counts.alarms += outcome is not Outcome.PASSED
    said = "" if outcome is Outcome.PASSED else message
    found = _planted(model, path, counts) if plant and outcome is Outcome.PASSED else ""
    return f"| {name} | {exporter} | {len(model.graph.node)} | {outcome} in {seconds:.2f} s | {found} | {said} |"


def _planted(model: ModelProto, path: Path, counts: _Counts) -> str:
    """How many of the backdoors that work in this file are found, and which are not."""
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    changed = path.with_name(f"planted-{path.name}")
    works, missed = 0, []
    try:
        for kind, proto in planted(model, sizes[-1].dim_value):
            changed.write_bytes(proto.SerializeToString())
            outcome, _ = _judged(changed)
            works += 1
            missed += [kind] if outcome is not Outcome.FAILED else []
    except Exception as error:  # whatever onnxruntime says of a file
        return f"not planted: {type(error).__name__}"
    finally:
        changed.unlink(missing_ok=True)
    counts.planted += works
    counts.found += works - len(missed)
    return f"{works - len(missed)} of {works}{', not ' if missed else ''}{', '.join(missed)}"


@click.command()
@click.option("--kind", "kinds", type=click.Choice(list(NAMES)), multiple=True, default=list(NAMES), show_default=True)
@click.option("--model", "models", multiple=True, help="Only these, by name. [default: all]")
@click.option("--exporter", "exporters", type=click.Choice(EXPORTERS), multiple=True, default=EXPORTERS)
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for the files; those in it are not made again.")
@click.option("--plant", is_flag=True, help="Put backdoors into the graphs, too; takes onnxruntime.")
def main(
    kinds: tuple[str, ...], models: tuple[str, ...], exporters: tuple[str, ...], keep: Path | None, plant: bool
) -> None:
    """Print a row a file: nodes, outcome, seconds, backdoors found, and what the alarm is about."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    click.echo("| model | exporter | nodes | graph-logic | planted, found | about |\n|---|---|---|---|---|---|")
    counts = _Counts()
    with tempfile.TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for kind in kinds:
            for name in (name for name in NAMES[kind] if not models or name in models):
                for exporter in exporters:
                    path = folder / f"{kind}-{name}-{exporter}.onnx"
                    click.echo(_row(kind, name, exporter, path, plant, counts))
                    if not keep:
                        path.unlink(missing_ok=True)
    click.echo(f"\n{counts.files} files, {counts.alarms} alarms; {counts.not_exported} not exported.")
    if plant:
        click.echo(f"{counts.found} of {counts.planted} backdoors found.")


if __name__ == "__main__":
    main()
