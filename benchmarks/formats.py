"""Is the verdict the same whatever a model is saved as? Weights, ONNX from both exporters, Hugging Face folders.

    python -m ebyd_scan.benchmarks.formats --data ../shared/data --out work/formats
    python -m ebyd_scan.benchmarks.formats --data ../shared/data --huggingface work/huggingface

The first command takes one clean and one backdoored model of every network in the zoo's reporting half and the two that
are shipped, exports each by torch's old and new exporter, with BatchNorm folded and kept, and scans every file by the
command line. The second takes the folders of `benchmarks.huggingface_models` and scans each as a folder and as bare
weights with `--architecture`. Killed, it goes on where it was.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ..fixtures.digits import ARCH_ARGS, ARCHITECTURE, RECIPE
from ..fixtures.networks import plain_convnet
from ..scanner.models.huggingface import load_folder
from ..scanner.models.identify import identify
from .zoo.data import DATA_SETS
from .zoo.read import MODELS, ZooModel, models

SHIPPED = Path(__file__).parents[1] / "fixtures" / "models"
ENTRY = "from ebyd_scan.scanner.cli.main import main; main()"
FORMS = ("weights", "old-folded", "old-kept", "new-folded", "new-kept")
PER_CLASS = 100


@dataclass(frozen=True)
class Subject:
    """A model with all that a scan of its weights needs, and what it ought to end in."""

    name: str
    weights: Path
    options: list[str]  # --architecture and its arguments
    pixels: list[str]  # --mean, --std
    samples: Path
    shape: tuple[int, int, int]
    target: int | None
    module: nn.Module


def _numbers(values: tuple[float, ...] | list[float]) -> str:
    return ",".join(f"{value:g}" for value in values)


def _shipped() -> Iterator[Subject]:
    options = ["--architecture", ARCHITECTURE, *_arguments(ARCH_ARGS)]
    for name, target in (("digits-badnets", 7), ("digits-clean", None)):
        module = plain_convnet(channels=1, width=16)
        module.load_state_dict(load_file(SHIPPED / f"{name}.safetensors"))
        pixels = ["--mean", _numbers(RECIPE.mean), "--std", _numbers(RECIPE.std)]
        path = SHIPPED / f"{name}.safetensors"
        yield Subject(name, path, options, pixels, SHIPPED / "digits-samples.npz", (1, 16, 16), target, module)


def _arguments(values: dict[str, Any]) -> list[str]:
    return [part for key, value in values.items() for part in ("--arch-arg", f"{key}={value}")]


def _zoo(samples: dict[str, Path]) -> Iterator[Subject]:
    """The first clean and the first backdoored model of each network; attacks with one target only."""
    taken: set[tuple[str, bool]] = set()
    for model in models(MODELS, "reporting"):
        network = model.card["architecture"]
        if (network, model.clean) in taken or model.card["kind"] in ("all-to-all", "parallel"):
            continue
        taken.add((network, model.clean))
        yield _subject(model, samples[model.card["data"]])


def _subject(model: ZooModel, samples: Path) -> Subject:
    card = model.card
    side = 32 if card["data"] == "cifar10" else 28
    return Subject(
        model.name,
        model.path,
        ["--architecture", card["architecture"], *_arguments(card["arch_args"])],
        ["--mean", _numbers(card["mean"]), "--std", _numbers(card["std"])],
        samples,
        (len(card["mean"]), side, side),
        card["target"],
        model.classifier().module,
    )


def export(subject: Subject, form: str, path: Path) -> None:
    """The model as an ONNX file: by the old or the new exporter, BatchNorm folded or kept, any batch size."""
    exporter, _, norms = form.partition("-")
    pixels = torch.rand(2, *subject.shape)
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = subject.module.eval()
        if exporter == "new":
            shapes = ({0: torch.export.Dim("batch")},)
            torch.onnx.export(
                module, (pixels,), path, dynamo=True, dynamic_shapes=shapes, verbose=False, optimize=norms == "folded",
                external_data=False,
            )  # fmt: skip
            return
        kept: dict[str, Any] = {}
        if norms == "kept":
            kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
        torch.onnx.export(
            module, (pixels,), path, dynamo=False, input_names=["pixels"], dynamic_axes={"pixels": {0: "batch"}}, **kept
        )


def scan(model: Path, options: list[str], report: Path, seed: int) -> dict[str, Any]:
    """One call of the command line, or what an earlier one wrote."""
    if not report.exists():
        command = [sys.executable, "-P", "-c", ENTRY, "scan", str(model), *options, "--quiet"]
        done = subprocess.run(
            [*command, "--timeout", "7200", "--seed", str(seed), "--json", str(report)], capture_output=True, text=True
        )
        if not report.exists():
            raise click.ClickException(f"{model}: the scan left no report: {done.stderr or done.stdout}")
    result: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return result


def cells(name: str, form: str, target: int | None, result: dict[str, Any]) -> str:
    """A row of the table."""
    findings = {finding["check"]: finding for finding in result["findings"]}
    detection = findings.get("model-detection", {})
    collapse = findings.get("backdoor-label", {}).get("label")
    score, parity = detection.get("score"), findings.get("onnx-parity", {}).get("score")
    figures = [
        "-" if score is None else f"{score:.2f}",
        "-" if detection.get("label") is None else str(detection["label"]),
        "-" if collapse is None else str(collapse),
        "-" if parity is None else f"{parity:.0e}",
        f"{result['timings']['total']:.0f}",
    ]
    return f"| {name} | {'-' if target is None else target} | {form} | {result['verdict']} | {' | '.join(figures)} |"


HEAD = (
    "| model | target | saved as | verdict | score | label | exposure's label | parity | seconds |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def _samples(data: Path, out: Path) -> dict[str, Path]:
    found = {}
    for name, load in DATA_SETS.items():
        found[name] = out / f"samples-{name}.npz"
        if not found[name].exists():
            images, labels = load(data).clean_samples(PER_CLASS, seed=9)
            np.savez(found[name], x=images, y=labels)
    return found


def _folders(folder: Path, half: str, samples: Path, out: Path, seed: int) -> None:
    """Every model of a half as a folder, and as bare weights that a file with code gives its architecture."""
    code = Path(tempfile.mkdtemp()) / "folder_architecture.py"
    code.write_text(
        "from ebyd_scan.scanner.models.huggingface import import_transformers\n\n\n"
        "def build(folder):\n"
        "    transformers = import_transformers()\n"
        "    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)\n"
        "    return transformers.AutoModelForImageClassification.from_config(config, attn_implementation='eager')\n"
    )
    for card in sorted(folder.glob(f"{half}-*.json")):
        record = json.loads(card.read_text(encoding="utf-8"))
        place = folder / record["name"]
        result = scan(place, ["--samples", str(samples)], out / f"{place.name}-folder.json", seed)
        click.echo(cells(place.name, "folder", record["target"], result))
        settings = json.loads((place / "preprocessor_config.json").read_text(encoding="utf-8"))
        if settings.get("do_flip_channel_order"):
            continue  # bare weights come with no way to say so
        size = json.loads((place / "config.json").read_text(encoding="utf-8")).get("image_size", 32)
        side = settings["size"].get("height", settings["size"].get("shortest_edge", size))
        options = ["--architecture", f"{code}:build", "--arch-arg", f"folder={place}", "--size", str(side)]
        options += ["--mean", _numbers(settings["image_mean"]), "--std", _numbers(settings["image_std"])]
        options += ["--samples", str(samples)]
        weights = out / f"{place.name}.safetensors"
        if not weights.exists():  # the folder's own have names that transformers turns into others
            module, _ = load_folder(identify(place), "AutoModelForImageClassification")
            save_file({key: value.contiguous() for key, value in module.state_dict().items()}, weights)
        result = scan(weights, options, out / f"{place.name}-weights.json", seed)
        click.echo(cells(place.name, "weights", record["target"], result))


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("work/formats"))
@click.option("--huggingface", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Scan folders here.")
@click.option("--half", default="reporting", show_default=True, help="Of the folders.")
@click.option("--only", multiple=True, help="Only models whose name holds this text; may be repeated.")
@click.option("--seed", default=0, show_default=True)
def main(data: Path, out: Path, huggingface: Path | None, half: str, only: tuple[str, ...], seed: int) -> None:
    """Scan every model in every form and print a row for each."""
    out.mkdir(parents=True, exist_ok=True)
    samples = _samples(data, out)
    click.echo(HEAD)
    if huggingface:
        _folders(huggingface, half, samples["cifar10"], out, seed)
        return
    for subject in [*_shipped(), *_zoo(samples)]:
        if only and not any(text in subject.name for text in only):
            continue
        for form in FORMS:
            path, options = subject.weights, [*subject.options]
            if form != "weights":
                path, options = out / f"{subject.name}-{form}.onnx", []
                if not path.exists():
                    export(subject, form, path)
            options += [*subject.pixels, "--samples", str(subject.samples)]
            result = scan(path, options, out / f"{subject.name}-{form}.json", seed)
            click.echo(cells(subject.name, form, subject.target, result))


if __name__ == "__main__":
    main()
