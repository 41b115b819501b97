"""Clean Unlearning (CUL): gradient ascent on clean samples (EBYD, arXiv 2410.19427, sec. 3.2).

Ascent on the cross-entropy of a few hundred clean samples strips the clean task. A backdoor has weights of its
own, is not touched by clean samples, and is what is left: predictions collapse onto its target label. BatchNorm
works on batch statistics meanwhile; with running statistics the collapse goes to an arbitrary class.
"""

from __future__ import annotations

import copy
import math
import time
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ..evidence.context import Progress, silent
from ..evidence.exposure import Exposure, ExposureRun, TrajectoryStep

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ..evidence.classifier import Classifier
    from ..evidence.samples import CleanSamples, SamplePart


class CleanUnlearning:
    """SGD ascent until the accuracy on the exposure samples has fallen to `stop_accuracy`."""

    id: ClassVar[str] = "clean-unlearning"

    def __init__(
        self,
        *,
        learning_rate: Annotated[float, Field(gt=0, le=1, description="SGD learning rate")] = 0.01,
        momentum: Annotated[float, Field(ge=0, lt=1, description="SGD momentum")] = 0.9,
        batch_size: Annotated[int, Field(ge=2, le=4096, description="samples a step")] = 32,
        max_epochs: Annotated[int, Field(ge=1, le=1000, description="passes over the samples before giving up")] = 20,
        stop_accuracy: Annotated[
            float, Field(gt=0, lt=1, description="clean accuracy at which the clean task counts as stripped")
        ] = 0.2,
        clip_norm: Annotated[float, Field(gt=0, description="largest L2 norm of the gradient")] = 20.0,
    ) -> None:
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.stop_accuracy = stop_accuracy
        self.clip_norm = clip_norm
        self._original: tuple[nn.Module, CleanSamples, TrajectoryStep] | None = None

    def __repr__(self) -> str:
        return f"CleanUnlearning(learning_rate={self.learning_rate}, stop_accuracy={self.stop_accuracy})"

    def expose(
        self, classifier: Classifier, samples: CleanSamples, *, seed: int, progress: Progress = silent
    ) -> Exposure:
        """Unlearn a copy of `classifier`; the original is not modified.

        Args:
            classifier: the original, in eval mode; not trainable ones give a run that did not converge.
            samples: only the exposure part is looked at.
            seed: of the order of samples and of dropout.
            progress: told each epoch.

        Returns:
            The exposed classifier and its run. The trajectory holds, a step, accuracy and histogram of the batch
            just before the update (free of cost, in the mode it is trained in); `before` and `after` are
            measured on all exposure samples with batch statistics.
        """
        import torch

        started = time.perf_counter()
        exposed = classifier.with_module(copy.deepcopy(classifier.module))
        before = self._look_before(classifier, exposed, samples)
        trajectory: list[TrajectoryStep] = []
        reason = _not_applicable(classifier)
        if applicable := reason is None:
            with torch.random.fork_rng(devices=_cuda_devices(classifier.device)):
                torch.manual_seed(seed)
                converged, reason = self._ascend(exposed, samples, seed, trajectory, progress)
        else:
            converged = False
        after = None
        if applicable and _finite(exposed.module):
            after = _look(exposed, samples.exposure, samples.num_classes, step=len(trajectory))
        exposed.module.eval()
        for parameter in exposed.module.parameters():
            parameter.grad = None
        if converged and after is None:
            converged, reason = False, "the weights stopped being numbers in the last step"
        run = ExposureRun(
            method=self.id,
            seed=seed,
            applicable=applicable,
            converged=converged,
            reason=reason or "",
            trajectory=trajectory,
            before=before,
            after=after,
            seconds=time.perf_counter() - started,
        )
        return Exposure(exposed, run)

    def _look_before(self, classifier: Classifier, exposed: Classifier, samples: CleanSamples) -> TrajectoryStep:
        """The same for every seed, so looked at once; `exposed` is still a plain copy."""
        known = self._original
        if known and known[0] is classifier.module and known[1] is samples:
            return known[2]
        before = _look(exposed, samples.exposure, samples.num_classes, step=0)
        self._original = (classifier.module, samples, before)
        return before

    def _ascend(
        self,
        exposed: Classifier,
        samples: CleanSamples,
        seed: int,
        trajectory: list[TrajectoryStep],
        progress: Progress,
    ) -> tuple[bool, str]:
        import torch
        import torch.nn.functional as F

        part, module = samples.exposure, exposed.module
        parameters = [p for p in module.parameters() if p.is_floating_point()]
        for parameter in parameters:
            parameter.requires_grad_(True)
        _training_mode(module)
        optimizer = torch.optim.SGD(parameters, self.learning_rate, momentum=self.momentum)
        generator = torch.Generator().manual_seed(seed)
        for epoch in range(self.max_epochs):
            correct = 0
            for index in _batches(len(part), self.batch_size, generator):
                pixels, labels = part.pixels[index], part.labels[index]
                logits = exposed.logits(pixels.to(exposed.device))
                loss = F.cross_entropy(logits, labels.to(exposed.device))
                if not math.isfinite(loss.item()):
                    return False, f"the loss stopped being a number at step {len(trajectory)}"
                step = _step(logits, labels, samples.num_classes, len(trajectory))
                trajectory.append(step)
                correct += round(step.accuracy * len(index))
                (-loss).backward()
                torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)  # here, so that activations and gradients never add up
            progress("expose", epoch + 1, self.max_epochs)
            if correct / len(part) <= self.stop_accuracy:
                progress("expose", self.max_epochs, self.max_epochs)
                return True, f"clean accuracy fell to {correct / len(part):.2f} in {epoch + 1} epochs"
        return False, f"clean accuracy was still {correct / len(part):.2f} after {self.max_epochs} epochs"


def _batches(count: int, size: int, generator: torch.Generator) -> list[Tensor]:
    """A shuffled epoch in batches of nearly equal size: BatchNorm breaks on a last batch of one."""
    import torch

    order = torch.randperm(count, generator=generator)
    return list(order.tensor_split(max(1, round(count / size))))


def _training_mode(module: nn.Module) -> None:
    """Batch statistics for normalisation, but no dropout: its noise only slows the ascent.

    TorchScript modules keep the name of their class; dropout written as a function, or into an exported graph,
    stays on and follows the seed.
    """
    module.train()
    for part in module.modules():
        if getattr(part, "original_name", type(part).__name__).endswith(("Dropout", "Dropout1d", "Dropout2d")):
            part.eval()


def _not_applicable(classifier: Classifier) -> str | None:
    if not classifier.trainable:
        return "Clean unlearning does not apply: the model's graph is frozen and no parameter takes a gradient."
    if classifier.normalisation_frozen:
        return (
            "Clean unlearning does not apply: BatchNorm is frozen in this graph, and unlearning with running "
            "statistics collapses onto an arbitrary label. Scan the weights with --architecture instead."
        )
    return None


LOOK_BATCH = 64  # batch statistics of about this many samples, whatever the batch of the ascent


def _look(classifier: Classifier, part: SamplePart, num_classes: int, step: int) -> TrajectoryStep:
    """Accuracy and histogram over the whole part with batch statistics; running statistics are left as they are."""
    import torch

    module = classifier.module
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    _training_mode(module)
    generator = torch.Generator().manual_seed(0)
    correct, histogram = 0, [0] * num_classes
    with torch.no_grad():
        for index in _batches(len(part), LOOK_BATCH, generator):
            logits = classifier.logits(part.pixels[index].to(classifier.device))
            seen = _step(logits, part.labels[index], num_classes, step)
            correct += round(seen.accuracy * len(index))
            histogram = [a + b for a, b in zip(histogram, seen.histogram, strict=True)]
        for name, buffer in module.named_buffers():
            buffer.copy_(kept[name])
    module.eval()
    return TrajectoryStep(step=step, accuracy=correct / len(part), histogram=histogram)


def _step(logits: Tensor, labels: Tensor, num_classes: int, step: int) -> TrajectoryStep:
    predicted = logits.detach().argmax(1).cpu()
    histogram = predicted.bincount(minlength=num_classes).tolist()
    return TrajectoryStep(step=step, accuracy=float((predicted == labels).float().mean()), histogram=histogram)


def _finite(module: nn.Module) -> bool:
    return all(bool(p.isfinite().all()) for p in module.parameters())


def _cuda_devices(device: str) -> list[int]:
    import torch

    return [torch.device(device).index or 0] if device.startswith("cuda") else []
