"""Recovered triggers on their way from the worker to the supervisor: a form first, then the bytes of each array.

A worker has touched a hostile file: it writes no files for anybody, and what it hands over is plain numbers whose
number is known beforehand. Nothing here imports numpy; the supervisor only puts bytes together.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from ..evidence.recovered import MAX_SHOWN, MAX_TEXT

if TYPE_CHECKING:
    from ..evidence.recovered import RecoveredTrigger, RecoveredWords

ITEM_BYTES = {"uint8": 1, "int64": 8, "float32": 4}
PIECE = 3 << 20  # bytes of an array that go into one event
MAX_BYTES = 16 << 20  # of all arrays of one trigger: five samples of 512 x 512 in colour with a mask and a pattern
MAX_TRIGGERS = 8  # of one scan
_SAMPLES = {"before": "uint8", "after": "uint8"}
_LABELS = ("true_labels", "predicted_before", "predicted_after")

Side = Annotated[int, Field(ge=1, le=1 << 16)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]


class ArrayForm(BaseModel):
    """How many numbers of which kind, in C order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["uint8", "int64", "float32"]
    shape: tuple[Side, ...] = Field(min_length=1, max_length=4)

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


class RecoveredForm(BaseModel):
    """All of a recovered trigger but the numbers in its arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Name
    label: int = Field(ge=0, lt=1 << 31)
    label_name: str = Field(max_length=1000)
    attack_success_rate: FiniteFloat = Field(ge=0, le=1)
    samples: int = Field(ge=0, lt=1 << 31)
    size: FiniteFloat
    class_names: dict[int, Annotated[str, Field(max_length=1000)]] = Field(max_length=3 * MAX_SHOWN)
    arrays: dict[Name, ArrayForm] = Field(max_length=5)  # before, after and the labels
    parts: dict[Name, ArrayForm] = Field(max_length=8)

    @model_validator(mode="after")
    def _fits(self) -> RecoveredForm:
        if set(self.arrays) != {*_SAMPLES, *_LABELS}:
            raise ValueError("arrays are missing")
        shape = self.arrays["before"].shape
        if len(shape) != 4 or shape[0] > MAX_SHOWN or shape[3] not in (1, 3):
            raise ValueError("before has another shape than images have")
        wanted = {name: ArrayForm(dtype="uint8", shape=shape) for name in _SAMPLES}
        wanted |= {name: ArrayForm(dtype="int64", shape=shape[:1]) for name in _LABELS}
        if self.arrays != wanted or any(part.dtype != "float32" for part in self.parts.values()):
            raise ValueError("an array has another form than it should")
        if sum(form.size for form in (*self.arrays.values(), *self.parts.values())) > MAX_BYTES:
            raise ValueError("the arrays are too large")
        return self

    def forms(self) -> Iterator[ArrayForm]:
        """Of all arrays, in the order in which their bytes are handed over."""
        yield from self.arrays.values()
        yield from self.parts.values()


class ExampleForm(BaseModel):
    """A held-out text without the words, and labels by index: true, predicted without them and with them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(max_length=MAX_TEXT)
    true_label: int = Field(ge=0, lt=1 << 31)
    predicted_before: int = Field(ge=0, lt=1 << 31)
    predicted_after: int = Field(ge=0, lt=1 << 31)


class WordsForm(BaseModel):
    """Trigger words with texts that show what they do: all of it, no bytes follow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: int = Field(ge=0, lt=1 << 31)
    words: str = Field(max_length=1000)
    class_names: dict[int, Annotated[str, Field(max_length=1000)]] = Field(max_length=3 * MAX_SHOWN + 1)
    examples: tuple[ExampleForm, ...] = Field(max_length=MAX_SHOWN)


@dataclass
class Handed:
    """A trigger as the supervisor has it: its form and as many bytes as have come."""

    form: RecoveredForm
    data: bytearray = field(default_factory=bytearray)

    @property
    def missing(self) -> int:
        """Bytes that are still to come."""
        return sum(form.size for form in self.form.forms()) - len(self.data)

    def add(self, text: str) -> None:
        """Take the next piece, in base64. ValueError where it is not, or more than was announced."""
        piece = base64.b64decode(text, validate=True)
        if not piece or len(piece) > self.missing:
            raise ValueError("more bytes than announced")
        self.data += piece

    def arrays(self) -> RecoveredTrigger:
        """The trigger with its arrays; all bytes must have come. Imports numpy."""
        import numpy as np

        from ..evidence.recovered import RecoveredTrigger

        read, start = [], 0
        for form in self.form.forms():
            part = memoryview(self.data)[start : start + form.size]
            read.append(np.frombuffer(part, np.dtype(form.dtype).newbyteorder("<")).reshape(form.shape))
            start += form.size
        names = [*self.form.arrays, *self.form.parts]
        by_name: dict[str, Any] = dict(zip(names, read, strict=True))
        parts = {name: by_name[name] for name in self.form.parts}
        scalars = self.form.model_dump(exclude={"class_names", "arrays", "parts"})
        return RecoveredTrigger(**scalars, **{name: by_name[name] for name in self.form.arrays}, parts=parts)


def hand_over(recovered: RecoveredTrigger, class_names: Sequence[str]) -> tuple[RecoveredForm, Iterator[str]]:
    """The form of a trigger, and its bytes in pieces of base64.

    Args:
        recovered: floats are handed over in single precision; of large images fewer, and without the parts.
        class_names: of all classes; those of the labels that are shown go along.

    Raises:
        ValueError: something in it cannot be handed over: an odd family, or an image of millions of pixels.
    """
    import numpy as np

    parts = {name: np.ascontiguousarray(part, np.dtype("<f4")) for name, part in recovered.parts.items()}
    count, sample = len(recovered.before), 2 * recovered.before[0].size + 3 * 8
    if sum(part.nbytes for part in parts.values()) + count * sample > MAX_BYTES:
        parts, count = {}, min(count, MAX_BYTES // sample)
    arrays = {name: np.ascontiguousarray(getattr(recovered, name)[:count], np.dtype("<u1")) for name in _SAMPLES}
    arrays |= {name: np.ascontiguousarray(getattr(recovered, name)[:count], np.dtype("<i8")) for name in _LABELS}
    shown = {int(label) for name in _LABELS for label in arrays[name]}
    form = RecoveredForm(
        family=recovered.family,
        label=recovered.label,
        label_name=_text(recovered.label_name),
        attack_success_rate=recovered.attack_success_rate,
        samples=recovered.samples,
        size=recovered.size,
        class_names={label: _text(class_names[label]) for label in sorted(shown) if 0 <= label < len(class_names)},
        arrays={name: ArrayForm(dtype=array.dtype.name, shape=array.shape) for name, array in arrays.items()},
        parts={name: ArrayForm(dtype="float32", shape=part.shape) for name, part in parts.items()},
    )
    return form, _pieces([*arrays.values(), *parts.values()])


def hand_over_words(recovered: RecoveredWords, class_names: Sequence[str]) -> WordsForm:
    """The form of trigger words; `class_names` are those of all classes. ValueError where a label is none."""
    examples = tuple(
        ExampleForm(
            text=_text(one.text)[:MAX_TEXT],
            true_label=one.true_label,
            predicted_before=one.predicted_before,
            predicted_after=one.predicted_after,
        )
        for one in recovered.examples[:MAX_SHOWN]
    )
    labels = {label for one in examples for label in (one.true_label, one.predicted_before, one.predicted_after)}
    return WordsForm(
        label=recovered.label,
        words=_text(recovered.words),
        class_names={
            label: _text(class_names[label]) for label in sorted({recovered.label, *labels}) if label < len(class_names)
        },
        examples=examples,
    )


def _text(name: str) -> str:
    """What JSON can hold of a name."""
    return name.encode(errors="replace").decode()[:1000]


def _pieces(arrays: Sequence[Any]) -> Iterator[str]:
    for array in arrays:
        data = memoryview(array).cast("B")
        for start in range(0, len(data), PIECE):
            yield base64.b64encode(data[start : start + PIECE]).decode()
