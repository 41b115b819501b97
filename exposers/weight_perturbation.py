"""Weight perturbation: adversarial noise on neurons until the clean task is gone (EBYD, arXiv 2410.19427, sec. 3.2).

The noise is that of ANP (Wu & Wang 2021, arXiv 2110.14430): weight and bias of each neuron are multiplied
by 1 + delta and 1 + xi with |delta|, |xi| <= epsilon, and delta and xi climb the loss on clean samples. A
backdoored network gives way first where its backdoor is, and predictions go to the target label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from .channels import as_rows, by_channel, channel_layers
from .common import CleanTaskStripper, Stripping, strip_by_gradient, train_only, trainable_parameters

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class WeightPerturbation(CleanTaskStripper):
    """Signed ascent on a factor a channel; the bound grows each epoch until the accuracy is at `stop_accuracy`."""

    id: ClassVar[str] = "weight-perturbation"
    title: ClassVar[str] = "Weight perturbation"
    activity: ClassVar[str] = "perturbation"

    def __init__(
        self,
        *,
        epsilon: Annotated[float, Field(gt=0, le=10, description="largest relative change in the first epoch")] = 0.2,
        epsilon_growth: Annotated[float, Field(ge=0, le=10, description="added to epsilon after each epoch")] = 0.1,
        step_size: Annotated[float, Field(gt=0, le=10, description="relative change a step")] = 0.1,
        perturb_bias: Annotated[bool, Field(description="biases (of BatchNorm: shifts) are perturbed too")] = True,
        batch_size: Annotated[int, Field(ge=2, le=4096, description="samples a step")] = 32,
        max_epochs: Annotated[int, Field(ge=1, le=1000, description="passes over the samples before giving up")] = 30,
        stop_accuracy: Annotated[
            float, Field(gt=0, lt=1, description="clean accuracy at which the clean task counts as stripped")
        ] = 0.2,
    ) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.epsilon_growth = epsilon_growth
        self.step_size = step_size
        self.perturb_bias = perturb_bias
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.stop_accuracy = stop_accuracy

    def __repr__(self) -> str:
        return f"WeightPerturbation(epsilon={self.epsilon}, stop_accuracy={self.stop_accuracy})"

    def _strip(self, run: Stripping) -> tuple[bool, str]:
        import torch
        import torch.nn.functional as F

        module, labels = run.exposed.module, run.samples.exposure.labels
        layers = channel_layers(module)
        parameters = [p for layer in layers for p in (layer.parameters if self.perturb_bias else [layer.weight])]
        if not parameters:
            return False, "the model has no layer whose channels could be perturbed"
        noise = _Noise(parameters, self.epsilon, torch.Generator().manual_seed(run.seed))
        train_only(module, parameters)
        last_epoch = 0

        def loss_of(logits: Tensor, index: Tensor, epoch: int) -> Tensor:
            nonlocal last_epoch
            last_epoch = epoch
            return -F.cross_entropy(logits, labels[index].to(logits.device))

        def update() -> None:
            noise.step(self.step_size, self.epsilon + self.epsilon_growth * last_epoch)

        ended = strip_by_gradient(
            run,
            loss_of,
            update,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            stop_accuracy=self.stop_accuracy,
        )
        trainable_parameters(module)
        return ended


class _Noise:
    """A factor 1 + delta a channel on each parameter, kept apart from the parameter's original value."""

    def __init__(self, parameters: list[nn.Parameter], epsilon: float, generator: torch.Generator) -> None:
        import torch

        self._parts = []
        for parameter in parameters:
            drawn = (2 * torch.rand(len(parameter), generator=generator) - 1) * epsilon
            self._parts.append((parameter, parameter.detach().clone(), drawn.to(parameter)))
        self._apply()

    def step(self, size: float, epsilon: float) -> None:
        """One signed step down the gradients in `.grad`, deltas clamped to +-epsilon."""
        for parameter, original, delta in self._parts:
            if parameter.grad is not None:
                slope = by_channel(original * parameter.grad)  # of the loss in delta, by the chain rule
                delta.sub_(size * slope.sign()).clamp_(-epsilon, epsilon)
        self._apply()

    def _apply(self) -> None:
        import torch

        with torch.no_grad():
            for parameter, original, delta in self._parts:
                parameter.copy_(original * as_rows(1 + delta, original))
