"""What exposure costs, in time against the same number of bare training steps, and in memory.

    python -m ebyd_scan.benchmarks.exposure_cost

Time: three seeded exposure runs against as many plain SGD steps with the same batch on the same model, in turn, in
one process. Memory: the peak of all tensors alive at once, the original model included, against the bytes of the
model; "one batch" is the peak during one bare forward and backward pass of 32 samples.
"""

from __future__ import annotations

import statistics
import time
import weakref
from pathlib import Path
from typing import Any

import click
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..evidence.classifier import Classifier
from ..evidence.samples import CleanSamples, SamplePart
from ..exposers.clean_unlearning import CleanUnlearning
from .cifar10_models import BUILDERS, MEAN, PLAIN, RESNET18, STD, WRN

SAMPLES = 500
NAMES = {"plain": PLAIN, "wrn": WRN, "resnet18": RESNET18}


def _make(name: str) -> tuple[Classifier, CleanSamples]:
    """An untrained model and random samples: the cost depends on neither."""
    torch.manual_seed(0)
    module = BUILDERS[NAMES[name]]().eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    part = SamplePart(torch.rand(SAMPLES, 3, 32, 32), torch.arange(SAMPLES) % 10)
    names = tuple(str(label) for label in range(10))
    samples = CleanSamples(Path("random"), "", 10, names, part, part)
    return Classifier(module, 10, MEAN, STD, "cpu", name, True, True), samples


def _expose(classifier: Classifier, samples: CleanSamples, exposer: CleanUnlearning, seeds: int) -> int:
    return sum(len(exposer.expose(classifier, samples, seed=seed).run.trajectory) for seed in range(seeds))


def _bare_steps(classifier: Classifier, samples: CleanSamples, steps: int, batch_size: int) -> None:
    module = classifier.module.train()
    optimizer = torch.optim.SGD(module.parameters(), 0.0, momentum=0.9)  # rate 0: all the work, nothing learned
    for step in range(steps):
        index = torch.arange(step * batch_size, (step + 1) * batch_size) % SAMPLES
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(classifier.logits(samples.exposure.pixels[index]), samples.exposure.labels[index])
        loss.backward()
        optimizer.step()
    module.eval()


def _time_row(name: str, repeats: int) -> str:
    classifier, samples = _make(name)
    # The stop rule is out of reach for random labels' chance accuracy, so the number of epochs is fixed instead.
    exposer = CleanUnlearning(max_epochs=3, stop_accuracy=1e-9)
    _bare_steps(classifier, samples, 16, exposer.batch_size)
    ratios, exposed, bare = [], [], []
    for _ in range(repeats):
        started = time.perf_counter()
        steps = _expose(classifier, samples, CleanUnlearning(max_epochs=3, stop_accuracy=1e-9), 3)
        exposed.append(time.perf_counter() - started)
        started = time.perf_counter()
        _bare_steps(classifier, samples, steps, exposer.batch_size)
        bare.append(time.perf_counter() - started)
        ratios.append(exposed[-1] / bare[-1])
    return (
        f"| {name} | {steps} | {statistics.median(exposed):.2f} | {statistics.median(bare):.2f} | "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
    )


class _LiveBytes(TorchDispatchMode):
    """Bytes of all tensor storages that an operator touched while it is on, and their peak.

    The original model counts too: copying it touches it. Workspaces inside a library are not seen.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return out

    def _count(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def _memory_row(name: str) -> str:
    classifier, samples = _make(name)
    model = sum(tensor.nbytes for tensor in classifier.module.state_dict().values())
    with _LiveBytes() as exposure:
        _expose(classifier, samples, CleanUnlearning(max_epochs=1, stop_accuracy=1e-9), 1)
    pixels, labels = samples.exposure.pixels[:32], samples.exposure.labels[:32]
    classifier.module.train().requires_grad_(False)
    with _LiveBytes() as batch:  # activations and their gradients, none of parameters
        F.cross_entropy(classifier.logits(pixels.requires_grad_()), labels).backward()
    return (
        f"| {name} | {model / 2**20:.1f} | {exposure.peak / 2**20:.1f} | {batch.peak / 2**20:.1f} | "
        f"{(exposure.peak - batch.peak) / model:.2f} |"
    )


@click.command()
@click.option("--repeats", default=5, show_default=True)
def main(repeats: int) -> None:
    """Print two tables."""
    click.echo(f"{torch.get_num_threads()} threads, {SAMPLES} samples of 32x32, batch 32, median of {repeats}\n")
    click.echo("| model | steps | exposure, s | bare steps, s | ratio (range) |\n|---|---|---|---|---|")
    for name in NAMES:
        click.echo(_time_row(name, repeats))
    click.echo("\n| model | MiB | peak with exposure, MiB | one batch, MiB | (peak - batch) / model |")
    click.echo("|---|---|---|---|---|")
    for name in NAMES:
        click.echo(_memory_row(name))


if __name__ == "__main__":
    main()
