"""The loaded model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .text_codec import TextCodec
from .tokens import Tokens

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Classifier:
    """A model that maps pixels, or texts, to class scores.

    `module` is in eval mode whenever nobody is working on it; whoever changes it works on a copy (`with_module`).
    """

    module: nn.Module
    num_classes: int
    mean: tuple[float, ...]  # of pixels in 0..1, one a channel; () for texts
    std: tuple[float, ...]
    device: str
    architecture: str
    trainable: bool  # False where the graph is frozen: no parameter gets a gradient
    has_batch_norm: bool
    normalisation_frozen: bool = False  # True where BatchNorm cannot be put into train mode (traced graphs)
    codec: TextCodec | None = None  # of text classifiers

    def logits(self, pixels: Tensor | Tokens) -> Tensor:
        """Scores [N, C] of `pixels`, float [N, channels, H, W] in 0..1, or of texts, on the classifier's device."""
        if isinstance(pixels, Tokens):
            of_texts: Tensor = self.module(**pixels.arguments)
            return of_texts
        mean = pixels.new_tensor(self.mean).view(1, -1, 1, 1)
        std = pixels.new_tensor(self.std).view(1, -1, 1, 1)
        scores: Tensor = self.module((pixels - mean) / std)
        return scores

    def with_module(self, module: nn.Module) -> Classifier:
        """The same classifier around another module."""
        from dataclasses import replace

        return replace(self, module=module)

    def same_tensors(self, other: Classifier) -> bool:
        """Whether parameters and buffers are equal by name and value, in the same architecture; no tensors are not."""
        mine, theirs = self.module.state_dict(), other.module.state_dict()
        if self.architecture != other.architecture or not mine or mine.keys() != theirs.keys():
            return False
        return all(
            tensor.dtype == theirs[name].dtype and bool(tensor.equal(theirs[name].to(tensor.device)))
            for name, tensor in mine.items()
        )
