"""Near-duplicates, wrong twins and unlearnable noise planted in sample sets, and how many sets are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..checks.sample_trust import SampleTrust
from ..evidence.artifact import Artifact
from ..evidence.classifier import Classifier
from ..evidence.context import Evidence
from ..evidence.samples import CleanSamples, SamplePart
from ..fixtures.networks import small_resnet
from ..fixtures.planter import to_pixels
from .zoo.data import DataSet

DRAWS = 10
EPSILON = 8 / 255  # of the noise, as in the papers
ROUNDS, ATTACK_STEPS = 6, 5  # of making error-minimising noise
Planted = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


def draw(data: DataSet, per_class: int, seed: int) -> tuple[Tensor, Tensor]:
    """`per_class` samples a class of the test images that no scan sees: float [N, C, H, W] in 0..1, int64 [N]."""
    images, labels = data.held
    rng = np.random.default_rng(seed)
    index = np.concatenate([rng.choice(np.flatnonzero(labels == label), per_class, False) for label in range(10)])
    return to_pixels(images[index]), torch.from_numpy(labels[index])


def _rounded(pixels: Tensor) -> Tensor:
    return (pixels.clamp(0, 1) * 255).round() / 255


def copies(pixels: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """A tenth of the samples replaced by noisy, mirrored or brighter copies of others of their class."""
    generator = torch.Generator().manual_seed(seed)
    changed = pixels.clone()
    for number, place in enumerate(torch.randperm(len(labels), generator=generator)[: len(labels) // 10].tolist()):
        twins = (labels == labels[place]).nonzero().flatten()
        twins = twins[twins != place]
        twin = pixels[twins[int(torch.randint(len(twins), (1,), generator=generator))]]
        noise = torch.rand(twin.shape, generator=generator) - 0.5
        changed[place] = (twin + noise * (8 / 255), twin.flip(2), twin * 0.9 + 0.05)[number % 3]
    return _rounded(changed), labels


def wrong_twins(pixels: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """A fiftieth of the samples replaced by copies of samples of other classes, their labels kept."""
    generator = torch.Generator().manual_seed(seed)
    changed = pixels.clone()
    for place in torch.randperm(len(labels), generator=generator)[: len(labels) // 50].tolist():
        others = (labels != labels[place]).nonzero().flatten()
        changed[place] = pixels[others[int(torch.randint(len(others), (1,), generator=generator))]]
    return changed, labels


def class_wise(epsilon: float, cell: int = 1, share: float = 1.0) -> Planted:
    """One pattern of signs a class, in squares of `cell` pixels, on a share of the samples."""

    def plant(pixels: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        channels, height, width = pixels.shape[1:]
        signs = torch.randn((10, channels, -(-height // cell), -(-width // cell)), generator=generator).sign()
        patterns = signs.repeat_interleave(cell, 2).repeat_interleave(cell, 3)[:, :, :height, :width] * epsilon
        taken = torch.rand(len(labels), generator=generator) < share
        return _rounded(pixels + patterns[labels] * taken[:, None, None, None]), labels

    return plant


def error_minimising(pixels: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """One pattern a sample that makes a network's loss small, and the network trained on them, in turn.

    Huang et al. 2021, arXiv 2101.04898, equation 2, on the samples alone and in few rounds.
    """
    torch.manual_seed(seed)
    network = small_resnet(channels=pixels.shape[1])
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    noise = torch.zeros_like(pixels)
    for _ in range(ROUNDS):
        for rows in torch.randperm(len(labels)).split(100):
            network.train()
            optimizer.zero_grad()
            functional.cross_entropy(network((pixels + noise)[rows] - 0.5), labels[rows]).backward()
            optimizer.step()
        network.eval()
        for rows in torch.arange(len(labels)).split(100):
            for _step in range(ATTACK_STEPS):
                mine = noise[rows].requires_grad_()
                loss = functional.cross_entropy(network(pixels[rows] + mine - 0.5), labels[rows])
                (gradient,) = torch.autograd.grad(loss, mine)
                noise[rows] = (noise[rows] - EPSILON / 4 * gradient.sign()).clamp(-EPSILON, EPSILON)
    return _rounded(pixels + noise), labels


def unchanged(pixels: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """A clean set."""
    return pixels, labels


PLANTS: tuple[tuple[str, Planted, int], ...] = (
    ("clean", unchanged, 2 * DRAWS),
    ("10 % near-duplicates", copies, DRAWS),
    ("2 % twins with another label", wrong_twins, DRAWS),
    ("class-wise noise, 2/255", class_wise(2 / 255), DRAWS),
    ("class-wise noise, 4/255", class_wise(4 / 255), DRAWS),
    ("class-wise noise, 8/255", class_wise(EPSILON), DRAWS),
    ("class-wise noise, 8/255, squares of 4", class_wise(EPSILON, cell=4), DRAWS),
    ("class-wise noise, 8/255, squares of 8", class_wise(EPSILON, cell=8), DRAWS),
    ("class-wise noise, 8/255, half of the samples", class_wise(EPSILON, share=0.5), DRAWS),
    ("class-wise noise, 8/255, a fifth of the samples", class_wise(EPSILON, share=0.2), DRAWS),
    ("error-minimising noise a sample, 8/255", error_minimising, 3),
)


FAULTS = ("near-duplicates", "wrong-twins", "unlearnable-noise")


class _Constant(nn.Module):
    """A model that has nothing to say."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.new_zeros((len(pixels), 10))


def _evidence(data: DataSet, pixels: Tensor, labels: Tensor) -> Evidence:
    """Without gradients, so that no triggers are looked for."""
    module = _Constant().eval()
    classifier = Classifier(module, 10, data.mean, data.std, "cpu", "none", trainable=False, has_batch_norm=False)
    samples = CleanSamples(
        path=Path(data.name),
        sha256="0" * 64,
        num_classes=10,
        class_names=tuple(str(label) for label in range(10)),
        exposure=SamplePart(pixels[::2], labels[::2]),
        held_out=SamplePart(pixels[1::2], labels[1::2]),
    )
    artifact = Artifact(path=Path(data.name), format="safetensors", sha256="0" * 64, size=0)
    return Evidence(artifact, 0, classifier=classifier, samples=samples)


def tables(sets: Mapping[str, DataSet], per_class: int) -> str:
    """Sets told for duplicates, for twins and for noise, a row a kind of plant and data set, as Markdown."""
    check = SampleTrust()
    lines = [
        "| data | planted | sets | told: duplicates | twins | noise | accuracy from detail, mean | from blurred |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, data in sets.items():
        for what, plant, draws in PLANTS:
            counts, detail, coarse = [0, 0, 0], 0.0, 0.0
            for seed in range(draws):
                pixels, labels = plant(*draw(data, per_class, seed), seed)
                finding = check.run(_evidence(data, pixels, labels))
                told = str(finding.metrics.get("suspected_of", ""))
                counts = [count + (one in told) for count, one in zip(counts, FAULTS, strict=True)]
                detail += float(finding.metrics["detail_accuracy"]) / draws
                coarse += float(finding.metrics["coarse_accuracy"]) / draws
            lines.append(
                f"| {name} | {what} | {draws} | " + " | ".join(map(str, counts)) + f" | {detail:.0%} | {coarse:.0%} |"
            )
    return "\n".join(lines) + "\n"
