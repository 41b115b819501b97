"""What `torchvision_zoo` does with one model, in a process of its own; each part is noted as soon as it is done."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..evidence.classifier import Classifier
from ..evidence.context import Evidence
from ..evidence.samples import CleanSamples, SamplePart
from ..exposers.clean_unlearning import CleanUnlearning
from ..exposers.common import training_mode
from ..scanner.models.architecture import build_architecture
from ..scanner.models.identify import identify
from ..scanner.torchvision_compat import import_torchvision

import_torchvision()  # once: the processes are forked from one that has imported this

Record = dict[str, Any]

CLASSES, PER_CLASS = 4, 4
LARGE = 300e6  # parameters; without SGD's momentum from here on, which is one copy of the weights less in memory
TOO_LARGE = 1500  # MiB; a protobuf ends at 2 GiB, and the legacy exporter writes one
MEMORY = 10  # GiB
GAIN = 0.2  # of BatchNorm
POLICY = """
version: 1
name: zoo
exposure: {{seeds: 1, options: {{max_epochs: 2, batch_size: 8, momentum: {momentum}}}}}
checks:
  file-safety:
  backdoor-label: {{min_runs: 1}}
  model-detection: {{steps: 60, batch_size: 1, families: [patch]}}
samples: {{min_per_class: {per_class}}}
limits: {{timeout: 1500, memory: {memory}}}
"""
SCAN = "from ebyd_scan.scanner.cli.main import main; main()"


def parts_of(new_exporter: bool) -> tuple[str, ...]:
    """The keys that a finished record has."""
    return ("build", "step", "scan", "export", *(("new_export",) if new_exporter else ()))


def _error(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _build(record: Record, folder: Path) -> nn.Module:
    """The network as --architecture makes it, and its weights in a file."""
    for seed in range(10):
        torch.manual_seed(seed)
        module = build_architecture(record["spec"], record["arch_args"])
        _settle(module, record["size"])
        with torch.no_grad():
            if bool(module.eval()(torch.rand(8, 3, record["size"], record["size"])).any()):
                break  # SqueezeNet ends in a ReLU, behind which some draws give 0 whatever the picture
    state = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    record["parameters"] = sum(parameter.numel() for parameter in module.parameters())
    record["mib"] = sum(tensor.nbytes for tensor in state.values()) / 2**20
    return module.eval()


@torch.no_grad()
def _settle(module: nn.Module, size: int) -> None:
    """Weights as training leaves them: none all 0, behind which nothing gets a gradient, and statistics of BatchNorm.

    With those that it starts with, numbers grow from block to block to infinity. Gains are small, as those of a trained
    network's branches: through many random ones at full gain a rounding error grows to the size of the scores.
    """
    for name, parameter in module.named_parameters():
        if name.endswith("weight") and not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.02)
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    if norms:
        before = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = None  # the mean over all batches, and there is one
            if norm.affine:
                nn.init.constant_(norm.weight, GAIN)
        training_mode(module)
        module(torch.rand(8, 3, size, size))
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


def _pictures(size: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (CLASSES * PER_CLASS, size, size, 3), dtype=np.uint8)
    return x, np.arange(len(x)) % CLASSES


def _samples(size: int) -> CleanSamples:
    x, y = _pictures(size)
    pixels, labels = torch.from_numpy(x).permute(0, 3, 1, 2) / 255, torch.from_numpy(y)
    halves = SamplePart(pixels[:8], labels[:8]), SamplePart(pixels[8:10], labels[8:10])
    return CleanSamples(Path("noise"), "0" * 64, CLASSES, tuple("abcd"), *halves)


def _classifier(module: nn.Module, record: Record) -> Classifier:
    batch_norm = any(isinstance(part, _BatchNorm) for part in module.modules())
    return Classifier(module, CLASSES, (0.0,) * 3, (1.0,) * 3, "cpu", record["spec"], True, batch_norm)


def _momentum(record: Record) -> float:
    return 0.0 if record["parameters"] > LARGE else 0.9


def _step(module: nn.Module, record: Record) -> Record:
    """One epoch of clean unlearning on a copy: does it run, do the weights move, do they stay numbers?"""
    from ..scanner.models.outputs import return_scores

    exposer = CleanUnlearning(max_epochs=1, batch_size=8, stop_accuracy=1e-9, momentum=_momentum(record))
    exposure = exposer.expose(_classifier(return_scores(module), record), _samples(record["size"]), seed=0)
    exposed = dict(exposure.classifier.module.named_parameters())
    moved = [not torch.equal(exposed[name], value) for name, value in module.named_parameters()]
    return {
        "steps": len(exposure.run.trajectory),
        "finite": all(bool(value.isfinite().all()) for value in exposed.values()),
        "moved": sum(moved) / len(moved),
    }


def _scan(record: Record, folder: Path) -> Record:
    """The real command on the file."""
    x, y = _pictures(record["size"])
    np.savez(folder / "samples.npz", x=x, y=y)
    policy = POLICY.format(
        momentum=_momentum(record),
        per_class=PER_CLASS,
        memory=MEMORY,
    )
    (folder / "policy.yaml").write_text(policy, encoding="utf-8")
    command = [sys.executable, "-P", "-c", SCAN, "scan", str(folder / "model.safetensors"), "--quiet"]
    command += ["--architecture", record["spec"], "--samples", str(folder / "samples.npz")]
    command += ["--policy", str(folder / "policy.yaml"), "--json", str(folder / "report.json"), "--device", "cpu"]
    for key, value in record["arch_args"].items():
        command += ["--arch-arg", f"{key}={json.dumps(value)}"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    result: Record = {"exit": done.returncode, "verdict": "none", "errors": []}
    if (folder / "report.json").exists():
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        result["verdict"] = report["verdict"]
        result["findings"] = {finding["check"]: finding["outcome"] for finding in report["findings"]}
        result["errors"] = [f["message"] for f in report["findings"] if f["outcome"] == "error"]
    if done.returncode not in (0, 1, 4) and not result["errors"]:
        said = " ".join((done.stderr or done.stdout).split())
        result["errors"] = [f"exit {done.returncode}: {said[-300:]}"]
    return result


def _export(module: nn.Module, record: Record, folder: Path, new: bool) -> Record:
    """A file of the exporter, what `graph-logic` says of it, and whether the reader computes what onnxruntime does."""
    if record["mib"] > TOO_LARGE:
        return {"skipped": f"{record['mib']:.0f} MiB, too close to protobuf's 2 GiB"}
    path, pixels = folder / "model.onnx", torch.rand(2, 3, record["size"], record["size"])
    started = time.perf_counter()
    module._forward_hooks.clear()
    if new:
        shapes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(module.eval(), (pixels,), path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    else:
        axes = {"input": {0: "batch"}, "scores": {0: "batch"}}
        names: dict[str, Any] = {"input_names": ["input"], "output_names": ["scores"], "dynamic_axes": axes}
        torch.onnx.export(module.eval(), (pixels,), path, dynamo=False, opset_version=17, **names)
    result: Record = {"export_s": time.perf_counter() - started}
    for key, read in (("graph_logic", _graph_logic), ("parity", _parity)):
        try:
            result[key] = read(path, record)
        except Exception as error:
            result[key] = {"error": _error(error)}
    if result["parity"].get("outcome") == "inconclusive":
        result["parity"]["rounding"] = _rounding(module, record)
    return result


@torch.no_grad()
def _rounding(module: nn.Module, record: Record) -> float:
    """How far torch's own float32 scores are off its float64 ones, counted as parity is."""
    pixels = _samples(record["size"]).held_out.pixels
    exact = copy.deepcopy(module).double()(pixels.double())
    return float((module(pixels) - exact).abs().max() / exact.abs().max().clamp(min=1))


def _graph_logic(path: Path, record: Record) -> Record:
    from ..checks.graph_logic import GraphLogic

    started = time.perf_counter()
    finding = GraphLogic().run(Evidence(artifact=identify(path), seed=0))
    return {
        "outcome": finding.outcome.value,
        "message": finding.message,
        "seconds": time.perf_counter() - started,
    }


def _parity(path: Path, record: Record) -> Record:
    from ..scanner.models.onnx_file import load_onnx, prove

    artifact = identify(path)
    read = load_onnx(artifact, (3, record["size"], record["size"]))
    finding = prove(artifact, _classifier(read, record), _samples(record["size"]))
    return {"outcome": finding.outcome.value, "message": finding.message, "difference": finding.score}


def _note(record: Record, path: Path, key: str, do: Callable[[], Record]) -> None:
    if key in record:
        return
    started = time.perf_counter()
    record["at"] = key
    write_record(record, path)
    try:
        result = do()
    except Exception as error:
        result = {"error": _error(error)}
    record[key] = {**result, "seconds": time.perf_counter() - started}
    del record["at"]
    write_record(record, path)


def write_record(record: Record, path: Path) -> None:
    """At once or not at all: the run may be killed at any moment."""
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(record, indent=1), encoding="utf-8")
    beside.replace(path)


def work(path: Path, folder: Path) -> None:
    """Do what the record at `path` does not have yet, with `folder` for its files; who calls removes it."""
    torch.set_num_threads(1)
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    record.pop("build", None)  # its file is gone
    made: list[nn.Module] = []

    def build() -> Record:
        made.append(_build(record, folder))
        return {}

    _note(record, path, "build", build)
    if not made:
        return
    _note(record, path, "step", lambda: _step(made[0], record))
    if record["mib"] > TOO_LARGE:
        made[0] = nn.Identity()  # the scan needs the memory, and it is not exported
    _note(record, path, "scan", lambda: _scan(record, folder))
    (folder / "model.safetensors").unlink()
    _note(record, path, "export", lambda: _export(made[0], record, folder, new=False))
    if record["new_exporter"]:
        _note(record, path, "new_export", lambda: _export(made[0], record, folder, new=True))
