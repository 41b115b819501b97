"""How long `ebyd-scan inspect` takes beside hashing the file: random weights in each format, a process a run.

    python -m ebyd_scan.benchmarks.inspect_speed

Prints seconds of wall time, the least of several runs: of SHA-256 alone in this process, and of the whole command with
the start of Python; and the processor time of the command, which other work on the machine does not lengthen as much.
The files are in the page cache.
"""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import nn

from ..evidence.errors import MissingExtra

_COMMAND = [sys.executable, "-P", "-c", "from ebyd_scan.scanner.cli.main import main; main()", "inspect"]
_LAYERS = 50


def _weights(megabytes: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    columns = megabytes * 1_000_000 // (4 * _LAYERS * 500)
    return {f"layer{index}.weight": torch.randn(500, columns) for index in range(_LAYERS)}


def _safetensors(weights: dict[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    save_file(weights, path)


def _zip(weights: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(weights, path)


def _legacy(weights: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(weights, path, _use_new_zipfile_serialization=False)


class _Sum(nn.Module):
    """Every weight is in the graph; nothing is computed with them here."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.layers = nn.ParameterList(weights.values())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for weight in self.layers:
            x = x + weight.sum()
        return x


def _torchscript(weights: dict[str, torch.Tensor], path: Path) -> None:
    torch.jit.save(torch.jit.trace(_Sum(weights), torch.zeros(1)), path)


def _exported(weights: dict[str, torch.Tensor], path: Path) -> None:
    torch.export.save(torch.export.export(_Sum(weights), (torch.zeros(1),)), path)


def _onnx(weights: dict[str, torch.Tensor], path: Path) -> None:
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise MissingExtra("onnx", "onnx") from None
    stages = ["x", *(f"h{index}" for index in range(_LAYERS))]
    nodes = [helper.make_node("Add", [stages[i], name], [stages[i + 1]]) for i, name in enumerate(weights)]
    initializers = [numpy_helper.from_array(weight.numpy(), name) for name, weight in weights.items()]
    shape = list(next(iter(weights.values())).shape)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in (stages[0], stages[-1])]
    graph = helper.make_graph(nodes, "sum", ends[:1], ends[1:], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


FILES: dict[str, Callable[[dict[str, torch.Tensor], Path], None]] = {
    "weights.safetensors": _safetensors,
    "checkpoint.pt": _zip,
    "legacy.pt": _legacy,
    "traced.pt": _torchscript,
    "exported.pt2": _exported,
    "graph.onnx": _onnx,
}


def _hash(path: Path) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)


def _inspect(path: Path) -> None:
    done = subprocess.run([*_COMMAND, path], capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"{path.name} was not passed ({done.returncode}): {done.stdout}{done.stderr}")


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _least(work: Callable[[Path], None], path: Path, runs: int) -> tuple[float, float]:
    """Wall time, and processor time of child processes."""
    seconds = []
    for _ in range(runs):
        started, used = time.perf_counter(), _processor()
        work(path)
        seconds.append((time.perf_counter() - started, _processor() - used))
    return min(wall for wall, _ in seconds), min(processor for _, processor in seconds)


@click.command()
@click.option("--megabytes", type=click.IntRange(1), default=100, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="Of which the least is told.")
def main(megabytes: int, runs: int) -> None:
    """Make a file in each format, inspect it, and print a row each."""
    weights = _weights(megabytes)
    click.echo("| file | MB | hashing, s | inspect, s | difference, s | processor, s |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, make in FILES.items():
            path = Path(folder) / name
            make(weights, path)
            (hashing, _), (whole, processor) = _least(_hash, path, runs), _least(_inspect, path, runs)
            figures = (hashing, whole, whole - hashing, processor)
            size = path.stat().st_size / 1e6
            click.echo(f"| {name} | {size:.1f} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")
            path.unlink()


if __name__ == "__main__":
    main()
