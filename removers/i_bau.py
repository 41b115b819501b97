"""Implicit backdoor adversarial unlearning (I-BAU, Zeng et al. 2022, arXiv 2110.03735, sec. 3.2).

One perturbation for all pictures is searched that does most harm, and the weights learn to be right in spite of it.
How the perturbation follows the weights enters their gradient through the implicit function theorem, by fixed-point
iterations (Grazzi et al. 2020, arXiv 2006.16218, sec. 2.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ..exposers.common import trainable_parameters, training_mode
from .common import CopyRemover, NotApplicable, Repairing
from .losses import LOSS_DESCRIPTION, LOSSES, LossName
from .tuning import Training, train

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from .tuning import Inputs

SEARCH_BATCH = 64  # samples a step


class ImplicitUnlearning(CopyRemover):
    """A minimax: the worst universal perturbation against weights that withstand it."""

    id: ClassVar[str] = "i-bau"
    title: ClassVar[str] = "I-BAU"

    def __init__(
        self,
        *,
        rounds: Annotated[int, Field(ge=1, le=1000, description="perturbations, one searched after the other")] = 5,
        epochs: Annotated[int, Field(ge=1, le=1000, description="passes over the samples")] = 10,
        radius: Annotated[
            float, Field(gt=0, le=1, description="largest root mean square of the perturbation, of pixels in 0..1")
        ] = 0.05,
        search_steps: Annotated[int, Field(ge=1, le=10000, description="steps of each search")] = 20,
        iterations: Annotated[int, Field(ge=0, le=100, description="of the implicit gradient; 0 leaves it out")] = 1,
        learning_rate: Annotated[float, Field(gt=0, le=1, description="of SGD, at the start")] = 0.02,
        batch_size: Annotated[int, Field(ge=2, le=4096, description="samples a step")] = 32,
        shift: Annotated[
            float, Field(ge=0, le=0.5, description="pictures are moved by up to this share of their sides")
        ] = 0.1,
        loss: Annotated[LossName, Field(description=LOSS_DESCRIPTION)] = "cross-entropy",
    ) -> None:
        self.rounds = rounds
        self.training = Training(epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, shift=shift)
        self.radius = radius
        self.search_steps = search_steps
        self.iterations = iterations
        self.loss: LossName = loss

    def __repr__(self) -> str:
        return (
            f"ImplicitUnlearning(rounds={self.rounds}, epochs={self.training.epochs}, radius={self.radius}, "
            f"iterations={self.iterations}, loss={self.loss!r})"
        )

    def _repair(self, run: Repairing) -> str:
        if run.original.codec is not None:
            raise NotApplicable("I-BAU does not apply: it perturbs pixels, and texts have none")
        from torch.nn.attention import SDPBackend, sdpa_kernel

        with sdpa_kernel(SDPBackend.MATH):  # the fast kernels of attention have no second derivative
            train(run, self.training, self._backward(run))
        return (
            f"trained on {len(run.part)} clean samples for {self.training.epochs} epochs against {self.rounds} "
            "universal perturbations"
        )

    def _backward(self, run: Repairing) -> Callable[[Inputs, Tensor], float]:
        """The `backward` of `train`: clean and perturbed samples, and what the perturbation adds to the gradient."""
        import torch

        loss_of, generator = LOSSES[self.loss], run.generator(1)
        parameters = trainable_parameters(run.repaired.module)
        steps = self.training.steps(len(run.part))
        first = {round(done * steps / self.rounds) for done in range(self.rounds)}
        noise, step = torch.empty(0), 0

        def backward(inputs: Inputs, labels: Tensor) -> float:
            nonlocal noise, step
            assert isinstance(inputs, torch.Tensor)
            if step in first:
                noise = self._worst(run, generator)
            step += 1
            noise.requires_grad_()
            both = run.repaired.logits(torch.cat([inputs, (inputs + noise).clamp(0, 1)]))
            loss = loss_of(both, labels.repeat(2))
            *slopes, onto_noise = torch.autograd.grad(loss, [*parameters, noise], allow_unused=True)
            if self.iterations:
                extra = self._implicit(run, inputs, labels, noise, onto_noise, parameters)
                slopes = [a if b is None else b if a is None else a + b for a, b in zip(slopes, extra, strict=True)]
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.grad = slope
            return loss.item()

        return backward

    def _implicit(
        self,
        run: Repairing,
        inputs: Tensor,
        labels: Tensor,
        noise: Tensor,
        onto_noise: Tensor,
        parameters: list[nn.Parameter],
    ) -> Sequence[Tensor | None]:
        """What the loss gains through the worst perturbation's dependence on the weights.

        That perturbation is a fixed point of a step of its search; its derivative is a series of products with the
        step's Jacobian, cut after `iterations`.
        """
        import torch

        loss = LOSSES[self.loss](run.repaired.logits((inputs + noise).clamp(0, 1)), labels)
        try:
            (slope,) = torch.autograd.grad(loss, noise, create_graph=True)
            moved = _step(noise, slope, self.radius, 1 / self.search_steps)
            vector = total = onto_noise
            for _ in range(self.iterations - 1):
                (vector,) = torch.autograd.grad(moved, noise, vector, retain_graph=True)
                total = total + vector
            return torch.autograd.grad(moved, parameters, total, allow_unused=True)
        except RuntimeError as problem:
            raise NotApplicable("this model has no second derivatives: set iterations to 0") from problem

    def _worst(self, run: Repairing, generator: torch.Generator) -> Tensor:
        """The perturbation [1, channels, H, W] within the radius that raises the loss most, in eval mode."""
        import torch

        module, part = run.repaired.module, run.part
        module.eval()
        start = torch.randn(1, *part.pixels.shape[1:], generator=generator).to(run.repaired.device)
        noise = _step(torch.zeros_like(start), start, self.radius, 0.1)
        for _ in range(self.search_steps):
            index = torch.randint(0, len(part), (min(len(part), SEARCH_BATCH),), generator=generator)
            noise = noise.detach().requires_grad_()
            pixels = part.pixels[index].to(run.repaired.device)
            loss = LOSSES[self.loss](
                run.repaired.logits((pixels + noise).clamp(0, 1)), part.labels[index].to(noise.device)
            )
            (slope,) = torch.autograd.grad(loss, noise)
            noise = _step(noise, slope, self.radius, 2 / self.search_steps)
        training_mode(module)
        return noise.detach()


def _step(noise: Tensor, slope: Tensor, radius: float, share: float) -> Tensor:
    """A step up the slope, `share` of the radius long, and back into the ball."""
    size = slope.detach().square().mean().sqrt().clamp(min=1e-12)
    moved = noise + slope * (share * radius / size)
    return moved * (radius / moved.square().mean().sqrt().clamp(min=radius))
