"""Reconstructive neuron pruning (RNP, Li et al. 2023, arXiv 2305.14876, sec. 3).

The model unlearns clean samples, which is the exposure of EBYD; a mask over the channels of the unlearned model then
learns the clean task back. Channels that get little of the mask are the backdoor's and are pruned in the original.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ..evidence.samples import CleanSamples
from ..exposers.channels import channel_layers
from ..exposers.clean_unlearning import CleanUnlearning
from ..exposers.common import batches, train_only, training_mode
from .common import CopyRemover, NotApplicable, Repairing
from .masking import Factors
from .pruning import layers_of, prune_in_order

if TYPE_CHECKING:
    from torch import Tensor

    from ..evidence.classifier import Classifier


CLIP = 1.0  # largest L2 norm of the mask's gradient: the unlearned model's loss is large at first


class ReconstructiveNeuronPruning(CopyRemover):
    """Prunes channels with the smallest mask while accuracy holds; other weights stay as they are."""

    id: ClassVar[str] = "rnp"
    title: ClassVar[str] = "Reconstructive neuron pruning"

    def __init__(
        self,
        *,
        unlearning_rate: Annotated[float, Field(gt=0, le=1, description="learning rate of the unlearning")] = 0.01,
        stop_accuracy: Annotated[
            float, Field(gt=0, lt=1, description="clean accuracy at which the unlearning ends")
        ] = 0.2,
        mask_epochs: Annotated[int, Field(ge=1, le=1000, description="passes over the samples for the mask")] = 20,
        mask_rate: Annotated[float, Field(gt=0, le=100, description="learning rate of the mask")] = 0.02,
        batch_size: Annotated[int, Field(ge=2, le=4096, description="samples a step")] = 32,
        threshold: Annotated[
            float, Field(gt=0, le=1, description="only channels with a smaller mask are pruned")
        ] = 0.7,
        max_drop: Annotated[float, Field(ge=0, le=1, description="accuracy that pruning may cost")] = 0.04,
    ) -> None:
        self.unlearning_rate = unlearning_rate
        self.stop_accuracy = stop_accuracy
        self.mask_epochs = mask_epochs
        self.mask_rate = mask_rate
        self.batch_size = batch_size
        self.threshold = threshold
        self.max_drop = max_drop

    def __repr__(self) -> str:
        return (
            f"ReconstructiveNeuronPruning(stop_accuracy={self.stop_accuracy}, mask_epochs={self.mask_epochs}, "
            f"threshold={self.threshold}, max_drop={self.max_drop})"
        )

    def _repair(self, run: Repairing) -> str:
        import torch

        layers = layers_of(run.repaired.module)
        masks = [self._mask(run, exposed, number) for number, exposed in enumerate(self._exposed(run))]
        mask = torch.stack(masks).mean(dim=0)
        order = mask.argsort(stable=True)
        gone = prune_in_order(run, layers, order[mask[order] < self.threshold], self.max_drop)
        run.metrics["below_threshold"] = float((mask < self.threshold).float().mean())
        return f"pruned {int(gone.sum())} of {len(gone)} channels, by the mask of {len(masks)} unlearned models"

    def _exposed(self, run: Repairing) -> Iterator[Classifier]:
        """Copies of the exposed models that are known, or one that is unlearned here. Raises NotApplicable."""
        if run.known.exposed:
            for known in run.known.exposed:
                yield known.with_module(copy.deepcopy(known.module))
            return
        names = tuple(map(str, range(run.num_classes)))
        samples = CleanSamples(Path(), "", run.num_classes, names, exposure=run.part, held_out=run.part)
        exposer = CleanUnlearning(learning_rate=self.unlearning_rate, stop_accuracy=self.stop_accuracy)
        exposure = exposer.expose(run.original, samples, seed=run.seed, progress=run.progress)
        if not exposure.run.converged:
            raise NotApplicable(f"the clean task could not be unlearned: {exposure.run.reason}")
        yield exposure.classifier

    def _mask(self, run: Repairing, exposed: Classifier, number: int) -> Tensor:
        """The mask [all channels] in 0..1 that learns the clean task back on the exposed model."""
        import torch
        import torch.nn.functional as F

        layers = channel_layers(exposed.module)
        train_only(exposed.module, [parameter for layer in layers for parameter in layer.parameters])
        training_mode(exposed.module)
        factors = Factors(layers)
        mask = torch.ones(sum(map(len, layers)))
        optimizer = torch.optim.SGD([mask], self.mask_rate, momentum=0.9)
        generator = run.generator(number)
        for epoch in range(self.mask_epochs):
            for index in batches(len(run.part), self.batch_size, generator):
                factors.write(mask, mask)
                logits = exposed.logits(run.part.inputs[index].to(exposed.device))
                loss = F.cross_entropy(logits, run.part.labels[index].to(logits.device))
                loss.backward()
                weights, biases = factors.slopes()
                mask.grad = weights + biases
                torch.nn.utils.clip_grad_norm_([mask], CLIP)
                optimizer.step()
                mask.clamp_(0, 1)
                exposed.module.zero_grad(set_to_none=True)
            run.progress("mask", epoch + 1, self.mask_epochs)
        return mask
