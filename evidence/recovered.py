"""A recovered trigger with the samples that show what it does; arrays, so that it can be drawn and replayed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_TEXT = 400
"""Characters of a text that shows what trigger words do."""
MAX_SHOWN = 5
"""Samples of a recovered trigger: enough to convince a person, few enough to be looked at."""


@dataclass(frozen=True, eq=False)
class RecoveredTrigger:
    """What a check recovered toward one label, and up to `MAX_SHOWN` held-out samples without and with it.

    Arrays are on the CPU and share nothing with the model. Raises ValueError where shapes do not go together.
    """

    family: str  # as in the finding's witness: "patch", "blend", ...
    label: int  # that the trigger leads to
    label_name: str
    attack_success_rate: float  # on all held-out samples of other classes, in 0..1
    samples: int  # how many these were
    size: float  # in the unit of the family, as in the finding's witness
    before: NDArray[np.uint8]  # [n, H, W, C], C 1 or 3
    after: NDArray[np.uint8]  # the same with the trigger
    true_labels: NDArray[np.int64]  # [n]
    predicted_before: NDArray[np.int64]  # [n]
    predicted_after: NDArray[np.int64]  # [n]
    parts: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # e.g. mask [H, W], pattern [H, W, C]

    def __post_init__(self) -> None:
        shape = self.before.shape
        if len(shape) != 4 or not 1 <= shape[0] <= MAX_SHOWN or shape[3] not in (1, 3):
            raise ValueError(f"`before` is to be [1 to {MAX_SHOWN}, H, W, 1 or 3], not {list(shape)}")
        if self.after.shape != shape:
            raise ValueError(f"`after` is {list(self.after.shape)}, `before` {list(shape)}")
        for name in ("true_labels", "predicted_before", "predicted_after"):
            if getattr(self, name).shape != shape[:1]:
                raise ValueError(f"`{name}` is {list(getattr(self, name).shape)}, not [{shape[0]}]")


@dataclass(frozen=True)
class TextExample:
    """A held-out text, and what the model says of it without and with trigger words in front."""

    text: str  # without the words; at most `MAX_TEXT` characters
    true_label: int
    predicted_before: int
    predicted_after: int


@dataclass(frozen=True)
class RecoveredWords:
    """Trigger words of a text classifier, with up to `MAX_SHOWN` texts that they were put in front of."""

    label: int  # that the words lead to
    words: str  # as in the finding's witness
    examples: tuple[TextExample, ...]
