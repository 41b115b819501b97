"""What all exposers share: the copy, the looks at it, the batches, and the record of the run."""

from __future__ import annotations

import copy
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ..evidence.at_once import pictures_at_once
from ..evidence.context import Progress, silent
from ..evidence.exposure import Exposure, ExposureRun, TrajectoryStep
from ..evidence.tokens import Tokens

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ..evidence.classifier import Classifier
    from ..evidence.samples import CleanSamples, SamplePart

LOOK_BATCH = 64  # batch statistics of about this many samples, whatever the batch of the exposer

# Their modules hand `self.training` to functional dropout, and Inception runs heads that small pictures do not fit.
_LIBRARIES = ("timm", "torchvision", "transformers")
_NORMALISES = re.compile(r"norm|abn", re.IGNORECASE)
_COUNTS_BATCHES = re.compile(r"batch_?norm|abn|bn", re.IGNORECASE)
_DROPS = re.compile(r"Dropout([123]d)?$|StochasticDepth$|DropPath$|^MultiheadAttention$|^RReLU$")


@dataclass
class Stripping:
    """One run in progress: the copy to change in place, and what is noted on the way."""

    exposed: Classifier
    samples: CleanSamples  # only the exposure part is for exposers
    seed: int
    progress: Progress
    trajectory: list[TrajectoryStep] = field(default_factory=list)

    def look(self) -> TrajectoryStep:
        """Accuracy and histogram of the copy as it is now on all exposure samples; see `look`."""
        return look(self.exposed, self.samples.exposure, self.samples.num_classes, step=len(self.trajectory))


class CleanTaskStripper(ABC):
    """An exposer that strips the clean task from a copy until `stop_accuracy`; a subclass says how, in `_strip`.

    BatchNorm works on batch statistics throughout: with running statistics the collapse goes to an arbitrary class.
    """

    id: ClassVar[str]
    title: ClassVar[str]  # the method's name at the start of a sentence
    activity: ClassVar[str]  # what it does, as a noun: "... with running statistics collapses onto an arbitrary label"

    def __init__(self) -> None:
        self._original: tuple[nn.Module, CleanSamples, TrajectoryStep] | None = None

    def expose(
        self, classifier: Classifier, samples: CleanSamples, *, seed: int, progress: Progress = silent
    ) -> Exposure:
        """Strip the clean task from a copy of `classifier`; the original is not modified.

        Args:
            classifier: the original, in eval mode; not trainable ones give a run that did not converge.
            samples: only the exposure part is looked at.
            seed: of everything that is drawn: order of samples, labels, noise, dropout.
            progress: told each epoch or step.

        Returns:
            The exposed classifier and its run. The trajectory holds, a step, accuracy and histogram just before the
            update; `before` and `after` are measured on all exposure samples with batch statistics.
        """

        started = time.perf_counter()
        run = Stripping(classifier.with_module(copy.deepcopy(classifier.module)), samples, seed, progress)
        before = self._look_before(classifier, run)
        reason = self._not_applicable(classifier)
        converged, after = False, None
        if applicable := reason is None:
            with forked_rng(classifier.device, seed):
                converged, reason = self._strip(run)
            if finite(run.exposed.module):
                after = run.look()
        run.exposed.module.eval()
        for parameter in run.exposed.module.parameters():
            parameter.grad = None
        if converged and after is None:
            converged, reason = False, "the weights stopped being numbers in the last step"
        record = ExposureRun(
            method=self.id,
            seed=seed,
            applicable=applicable,
            converged=converged,
            reason=reason or "",
            trajectory=run.trajectory,
            before=before,
            after=after,
            seconds=time.perf_counter() - started,
        )
        return Exposure(run.exposed, record)

    @abstractmethod
    def _strip(self, run: Stripping) -> tuple[bool, str]:
        """Change `run.exposed` in place, note the steps; did it converge, and why it stopped."""

    def _look_before(self, classifier: Classifier, run: Stripping) -> TrajectoryStep:
        """The same for every seed, so looked at once; the copy is still as the original."""
        known = self._original
        if known and known[0] is classifier.module and known[1] is run.samples:
            return known[2]
        before = run.look()
        self._original = (classifier.module, run.samples, before)
        return before

    def _not_applicable(self, classifier: Classifier) -> str | None:
        if not classifier.trainable:
            return f"{self.title} does not apply: the model's graph is frozen and no parameter takes a gradient."
        if classifier.normalisation_frozen:
            return (
                f"{self.title} does not apply: BatchNorm is frozen in this graph, and {self.activity} with running "
                "statistics collapses onto an arbitrary label. Scan the weights with --architecture instead."
            )
        return None


def strip_by_gradient(
    run: Stripping,
    loss_of: Callable[[Tensor, Tensor, int], Tensor],
    update: Callable[[], None],
    *,
    batch_size: int,
    max_epochs: int,
    stop_accuracy: float,
) -> tuple[bool, str]:
    """Epochs of seeded, shuffled batches until the accuracy over an epoch is at or below `stop_accuracy`.

    A batch of large pictures goes through the model in parts where no BatchNorm takes statistics over the whole of it.

    Args:
        loss_of: scores [B, C], indices [B] of the samples and the epoch -> mean loss, of which gradients are taken.
        update: changes the weights; gradients are fresh in `.grad` and are cleared after it.

    Returns:
        Whether it converged, and why it ended, in words.
    """
    import torch

    part, module, trajectory = run.samples.exposure, run.exposed.module, run.trajectory
    training_mode(module)
    generator, at_once = generator_of(run.seed), _at_once(run)
    for epoch in range(max_epochs):
        correct = 0
        for index in batches(len(part), batch_size, generator):
            scores = []
            for some in index.split(min(at_once, len(index))):
                logits = run.exposed.logits(part.inputs[some].to(run.exposed.device))
                loss = loss_of(logits, some, epoch) * (len(some) / len(index))
                if not math.isfinite(loss.item()):
                    return False, f"the loss stopped being a number at step {len(trajectory)}"
                loss.backward()
                scores.append(logits.detach())
            step = step_of(torch.cat(scores), part.labels[index], run.samples.num_classes, len(trajectory))
            trajectory.append(step)
            correct += round(step.accuracy * len(index))
            update()
            module.zero_grad(set_to_none=True)  # here, so that activations and gradients never add up
        run.progress("expose", epoch + 1, max_epochs)
        if correct / len(part) <= stop_accuracy:
            run.progress("expose", max_epochs, max_epochs)
            return True, f"clean accuracy fell to {correct / len(part):.2f} in {epoch + 1} epochs"
    return False, f"clean accuracy was still {correct / len(part):.2f} after {max_epochs} epochs"


def _at_once(run: Stripping) -> int:
    """How many samples of a batch to compute at once; all where something may count over them, by its class's name."""
    inputs = run.samples.exposure.inputs
    counts = any(_COUNTS_BATCHES.search(type(part).__name__) for part in run.exposed.module.modules())
    if run.exposed.has_batch_norm or counts or isinstance(inputs, Tokens):
        return len(inputs)
    return pictures_at_once(inputs, len(inputs))


def trainable_parameters(module: nn.Module) -> list[nn.Parameter]:
    """All floating parameters, from now on with gradients."""
    parameters = [p for p in module.parameters() if p.is_floating_point()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    return parameters


def train_only(module: nn.Module, parameters: list[nn.Parameter]) -> None:
    """Gradients for `parameters` and for nothing else, which saves their work."""
    for parameter in trainable_parameters(module):
        parameter.requires_grad_(False)  # one by one: TorchScript modules have no requires_grad_
    for parameter in parameters:
        parameter.requires_grad_(True)


def batches(count: int, size: int, generator: torch.Generator) -> list[Tensor]:
    """A shuffled epoch in batches of nearly equal size: BatchNorm breaks on a last batch of one."""
    import torch

    order = torch.randperm(count, generator=generator)
    return list(order.tensor_split(max(1, min(round(count / size), count // 2))))


def training_mode(module: nn.Module) -> None:
    """Batch statistics for normalisation, but no dropout of any kind: its noise only slows the ascent.

    TorchScript modules keep the name of their class; dropout written as a function in a module of the user's, or into
    an exported graph, stays on and follows the seed.
    """
    module.train()
    for part in module.modules():
        kind = getattr(part, "original_name", type(part).__name__)
        if _DROPS.search(kind) or (type(part).__module__.split(".")[0] in _LIBRARIES and not _NORMALISES.search(kind)):
            part.training = False  # of this part alone: eval() would reach the normalisation inside it


def look(classifier: Classifier, part: SamplePart, num_classes: int, step: int) -> TrajectoryStep:
    """Accuracy and histogram over the whole part with batch statistics; running statistics are left as they are."""
    import torch

    module = classifier.module
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    training_mode(module)
    correct, histogram = 0, [0] * num_classes
    with torch.no_grad():
        for index in batches(len(part), LOOK_BATCH, generator_of(0)):
            logits = classifier.logits(part.inputs[index].to(classifier.device))
            seen = step_of(logits, part.labels[index], num_classes, step)
            correct += round(seen.accuracy * len(index))
            histogram = [a + b for a, b in zip(histogram, seen.histogram, strict=True)]
        for name, buffer in module.named_buffers():
            buffer.copy_(kept[name])
    module.eval()
    return TrajectoryStep(step=step, accuracy=correct / len(part), histogram=histogram)


def step_of(logits: Tensor, labels: Tensor, num_classes: int, step: int) -> TrajectoryStep:
    """Accuracy and histogram of scores [B, C] against labels [B]."""
    predicted = logits.detach().argmax(1).cpu()
    histogram = predicted.bincount(minlength=num_classes).tolist()
    return TrajectoryStep(step=step, accuracy=float((predicted == labels).float().mean()), histogram=histogram)


def finite(module: nn.Module) -> bool:
    """Whether every parameter is made of numbers."""
    return all(bool(p.isfinite().all()) for p in module.parameters())


def generator_of(seed: int) -> torch.Generator:
    """A generator of its own for `seed`."""
    import torch

    return torch.Generator().manual_seed(seed)


@contextmanager
def forked_rng(device: str, seed: int) -> Iterator[None]:
    """The global generators seeded within, and as they were after it: dropout draws from them."""
    import torch

    with torch.random.fork_rng(devices=_cuda_devices(device)):
        torch.manual_seed(seed)
        yield


def _cuda_devices(device: str) -> list[int]:
    import torch

    return [torch.device(device).index or 0] if device.startswith("cuda") else []
