"""Adversarial neuron pruning (ANP, Wu & Wang 2021, arXiv 2110.14430, sec. 4).

A mask over the channels learns to keep accuracy both as it is and while weights and biases are perturbed against it.
Channels that give way to the noise, as a backdoor's do first, lose their mask and are pruned.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ..exposers.common import batches, train_only, training_mode
from .common import CopyRemover, NotApplicable, Repairing
from .masking import Factors
from .pruning import layers_of, prune_in_order

if TYPE_CHECKING:
    from torch import Tensor


class AdversarialNeuronPruning(CopyRemover):
    """Prunes channels with the smallest mask while accuracy holds; other weights stay as they are."""

    id: ClassVar[str] = "anp"
    title: ClassVar[str] = "Adversarial neuron pruning"

    def __init__(
        self,
        *,
        epsilon: Annotated[float, Field(gt=0, le=10, description="largest relative change of a perturbation")] = 0.4,
        noise_steps: Annotated[int, Field(ge=1, le=100, description="steps of each perturbation")] = 1,
        clean_share: Annotated[
            float, Field(ge=0, le=1, description="weight of the loss without a perturbation; the rest is with it")
        ] = 0.2,
        epochs: Annotated[int, Field(ge=1, le=1000, description="passes over the samples for the mask")] = 10,
        mask_rate: Annotated[float, Field(gt=0, le=100, description="learning rate of the mask")] = 0.05,
        batch_size: Annotated[int, Field(ge=2, le=4096, description="samples a step")] = 64,
        threshold: Annotated[
            float, Field(gt=0, le=1, description="only channels with a smaller mask are pruned")
        ] = 0.9,
        max_drop: Annotated[float, Field(ge=0, le=1, description="accuracy that pruning may cost")] = 0.04,
    ) -> None:
        self.epsilon = epsilon
        self.noise_steps = noise_steps
        self.clean_share = clean_share
        self.epochs = epochs
        self.mask_rate = mask_rate
        self.batch_size = batch_size
        self.threshold = threshold
        self.max_drop = max_drop

    def __repr__(self) -> str:
        return (
            f"AdversarialNeuronPruning(epsilon={self.epsilon}, epochs={self.epochs}, threshold={self.threshold}, "
            f"max_drop={self.max_drop})"
        )

    def _repair(self, run: Repairing) -> str:
        layers = layers_of(run.repaired.module)
        mask = self._mask(run)
        order = mask.argsort(stable=True)
        gone = prune_in_order(run, layers, order[mask[order] < self.threshold], self.max_drop)
        run.metrics["below_threshold"] = float((mask < self.threshold).float().mean())
        return f"pruned {int(gone.sum())} of {len(gone)} channels, by a mask learned for {self.epochs} epochs"

    def _mask(self, run: Repairing) -> Tensor:
        """The mask [all channels] in 0..1, learned on a copy."""
        import torch
        import torch.nn.functional as F

        watched = run.original.with_module(copy.deepcopy(run.original.module))
        layers = layers_of(watched.module)
        train_only(watched.module, [parameter for layer in layers for parameter in layer.parameters])
        training_mode(watched.module)
        factors = Factors(layers)
        mask = torch.ones(sum(map(len, layers)))
        optimizer = torch.optim.SGD([mask], self.mask_rate, momentum=0.9)
        generator = run.generator()

        def slopes_at(weights: Tensor, biases: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
            factors.write(weights, biases)
            watched.module.zero_grad(set_to_none=True)
            logits = watched.logits(run.part.inputs[index].to(watched.device))
            loss = F.cross_entropy(logits, run.part.labels[index].to(logits.device))
            if not math.isfinite(loss.item()):
                raise NotApplicable("the loss of the perturbed model stopped being a number")
            loss.backward()
            return factors.slopes()

        ones = torch.ones_like(mask)
        for epoch in range(self.epochs):
            for index in batches(len(run.part), self.batch_size, generator):
                delta, xi = ((2 * torch.rand(len(mask), generator=generator) - 1) * self.epsilon for _ in range(2))
                for _ in range(self.noise_steps):
                    along, across = slopes_at(mask + delta, ones + xi, index)
                    step = self.epsilon / self.noise_steps
                    delta = (delta + step * along.sign()).clamp(-self.epsilon, self.epsilon)
                    xi = (xi + step * across.sign()).clamp(-self.epsilon, self.epsilon)
                robust, _ = slopes_at(mask + delta, ones + xi, index)
                natural, _ = slopes_at(mask, ones, index)
                mask.grad = self.clean_share * natural + (1 - self.clean_share) * robust
                optimizer.step()
                mask.clamp_(0, 1)
            run.progress("mask", epoch + 1, self.epochs)
        return mask
