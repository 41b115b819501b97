"""What an ONNX file says about itself, read from its bytes: nothing is unfolded, and the onnx package is not needed.

A protobuf message of two bytes costs a hundred once it is unfolded, so a file is counted here before it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from mmap import mmap
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict

from ..evidence.errors import ScanError

_MAX_FIELDS: Final = 3_000_000  # of all messages together; a network of 10,000 nodes has half a million
_MAX_DEPTH: Final = 60  # messages within messages
_MAX_NUMBERS: Final = 1 << 50  # in one tensor; a negative size is far above it
_MAX_TEXT: Final = 300  # bytes of a name that are taken
# Kind of message -> number of a field -> kind of the message in it, from onnx.proto; all others are plain values.
_PARTS: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 8: "opset", 14: "entry", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph", 3: "entry", 4: "entry"},
    "graph": {
        **{1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value"},
        **{14: "annotation", 15: "sparse", 16: "entry"},
    },
    "function": {7: "node", 9: "opset", 11: "attribute", 12: "value", 14: "entry"},
    "node": {5: "attribute", 9: "entry"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        14: "type",
        15: "type",
        22: "sparse",
        23: "sparse",
    },
    "annotation": {2: "entry"},
    "value": {2: "type", 4: "entry"},
    "type": {1: "tensor type", 4: "inner type", 5: "map type", 8: "tensor type", 9: "inner type"},
    "inner type": {1: "type"},
    "map type": {2: "type"},
    "tensor type": {2: "shape"},
    "shape": {1: "size"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_PRODUCER, _VERSION, _GRAPH, _OPSET, _FUNCTION = 2, 3, 7, 8, 25  # fields of the model
# Type of a tensor -> how safetensors calls it, and bits a number.
_TYPES: Final[dict[int, tuple[str, int]]] = {
    **{1: ("F32", 32), 2: ("U8", 8), 3: ("I8", 8), 4: ("U16", 16), 5: ("I16", 16), 6: ("I32", 32), 7: ("I64", 64)},
    **{9: ("BOOL", 8), 10: ("F16", 16), 11: ("F64", 64), 12: ("U32", 32), 13: ("U64", 64), 14: ("C64", 64)},
    **{15: ("C128", 128), 16: ("BF16", 16), 17: ("F8_E4M3", 8), 18: ("F8_E4M3", 8), 19: ("F8_E5M2", 8)},
    **{
        20: ("F8_E5M2", 8),
        21: ("U4", 4),
        22: ("I4", 4),
        23: ("F4", 4),
        24: ("F8_E8M0", 8),
        25: ("U2", 2),
        26: ("I2", 2),
    },
}
# Integers of other sizes are shapes and indices, not weights.
_WEIGHTS: Final = frozenset(
    {"F32", "F16", "BF16", "F64", "F8_E4M3", "F8_E5M2", "F4", "I8", "U8", "I4", "U4", "I2", "U2"}
)


class OnnxValue(BaseModel):
    """An input or output of the graph."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    type: str  # "F32", as safetensors calls it; "?" where it is no tensor
    shape: list[int | str] | None = None  # text names an open size; None where nothing is said


class OnnxHead(BaseModel):
    """What is told of an ONNX file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ir_version: int
    producer: str
    producer_version: str
    opsets: dict[str, int]  # domain -> version
    nodes: int  # with those of functions, branches and loops
    inputs: list[OnnxValue]
    outputs: list[OnnxValue]
    weights: dict[str, int]  # type -> numbers in initialisers and constants: floats, and integers up to 8 bits


class _Field(NamedTuple):
    number: int
    wire: int  # 0 a number, 2 bytes, 1 and 5 eight and four bytes
    value: int  # the number, or where the bytes begin
    end: int


class _Reader:
    def __init__(self, data: bytes | mmap) -> None:
        self.data, self.seen = data, 0
        self.kinds, self.weights = Counter[str](), Counter[str]()

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while position < end and shift < 70:
            byte = self.data[position]
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & 0xFFFF_FFFF_FFFF_FFFF, position
            shift += 7
        raise ValueError("a number is cut off")

    def fields(self, start: int, end: int) -> Iterator[_Field]:
        """The fields of the message in these bytes. Raises ValueError where it is none."""
        while start < end:
            self.seen += 1
            if self.seen > _MAX_FIELDS:
                raise OverflowError
            key, start = self._varint(start, end)
            number, wire = key >> 3, key & 7
            if wire == 0:
                value, start = self._varint(start, end)
                yield _Field(number, wire, value, start)
                continue
            if wire == 2:
                length, start = self._varint(start, end)
            elif wire in (1, 5):
                length = 8 if wire == 1 else 4
            else:
                raise ValueError("a field is of no known kind")
            if not number or length > end - start:
                raise ValueError("a field is cut off")
            yield _Field(number, wire, start, start + length)
            start += length

    def walk(self, kind: str, start: int, end: int, depth: int = 0) -> None:
        """Count the fields of a message to the last one, and the weights in it."""
        if depth > _MAX_DEPTH:
            raise ValueError("it is nested too deep")
        self.kinds[kind] += 1
        if kind == "tensor":
            self._tensor(start, end)
        parts = _PARTS.get(kind, {})
        for field in self.fields(start, end):
            inner = parts.get(field.number)
            if inner and field.wire == 2:
                self.walk(inner, field.value, field.end, depth + 1)

    def _tensor(self, start: int, end: int) -> None:
        type_, sizes, raw, elsewhere = 0, list[int](), None, False
        for field in self.fields(start, end):
            if field.number == 1 and field.wire == 0:
                sizes.append(field.value)
            elif field.number == 1 and field.wire == 2:  # packed
                position = field.value
                while position < field.end:
                    size, position = self._varint(position, field.end)
                    sizes.append(size)
            elif field.number == 2:
                type_ = field.value
            elif field.number == 9:
                raw = field.end - field.value
            elif field.number == 14:
                elsewhere = field.value == 1
            if len(sizes) > 100:
                raise ValueError("a tensor has more than 100 dimensions")
        name, bits = _TYPES.get(type_, ("", 8))
        count = math.prod(sizes)
        if count > _MAX_NUMBERS:
            raise ValueError("a tensor has a shape that none has")
        held = 4 * (end - start) if raw is None else raw  # at most; a byte holds four numbers of the smallest type
        if not elsewhere and (count > held if raw is None else -(-count * bits // 8) != held) and name:
            raise ValueError("a tensor does not hold as many numbers as its shape says")
        if name in _WEIGHTS:
            self.weights[name] += count

    def text(self, field: _Field) -> str:
        """A field of text, cut off where it is long."""
        if field.wire != 2:
            raise ValueError("a name is no text")
        return bytes(self.data[field.value : min(field.end, field.value + _MAX_TEXT)]).decode("utf-8", "replace")

    def opset(self, start: int, end: int) -> tuple[str, int]:
        """Domain and version."""
        domain, version = "", 0
        for field in self.fields(start, end):
            if field.number == 1:
                domain = self.text(field)
            elif field.number == 2:
                version = field.value
        return domain or "ai.onnx", version

    def value(self, start: int, end: int) -> OnnxValue:
        """Name, type and shape of an input or output."""
        name, type_, shape = "", "?", None
        for field in self.fields(start, end):
            if field.number == 1:
                name = self.text(field)
            elif field.number == 2:
                for kind in self.fields(field.value, field.end):
                    if kind.number == 1 and kind.wire == 2:
                        type_, shape = self._tensor_type(kind)
        return OnnxValue(name=name, type=type_, shape=shape)

    def _tensor_type(self, outer: _Field) -> tuple[str, list[int | str] | None]:
        type_, shape = "?", None
        for field in self.fields(outer.value, outer.end):
            if field.number == 1 and field.wire == 0:
                type_ = _TYPES.get(field.value, ("?", 0))[0]
            elif field.number == 2 and field.wire == 2:
                shape = [self._size(size) for size in self.fields(field.value, field.end) if size.wire == 2]
        return type_, shape

    def _size(self, outer: _Field) -> int | str:
        size: int | str = "?"
        for field in self.fields(outer.value, outer.end):
            size = self.text(field) if field.wire else field.value - (field.value >> 63 << 64)  # may be negative
        return size

    def head(self) -> OnnxHead:
        """Everything that is told, after a walk over the whole."""
        self.walk("model", 0, len(self.data))
        ir, texts, opsets = 0, {_PRODUCER: "", _VERSION: ""}, dict[str, int]()
        values: dict[int, list[OnnxValue]] = {11: [], 12: []}  # inputs and outputs, by the field of the graph
        own = set[str]()  # what old files list among the inputs, and is a weight
        for field in self.fields(0, len(self.data)):
            if field.number == 1 and field.wire == 0:
                ir = field.value
            elif field.number in texts:
                texts[field.number] = self.text(field)
            elif field.number == _OPSET:
                domain, version = self.opset(field.value, field.end)
                opsets[domain] = version
            elif field.number == _GRAPH and field.wire == 2:
                for part in self.fields(field.value, field.end):
                    if part.number in values:
                        values[part.number].append(self.value(part.value, part.end))
                    elif part.number == 5:
                        own |= {self.text(one) for one in self.fields(part.value, part.end) if one.number == 8}
        return OnnxHead(
            ir_version=ir,
            producer=texts[_PRODUCER],
            producer_version=texts[_VERSION],
            opsets=opsets,
            nodes=self.kinds["node"],
            inputs=[value for value in values[11] if value.name not in own],
            outputs=values[12],
            weights=dict(self.weights),
        )


def onnx_head(path: Path, data: bytes | mmap) -> OnnxHead:
    """What the ONNX file in `data` says of itself. Raises ScanError, one sentence that names `path`, where it is none,
    holds more messages than any network, or tensors that do not hold what their shapes say.
    """
    reader = _Reader(data)
    try:
        head = reader.head()
    except OverflowError:
        raise ScanError(
            f"{path} holds more than {_MAX_FIELDS:,} fields, more than any network needs: check where it comes from"
        ) from None
    except ValueError as error:
        raise ScanError(f"{path} is no ONNX file, or a damaged one ({error}): fetch or export it again") from None
    if not head.nodes or not head.opsets:
        raise ScanError(f"{path} holds no ONNX graph: check that it is the right file and complete")
    return head
