"""The hostile model files, and good ones, through `ebyd-scan inspect` and other static scanners, side by side.

    python -m ebyd_scan.benchmarks.static_scanners --modelscan VENV/bin/modelscan --fickling VENV/bin/fickling

What is counted is the exit code of each scanner's command, with its default settings: "detected" is the code by which
the tool says that a file is bad, "not passed" any code but that of a clean file, for that is what stops a job. The
command is called for one file after the other in one process, since starting it some four hundred times takes longer
than anything else. Wall time is of one file in a process of its own, from its start: a checkpoint that is made here,
the tools in turn.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from .hostile.case import Case, Payload
from .hostile.corpus import cases

_SECONDS = 30  # a file
_ENTRY = "import sys; from {module} import {name}; sys.exit({name}())"
# Calls a command for file after file, and prints the exit codes. What the command writes goes nowhere.
_DRIVER = """
import json, os, signal, sys
from {module} import {name}
told, files = os.dup(1), json.load(sys.stdin)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
os.dup2(1, 2)

def stop(number, frame):
    raise TimeoutError

signal.signal(signal.SIGALRM, stop)
for path in files:
    sys.argv = ["tool", *{options}, path]
    os.chdir(os.path.dirname(path))
    signal.alarm({seconds})
    try:
        code = {name}()
    except SystemExit as left:
        code = left.code
    except BaseException as error:
        code = "error"
    signal.alarm(0)
    os.write(told, (json.dumps(code if code is None or isinstance(code, (int, str)) else 0) + "\\n").encode())
"""
Code = int | str | None
Made = list[tuple[str, Path]]  # group, file


@dataclass(frozen=True)
class Tool:
    """A scanner's command: the interpreter that has it, its entry point, its options; the file comes last."""

    name: str
    python: str
    package: str
    module: str
    function: str
    options: tuple[str, ...]

    def run(self, path: Path) -> None:
        """The command, for one file, in a process of its own."""
        code = _ENTRY.format(module=self.module, name=self.function)
        subprocess.run([self.python, "-P", "-c", code, *self.options, str(path)], capture_output=True, cwd=path.parent)

    def codes(self, made: Made) -> list[Code]:
        """The exit code for every file; "error" where the command ended in an exception, or took too long."""
        names = {"module": self.module, "name": self.function, "options": list(self.options), "seconds": _SECONDS}
        files = json.dumps([str(path) for _, path in made])
        done = subprocess.run(
            [self.python, "-P", "-c", _DRIVER.format(**names)], input=files, capture_output=True, text=True
        )
        codes = [json.loads(line) or 0 for line in done.stdout.splitlines()]
        if len(codes) != len(made):
            raise click.ClickException(f"{self.name} told {len(codes)} of {len(made)} files: {done.stderr[-500:]}")
        return codes

    def told(self) -> str:
        code = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        return subprocess.run([self.python, "-c", code], capture_output=True, text=True).stdout.strip()


def _tools(modelscan: str | None, fickling: str | None) -> list[Tool]:
    here = sys.executable
    quiet = ("-l", "ERROR")
    tools = [
        Tool("ebyd-scan inspect", here, "ebyd-scan", "ebyd_scan.scanner.cli.main", "main", ("inspect", "-q")),
        Tool("picklescan", here, "picklescan", "picklescan.cli", "main", (*quiet, "-p")),
        Tool("picklescan --strict", here, "picklescan", "picklescan.cli", "main", (*quiet, "--strict", "-p")),
    ]
    if modelscan:
        tools.append(Tool("modelscan", modelscan, "modelscan", "modelscan.cli", "main", ("-p",)))
    if fickling:
        tools.append(Tool("fickling", fickling, "fickling", "fickling.__main__", "main", ("--check-safety",)))
    return tools


def _good(folder: Path) -> Made:
    """State dicts in torch's three formats and in safetensors, TorchScript, an exported program, ONNX."""
    import torch

    from .inspect_speed import FILES

    torch.manual_seed(0)
    weights = {f"layer{index}.weight": torch.randn(20, 20) for index in range(50)}
    made: Made = []
    for name, make in FILES.items():
        make(weights, folder / name)
        made.append(("good", folder / name))
    extra: dict[str, Callable[[Path], None]] = {
        "protocol4.pt": lambda path: torch.save(weights, path, pickle_protocol=4),
        "training.pt": lambda path: torch.save({"model": weights, "epoch": 3, "optimizer": {"lr": 0.1}}, path),
        "weights.bin": lambda path: torch.save(weights, path),
        "half.pth": lambda path: torch.save({name: weight.half() for name, weight in weights.items()}, path),
    }
    for name, save in extra.items():
        save(folder / name)
        made.append(("good", folder / name))
    return made


def _hostile(folder: Path, chosen: list[Case]) -> Made:
    made: Made = []
    for number, case in enumerate(chosen):
        inner = folder / str(number)
        inner.mkdir()
        made.append((case.group, case.make(inner, Payload(folder / f"canary{number}"))))
    return made


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _seconds(tools: list[Tool], path: Path, runs: int) -> dict[str, tuple[float, float]]:
    """Medians of wall and processor time, by tool; they take turns, so that other work on the machine meets all."""
    taken: dict[str, list[tuple[float, float]]] = {tool.name: [] for tool in tools}
    for _ in range(runs):
        for tool in tools:
            started, used = time.perf_counter(), _processor()
            tool.run(path)
            taken[tool.name].append((time.perf_counter() - started, _processor() - used))
    return {
        name: (statistics.median(wall for wall, _ in pairs), statistics.median(used for _, used in pairs))
        for name, pairs in taken.items()
    }


def _row(*cells: object) -> None:
    click.echo(f"| {' | '.join(map(str, cells))} |")


@click.command()
@click.option("--modelscan", help="A Python that has modelscan.")
@click.option("--fickling", help="A Python that has fickling.")
@click.option("--megabytes", type=click.IntRange(1), default=45, show_default=True, help="Of the timed checkpoint.")
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="Of which the median is told.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Only every n-th hostile file.")
def main(modelscan: str | None, fickling: str | None, megabytes: int, runs: int, every: int) -> None:
    """Make the files, run every tool on every file, and print two tables."""
    import torch

    tools = _tools(modelscan, fickling)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("hostile", "good"):
            (folder / part).mkdir()
        path = folder / "checkpoint.pt"
        torch.save({f"layer{index}": torch.randn(megabytes * 5000) for index in range(50)}, path)
        seconds = _seconds(tools, path, runs)
        chosen = [case for case in cases() if "pipe" not in case.name and "/dev/" not in case.name][::every]
        hostile, good = _hostile(folder / "hostile", chosen), _good(folder / "good")
        groups = list(dict.fromkeys(group for group, _ in hostile))
        found = {tool.name: tool.codes(hostile) for tool in tools}
        alarms = {tool.name: tool.codes(good) for tool in tools}
        canaries = len(list((folder / "hostile").glob("canary*")))

    _row("", "n", *(f"{tool.name} {tool.told()}" for tool in tools))
    _row(*["---"] * (2 + len(tools)))
    for group in groups:
        places = [index for index, (mine, _) in enumerate(hostile) if mine == group]
        _row(group, len(places), *(_cell([found[tool.name][place] for place in places]) for tool in tools))
    _row("all hostile files", len(hostile), *(_cell(found[tool.name]) for tool in tools))
    _row("good files not passed", len(good), *(sum(code != 0 for code in alarms[tool.name]) for tool in tools))
    for place, what in enumerate(("wall", "processor")):
        _row(f"s for {megabytes} MB, {what}", runs, *(f"{seconds[tool.name][place]:.2f}" for tool in tools))
    click.echo(f"\nDetected / not passed. Canaries that fired: {canaries}.\n")
    for tool in tools[1:]:
        more = [
            case.name
            for case, ours, theirs in zip(chosen, found[tools[0].name], found[tool.name], strict=True)
            if ours == 0 and theirs != 0
        ]
        click.echo(f"Passed by {tools[0].name} and not by {tool.name}: {', '.join(more) or 'none'}.")


def _cell(codes: list[Code]) -> str:
    return f"{sum(code == 1 for code in codes)} / {sum(code != 0 for code in codes)}"


if __name__ == "__main__":
    main()
