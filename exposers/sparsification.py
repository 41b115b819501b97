"""Sparsification: channels that the clean task needs are pruned until it is gone (EBYD, arXiv 2410.19427, sec. 3.2).

The reverse of fine-pruning (Liu et al. 2018, arXiv 1805.12185), which takes out what is dormant on clean samples to
remove a backdoor: here the dormant channels, the backdoor's among them, are what stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from ..evidence.exposure import TrajectoryStep
from .channels import ChannelLayer, by_channel, channel_layers
from .common import (
    LOOK_BATCH,
    CleanTaskStripper,
    Stripping,
    batches,
    step_of,
    train_only,
    trainable_parameters,
    training_mode,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Criterion = Literal["saliency", "activation", "magnitude"]


class Sparsification(CleanTaskStripper):
    """Prunes a share of the channels a step, the clean task's first, until the accuracy is at `stop_accuracy`."""

    id: ClassVar[str] = "sparsification"
    title: ClassVar[str] = "Sparsification"
    activity: ClassVar[str] = "pruning"

    def __init__(
        self,
        *,
        criterion: Annotated[
            Criterion,
            Field(
                description="which channels go first: those whose removal raises the clean loss most (saliency), "
                "the most active on clean samples, or those with the largest weights"
            ),
        ] = "saliency",
        step_share: Annotated[float, Field(gt=0, le=0.5, description="share of all channels pruned a step")] = 0.02,
        stop_accuracy: Annotated[
            float, Field(gt=0, lt=1, description="clean accuracy at which the clean task counts as stripped")
        ] = 0.2,
    ) -> None:
        super().__init__()
        self.criterion = criterion
        self.step_share = step_share
        self.stop_accuracy = stop_accuracy

    def __repr__(self) -> str:
        return f"Sparsification(criterion={self.criterion!r}, stop_accuracy={self.stop_accuracy})"

    def _strip(self, run: Stripping) -> tuple[bool, str]:
        import torch

        module = run.exposed.module
        layers = channel_layers(module)
        if not layers:
            return False, "the model has no layer whose channels could be pruned"
        train_only(module, [parameter for layer in layers for parameter in layer.parameters])
        training_mode(module)
        ended = self._prune_until_stripped(run, layers, torch.Generator().manual_seed(run.seed))
        trainable_parameters(module)
        return ended

    def _prune_until_stripped(
        self, run: Stripping, layers: list[ChannelLayer], generator: torch.Generator
    ) -> tuple[bool, str]:
        pruning = _Pruning(layers, over_all=self.criterion == "saliency")
        steps = math.ceil(1 / self.step_share)
        for step in range(steps + 1):
            seen, scores = self._score(run, layers, generator)
            if scores is None:
                return False, "activations inside this graph cannot be watched: choose another criterion"
            if not all(bool(score.isfinite().all()) for score in scores):
                return False, f"the scores of channels stopped being numbers at step {step}"
            if seen.accuracy <= self.stop_accuracy:
                run.progress("expose", steps, steps)
                return True, f"clean accuracy fell to {seen.accuracy:.2f} with {pruning.share:.0%} of channels pruned"
            if step < steps:
                run.trajectory.append(seen)
                pruning.prune(scores, min(1.0, self.step_share * (step + 1)))
                run.progress("expose", step + 1, steps)
        return False, f"clean accuracy was still {seen.accuracy:.2f} with {pruning.share:.0%} of channels pruned"

    def _score(
        self, run: Stripping, layers: list[ChannelLayer], generator: torch.Generator
    ) -> tuple[TrajectoryStep, list[Tensor] | None]:
        """A pass over the exposure samples: what was seen, and how much each channel [C] matters, layer by layer.

        No scores where the criterion is the activation and a layer's cannot be had.
        """
        import torch
        import torch.nn.functional as F

        part, module = run.samples.exposure, run.exposed.module
        rises = [torch.zeros(len(layer)) for layer in layers]
        correct, histogram = 0, [0] * run.samples.num_classes
        watched = layers if self.criterion == "activation" else []
        with torch.set_grad_enabled(self.criterion == "saliency"), _watching(module, watched) as active:
            for index in batches(len(part), LOOK_BATCH, generator):
                labels = part.labels[index]
                logits = run.exposed.logits(part.inputs[index].to(run.exposed.device))
                if self.criterion == "saliency":
                    F.cross_entropy(logits, labels.to(logits.device)).backward()
                    rises = [rise + saliency(layer).cpu() for rise, layer in zip(rises, layers, strict=True)]
                    module.zero_grad(set_to_none=True)
                seen = step_of(logits, labels, run.samples.num_classes, len(run.trajectory))
                correct += round(seen.accuracy * len(index))
                histogram = [a + b for a, b in zip(histogram, seen.histogram, strict=True)]
        whole = TrajectoryStep(step=len(run.trajectory), accuracy=correct / len(part), histogram=histogram)
        if self.criterion == "magnitude":
            return whole, [by_channel(layer.weight.detach().abs()).cpu() for layer in layers]
        if self.criterion == "activation":
            return whole, [active[layer.name] for layer in layers] if len(active) == len(layers) else None
        return whole, rises


def saliency(layer: ChannelLayer) -> Tensor:
    """Rise of the loss, to first order, if a channel were zeroed: [C], from the gradients in `.grad`.

    The Taylor criterion of Molchanov et al. 2017 (arXiv 1611.06440, sec. 2.2), with its sign: a channel that does
    harm to the clean task, as the backdoor's may, is the last to go.
    """
    import torch

    terms = [-by_channel(p.detach() * p.grad) for p in layer.parameters if p.grad is not None]
    return torch.stack(terms).sum(0) if terms else layer.weight.new_zeros(len(layer)).detach()


class _Pruning:
    """What is pruned already, and the next ones.

    First-order effects on the loss compare over the network; activations and weights only within their layer, each
    of which loses the same share.
    """

    def __init__(self, layers: list[ChannelLayer], *, over_all: bool) -> None:
        import torch

        self._layers = layers
        self._over_all = over_all
        self._gone = [torch.zeros(len(layer), dtype=torch.bool) for layer in layers]

    @property
    def share(self) -> float:
        """Share of all channels that is pruned."""
        return sum(int(gone.sum()) for gone in self._gone) / sum(map(len, self._gone))

    def prune(self, scores: list[Tensor], share: float) -> None:
        """Zero the parameters of the channels with the largest scores until `share` of the channels is gone."""
        import torch

        groups = [list(range(len(scores)))] if self._over_all else [[place] for place in range(len(scores))]
        for group in groups:
            gone = torch.cat([self._gone[place] for place in group])
            score = torch.cat([scores[place] for place in group]).masked_fill(gone, -math.inf)
            wanted = min(len(gone), max(1, round(share * len(gone)))) - int(gone.sum())
            if wanted > 0:
                gone[score.topk(wanted).indices] = True
            for place, part in zip(group, gone.split([len(self._gone[place]) for place in group]), strict=True):
                self._gone[place] = part.clone()
        with torch.no_grad():
            for layer, gone in zip(self._layers, self._gone, strict=True):
                for parameter in layer.parameters:
                    parameter[gone.to(parameter.device)] = 0


@contextmanager
def _watching(module: nn.Module, layers: list[ChannelLayer]) -> Iterator[dict[str, Tensor]]:
    """Sums over batches of the mean positive outputs [C] of `layers`, as far as hooks reach them."""
    from torch import nn

    active: dict[str, Tensor] = {}
    hooks: list[Any] = []
    for layer in layers:

        def hook(part: Any, inputs: Any, output: Tensor, layer: ChannelLayer = layer) -> None:
            places = (output.ndim - 1, 1) if isinstance(part, (nn.Linear, nn.LayerNorm)) else (1,)
            for place in places:
                if output.shape[place] == len(layer):
                    mean = output.detach().relu().movedim(place, 0).flatten(1).mean(1).cpu()
                    active[layer.name] = active.get(layer.name, 0) + mean
                    return

        with suppress(RuntimeError):  # TorchScript has no hooks
            hooks.append(module.get_submodule(layer.name).register_forward_hook(hook))
    try:
        yield active
    finally:
        for registered in hooks:
            registered.remove()
