"""What memory a step of trigger inversion takes by the size of the pictures, whole and in parts (evidence/at_once.py).

    python -m ebyd_scan.benchmarks.search_memory

Weights are random and pictures noise: only memory is measured, as the peak of a process of its own above what it held
before the step. A step searches ten labels with 16 pictures each, as release-gate does. Then, for networks too large to
run here, what a picture's activations take is counted without computing anything.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any, Final

import click

NETWORKS: Final = ("resnet-18", "resnet-50", "vit-s", "vit-l")
MEASURED: Final = (("resnet-18", 32), ("resnet-18", 64), ("resnet-18", 128), ("resnet-18", 224), ("vit-s", 224))
LABELS, PER_LABEL = 10, 16
WHOLE: Final = 1 << 40  # pixels at once: no limit
GIB: Final = 1 << 30


def make(name: str, side: int) -> Any:
    """A network of transformers with 1000 classes and random weights, for pictures of `side` pixels."""
    from ..scanner.models.huggingface import import_transformers

    transformers: Any = import_transformers()
    kind, size = name.split("-")
    if kind == "vit":
        width, depth = {"s": (384, 12), "l": (1024, 24)}[size]
        config = transformers.ViTConfig(
            image_size=side, patch_size=16, num_labels=1000, hidden_size=width, num_hidden_layers=depth,
            num_attention_heads=width // 64, intermediate_size=4 * width, attn_implementation="sdpa",
        )  # fmt: skip
    else:
        layer = {"18": ("basic", [2, 2, 2, 2], [64, 128, 256, 512]), "50": ("bottleneck", [3, 4, 6, 3], None)}[size]
        config = transformers.ResNetConfig(num_labels=1000, layer_type=layer[0], depths=layer[1])
        if layer[2]:
            config.hidden_sizes = layer[2]
    return transformers.AutoModelForImageClassification.from_config(config).eval()


def counted(name: str, side: int = 224, *, weights: bool) -> int:
    """Bytes of activations that a picture leaves for the backward pass, with gradients of the weights or of the input.

    Tensors are counted once, by their storage, and the weights not at all. Nothing is computed: they are on `meta`.
    """
    import torch
    from torch.autograd.graph import saved_tensors_hooks

    with torch.device("meta"):
        model = make(name, side)
        pictures = torch.empty((2, 3, side, side), requires_grad=True)
    model.requires_grad_(weights)
    own = {parameter.untyped_storage()._cdata for parameter in [*model.parameters(), *model.buffers()]}
    held: dict[int, Any] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            held[storage._cdata] = storage  # kept, so that no other one gets its place
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        model(pictures).logits.sum()
    return int(sum(storage.nbytes() for storage in held.values())) // len(pictures)


def measure(name: str, side: int, limit: int) -> dict[str, float]:
    """Peak bytes of one step above what the process held before it, and its CPU seconds."""
    import torch

    from ..checks.trigger_inversion import invert_labels
    from ..evidence import at_once
    from ..evidence.classifier import Classifier
    from ..evidence.samples import SamplePart
    from .scaling_measure import peak_bytes

    torch.set_num_threads(1)
    model = make(name, side)

    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.model(pixels).logits
            return scores

    classifier = Classifier(Scores(), 1000, (0.5,) * 3, (0.25,) * 3, "cpu", name, trainable=True, has_batch_norm=True)
    part = SamplePart(torch.rand((40, 3, side, side)), torch.arange(40) % 20)
    with torch.no_grad():
        classifier.logits(part.pixels[:1])  # what is set up once is no part of the step
    at_once.PIXELS = limit  # type: ignore[misc]
    before, start = peak_bytes(), time.process_time()
    invert_labels(classifier, part, range(LABELS), family="patch", steps=1, batch_size=PER_LABEL, seed=0)
    return {"peak": peak_bytes() - before, "cpu": time.process_time() - start}


def _in_a_process(name: str, side: int, limit: int) -> dict[str, float]:
    command = [sys.executable, "-m", __spec__.name, "--one", name, str(side), str(limit)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


@click.command(help=(__doc__ or "").partition("\n\n")[0])
@click.option("--one", type=(click.Choice(NETWORKS), int, int), hidden=True)
def main(one: tuple[str, int, int] | None) -> None:
    """Print both tables as Markdown."""
    from ..evidence.at_once import PIXELS, fitting

    if one:
        click.echo(json.dumps(measure(*one)))
        return
    click.echo("| network | pixels a side | pictures at once | peak MiB, whole | in parts | CPU s, whole | in parts |")
    click.echo("|" + "---|" * 7)
    for name, side in MEASURED:
        whole, parts = _in_a_process(name, side, WHOLE), _in_a_process(name, side, PIXELS)
        row = [name, str(side), str(min(LABELS * PER_LABEL, fitting(side, side)))]
        row += [f"{found['peak'] / (1 << 20):.0f}" for found in (whole, parts)]
        row += [f"{found['cpu']:.1f}" for found in (whole, parts)]
        click.echo("| " + " | ".join(row) + " |")
    heads = ("network, 224x224", "MiB a picture", "a step of 160, GiB", "in parts, GiB", "exposure of 32, GiB")
    click.echo(f"\n| {' | '.join(heads)} | as computed, GiB |")
    click.echo("|" + "---|" * 6)
    for name in NETWORKS:
        search, exposure = counted(name, weights=False), counted(name, weights=True)
        sizes = [f"{search / (1 << 20):.0f}", f"{search * LABELS * PER_LABEL / GIB:.1f}"]
        sizes += [f"{search * fitting(224, 224) / GIB:.2f}", f"{exposure * 32 / GIB:.1f}"]
        part = 32 if name.startswith("resnet") else fitting(224, 224)  # BatchNorm takes the whole batch
        sizes.append(f"{exposure * part / GIB:.1f}")
        click.echo(f"| {name} | " + " | ".join(sizes) + " |")


if __name__ == "__main__":
    main()
