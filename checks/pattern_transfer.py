"""Does what decides about one picture decide about others too? A trigger does; a piece of an object rarely does.

Two ways to lay a picture over others of other classes, and count how often the answer becomes the picture's own:

- its most important cells alone, as distilled: after SentiNet (Chou, Tramer & Pellegrino 2020, arXiv 1812.00292,
  section III), which finds the cells by saliency. Small triggers.
- the mean of the two pictures: after STRIP (Gao et al. 2019, arXiv 1902.06531, section 4), which counts entropy instead
  of the answer itself. Triggers that are spread over the picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..evidence.at_once import pictures_at_once
from .cognitive_distillation import spread

if TYPE_CHECKING:
    from torch import Tensor

    from ..evidence.classifier import Classifier

_MIXTURES = 256  # classified at once


def important(masks: Tensor, share: float) -> Tensor:
    """The `share` of each mask's cells, at least one, that are largest, as masks of 0 and 1: float, the same shape."""
    import torch

    flat = masks.flatten(1)
    count = max(1, round(share * flat.shape[1]))
    chosen = torch.zeros_like(flat).scatter_(1, flat.topk(count, dim=1).indices, 1.0)
    return chosen.view_as(masks)


def transfer(
    classifier: Classifier,
    pixels: Tensor,
    masks: Tensor,
    predictions: Tensor,
    *,
    donors: int,
    seed: int,
    batch_size: int = 256,
) -> Tensor:
    """The share, 0..1, of `donors` pictures of other classes that `pixels` under `masks` pull to their own class.

    `pixels`: float [N, channels, H, W]; `masks`: [N, 1, h, w], 1 where the picture covers the donor; `predictions`:
    int64 [N]. Donors are drawn for each picture from the others that the model puts elsewhere. Float [N] on the CPU, 0
    where there are none.
    """
    import torch

    batch_size = pictures_at_once(pixels, batch_size)
    drawn = _donors(predictions, donors, seed)
    pulled = torch.zeros(len(pixels))
    height, width = pixels.shape[2:]
    with torch.no_grad():
        for start in range(0, len(pixels), batch_size):
            rows = slice(start, start + batch_size)
            kept = spread(masks[rows].to(classifier.device), height, width)
            mine, wanted = pixels[rows].to(classifier.device) * kept, predictions[rows]
            for others in drawn[rows].T:
                mixed = mine + (1 - kept) * pixels[others.clamp(min=0)].to(classifier.device)
                answer = classifier.logits(mixed).argmax(dim=1).cpu()
                pulled[rows] += ((answer == wanted) & (others >= 0)).float()
    return pulled / donors


def fallback(classifier: Classifier, pixels: Tensor, predictions: Tensor, *, draws: int, seed: int) -> Tensor:
    """How often the mean of two pictures of other classes is put into each class, 0..1: float [C] on the CPU.

    A model may see a third class in any mixture (an 8 in two digits laid over each other); that a picture pulls others
    to such a class says little. `draws` partners for each of `pixels`, float [N, channels, H, W], predicted as
    `predictions`, int64 [N].
    """
    import torch

    drawn = _donors(predictions, draws, seed)
    hits, tried = torch.zeros(classifier.num_classes), torch.zeros(classifier.num_classes)
    with torch.no_grad():
        for others in drawn.T:
            for rows in torch.arange(len(pixels)).split(pictures_at_once(pixels, _MIXTURES)):
                rows = rows[others[rows] >= 0]
                if not len(rows):
                    continue
                mean = (pixels[rows] + pixels[others[rows]]) / 2
                answer = classifier.logits(mean.to(classifier.device)).argmax(dim=1).cpu()
                parents = torch.stack([predictions[rows], predictions[others[rows]]])
                hits += answer[(answer != parents).all(dim=0)].bincount(minlength=len(hits))
                tried += len(rows) - parents.flatten().bincount(minlength=len(hits))
    return hits / tried.clamp(min=1)


def _donors(predictions: Tensor, donors: int, seed: int) -> Tensor:
    """For each picture the positions of pictures that are predicted as another class: int64 [N, donors]; -1: none."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    drawn = torch.full((len(predictions), donors), -1)
    for label in predictions.unique().tolist():
        mine, others = (predictions == label).nonzero().flatten(), (predictions != label).nonzero().flatten()
        if len(others):
            drawn[mine] = others[torch.randint(len(others), (len(mine), donors), generator=generator)]
    return drawn
