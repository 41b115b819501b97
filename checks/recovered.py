"""Hands a recovered trigger over with a few held-out samples that show what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..evidence.context import Evidence
from ..evidence.recovered import MAX_SHOWN, RecoveredTrigger

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from .compared import Compared
    from .trigger_inversion import Replay


def keep_trigger(evidence: Evidence, compared: Compared, replay: Replay) -> None:
    """Give `evidence.keep` the trigger, if there are samples to show it on and they are pictures.

    One sample a class, of those that the trigger moves first: what a person wants to see is the effect.
    """
    assert evidence.samples is not None
    trigger, witness = compared.trigger, compared.witness
    if replay.pixels.shape[1] not in (1, 3):
        return
    others = (replay.labels != trigger.label).nonzero().flatten()
    predicted = replay.predictions(trigger, replay.pixels[others])
    order = others[(predicted != trigger.label).int().argsort(stable=True)].tolist()
    chosen = one_a_class(order, replay.labels)
    if not chosen:
        return
    pixels = replay.pixels[chosen]
    evidence.keep(
        RecoveredTrigger(
            family=trigger.family,
            label=trigger.label,
            label_name=evidence.samples.class_names[trigger.label],
            attack_success_rate=witness.attack_success_rate,
            samples=witness.samples,
            size=trigger.size,
            before=_picture(pixels),
            after=_picture(trigger.apply(pixels.to(replay.classifier.device)).cpu()),
            true_labels=replay.labels[chosen].numpy(),
            predicted_before=replay.labels[chosen].numpy(),  # replay holds only what the model gets right
            predicted_after=replay.predictions(trigger, pixels).numpy(),
            parts={name: part.detach().float().numpy() for name, part in trigger.parts.items()},
        )
    )


def one_a_class(order: list[int], labels: Tensor) -> list[int]:
    """The first of each class in `order`, then the rest, cut to what is shown."""
    seen: set[int] = set()
    first: list[int] = []
    rest: list[int] = []
    for index in order:
        label = int(labels[index])
        (rest if label in seen else first).append(index)
        seen.add(label)
    return (first + rest)[:MAX_SHOWN]


def _picture(pixels: Tensor) -> NDArray[np.uint8]:
    """uint8 [N, H, W, C] of pixels [N, C, H, W] in 0..1."""
    array: NDArray[np.uint8] = (pixels.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return array
