"""What is followed along with every tensor: the decision and the layer it comes from, and its way back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from onnx import TensorProto

from ..evidence.errors import ScanError
from .graph_steps import Step, Steps
from .graph_ways import is_layer, ways_of
from .graph_words import (
    CHOOSES_PLACES,
    CLASSIC,
    COMPARES,
    DATA,
    JOINS_SCORES,
    NOTHING,
    ONE_BY_ONE,
    SECOND_COMPARES,
    STRAIGHT,
    VIEWS,
)

_WHOLE_NUMBERS = frozenset(
    {
        TensorProto.INT8,
        TensorProto.INT16,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.UINT8,
        TensorProto.UINT16,
        TensorProto.UINT32,
        TensorProto.UINT64,
        TensorProto.BOOL,
    }
)
_KEEPS_STRAIGHT = STRAIGHT | JOINS_SCORES
_MAX_WALKED = 5_000_000  # steps back, in all walks together


class Traces:
    """Per value: what it is made from, the size it has, where it comes from."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.ways = ways_of(steps)
        count = len(steps.names)
        self.made = [NOTHING] * count
        self.shape = [NOTHING] * count  # what the size of a tensor depends on
        self.root = list(range(count))  # the tensor that it is a function of, number by number
        self.cause = [-1] * count  # the step whose decision it carries
        self.maker = [-1] * count
        self.layer = [-1] * count  # the one learned layer that it comes from
        self.straight = [True] * count  # and with nothing between that could be a switch
        self.sized = [False] * count  # comes from the size of something
        self.kinds = dict(steps.kinds)
        self._walked = 0
        for index, step in enumerate(steps.steps):
            for out in step.outs:
                self.maker[out] = index

    def step_of(self, value: int) -> Step | None:
        """The step that makes a value; None for inputs and weights."""
        return self.steps.steps[self.maker[value]] if value >= 0 and self.maker[value] >= 0 else None

    def back(self, value: int, through: frozenset[str] | None = None, bits: int = -1) -> Iterator[int]:
        """The values that `value` comes from, nearest first, each once: through these operators, holding these bits."""
        seen, todo = {value}, deque([value])
        while todo:
            current = todo.popleft()
            yield current
            step = self.step_of(current)
            if step is None or (through is not None and step.op not in through):
                continue
            self._walked += len(step.ins)
            if self._walked > _MAX_WALKED:
                raise ScanError(f"{self.steps.path} has a graph too tangled to be judged: export it from its source")
            for before in step.ins:
                if before >= 0 and before not in seen and self.made[before] & bits:
                    seen.add(before)
                    todo.append(before)

    def _kind_of(self, step: Step) -> None:
        """Types of numbers, as far as one needs them: what is a whole number before a cast to one."""
        if step.op == "Cast":
            kind = step.number("to", 0)
        elif step.op in ("QuantizeLinear", "DynamicQuantizeLinear"):
            kind = TensorProto.UINT8
        elif step.op == "DequantizeLinear":
            kind = TensorProto.FLOAT
        elif step.op in ("ConvInteger", "MatMulInteger"):
            kind = TensorProto.INT32
        elif step.ins and step.ins[0] in self.kinds and step.op in VIEWS:
            kind = self.kinds[step.ins[0]]
        else:
            return
        for out in step.outs[:1]:
            self.kinds[out] = kind

    def _trace(self, index: int, step: Step) -> None:
        """Which decision the results carry, and of which tensor they are a function number by number."""
        causes = [self.cause[value] for value in step.ins if value >= 0 and self.cause[value] >= 0]
        compares = step.op in COMPARES or (step.op in SECOND_COMPARES) or self._cuts_off(step)
        for out in step.outs:
            self.cause[out] = causes[0] if causes else index if compares else -1
        sized = any(value >= 0 and self.sized[value] for value in step.ins)
        for out in step.outs:
            self.sized[out] = sized
        self._trace_layer(index, step)
        if step.op not in ONE_BY_ONE or len(step.outs) != 1:
            return
        roots = {self.root[value] for value in step.ins if value >= 0 and self.made[value]}
        plain = all(self._is_plain(value) for value in step.ins if value >= 0 and not self.made[value])
        if len(roots) == 1 and plain:
            self.root[step.outs[0]] = roots.pop()

    def _trace_layer(self, index: int, step: Step) -> None:
        """Which learned layer the results come from, and whether a switch may lie between."""
        data = [value for value in step.ins if value >= 0 and self.made[value]]
        if step.op in CLASSIC or any(is_layer(self.steps, step, at, self.ways.tainted) for at in range(len(step.ins))):
            layer, straight = index, True
        else:
            layers = {self.layer[value] for value in data}
            layer = layers.pop() if len(layers) == 1 else index
            straight = step.op in _KEEPS_STRAIGHT and all(self.straight[value] for value in data)
            if step.op in ("Mul", "Div"):
                straight &= all(self.made[value] or self.steps.sizes.get(value) == 1 for value in step.ins)
        for out in step.outs:
            self.layer[out], self.straight[out] = layer, straight

    def _is_switched(self, step: Step) -> bool:
        """Scores of two layers come together otherwise than as the sum or the mean of two heads."""
        data = [value for value in step.ins if value >= 0 and self.made[value] & DATA]
        if len({self.layer[value] for value in data}) < 2 or not all(self.ways.late[out] for out in step.outs):
            return False
        return step.op not in JOINS_SCORES or not all(self.straight[value] for value in data)

    def _switched_by_size(self, step: Step) -> int:
        """What comes from a size and changes scores; -1 if nothing does. A mean divides by one, that is no switch."""
        if step.op not in ("Where", "Mul", "Add", "Sub", "Max", "Min") or not self.ways.late[step.outs[0]]:
            return -1
        return next((value for value in step.ins if self.sized[value] and not self.made[value]), -1)

    def _is_plain(self, value: int) -> bool:
        """A single number, or one a channel: no picture of its own."""
        tensor = self.steps.tensors.get(value)
        if self.steps.sizes.get(value, 2) <= 1:
            return True
        return tensor is not None and sum(int(size) > 1 for size in tensor.dims) <= 1

    def _cuts_off(self, step: Step) -> bool:
        """A cast of numbers with a fraction to whole ones is a decision."""
        if step.op != "Cast" or step.number("to", 0) not in _WHOLE_NUMBERS or step.ins[0] < 0:
            return False
        return bool(self.made[step.ins[0]] & DATA) and self.kinds.get(step.ins[0], 1) not in _WHOLE_NUMBERS

    def _weighs_places(self, step: Step, made: list[int]) -> bool:
        """A picture times a constant picture."""
        if step.op not in ("Mul", "Div", "Where", "And"):
            return False
        return any(
            value >= 0 and not one and not self._is_plain(value) and value in self.steps.tensors
            for value, one in zip(step.ins, made, strict=True)
        )

    def _takes_one(self, step: Step) -> bool:
        """A single place is taken from what may have had many."""
        if step.op == "Gather" and len(step.ins) > 1:
            return self.steps.sizes.get(step.ins[1], 2) <= 1
        if step.op == "Slice" and len(step.ins) > 2:
            start, end = (self.steps.numbers(value) for value in step.ins[1:3])
            return bool(start and end and any(b - a == 1 for a, b in zip(start, end, strict=False)))
        return False

    def chooses(self, index: int) -> bool:
        """Whether the step takes or weighs chosen places of what it reads."""
        step = self.steps.steps[index]
        made = [self.made[value] if value >= 0 else NOTHING for value in step.ins]
        return step.op in CHOOSES_PLACES or self._weighs_places(step, made)
