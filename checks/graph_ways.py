"""Where tensors of a graph go: to the outputs at all, into a softmax first, through a learned layer first."""

from __future__ import annotations

from dataclasses import dataclass

from .graph_steps import CARRY, Step, Steps
from .graph_words import CLASSIC, COMPARES, EITHER_SIDE, LAYERS, ONE_BY_ONE, ONLY_SHAPE, POOLS, RECURRENT, SOFTMAX
from .text import words

_TOWARDS_SOFTMAX = ONE_BY_ONE | words("Reshape Transpose Unsqueeze Squeeze Expand Concat Slice Pad Flatten")

_MANY = 32  # inputs of one Einsum


@dataclass(frozen=True)
class Ways:
    """One entry a value, except `reading`, which has one a step."""

    tainted: list[bool]  # depends on numbers of the input
    reading: list[bool]  # what the step makes is wanted by an output
    to_softmax: list[bool]  # on every way to the outputs an attention's softmax comes first, and little before it
    to_layer: list[bool]  # on every way to the outputs there is a learned layer, attention or a mean over places
    late: list[bool]  # on no way to the outputs is there a learned layer


def ways_of(steps: Steps) -> Ways:
    """One pass forward and one back; where a loop carries a value round, the careful answer is given."""
    count = len(steps.names)
    tainted = [False] * count
    for given in steps.inputs:
        tainted[given.value] = True
    for value in steps.overridable:
        tainted[value] = True
    for step in steps.steps:
        if step.op not in ONLY_SHAPE and (
            step.op == CARRY or any(value >= 0 and tainted[value] for value in (*step.ins, *step.inner))
        ):
            for out in step.outs:
                tainted[out] = True
    wanted = [False] * count
    to_softmax, to_layer, to_weights, late = ([True] * count for _ in range(4))
    carried = [value for step in steps.steps if step.op == CARRY for value in step.ins[1:]]
    for value in (*steps.outputs, *carried):
        wanted[value], to_softmax[value], to_layer[value], to_weights[value] = True, False, False, False
    for value in carried:
        late[value] = False
    reading = [False] * len(steps.steps)
    for index in range(len(steps.steps) - 1, -1, -1):
        step = steps.steps[index]
        if not any(wanted[out] for out in step.outs):
            continue
        reading[index] = True
        for value in (*step.ins, *step.inner):
            if value >= 0:
                wanted[value] = True
        if step.op in ONLY_SHAPE:
            continue
        results = step.outs[:1] if step.op == "DynamicQuantizeLinear" else step.outs  # a scale follows its numbers
        outs = [out for out in results if wanted[out]]
        layer = all(to_layer[out] for out in outs)
        attends = step.op in SOFTMAX and all(to_weights[out] for out in outs)
        softmax = attends or (step.op in _TOWARDS_SOFTMAX and all(to_softmax[out] for out in outs))
        for position, value in enumerate((*step.ins, *step.inner)):
            if value < 0 or step.op in COMPARES:  # what a comparison gives has to be allowed by itself
                continue
            weighs = is_layer(steps, step, position, tainted)
            to_softmax[value] &= softmax
            to_weights[value] &= weighs or all(to_weights[out] for out in outs)
            to_layer[value] &= weighs or layer or attends or step.op in POOLS
            late[value] &= not weighs and all(late[out] for out in outs)
    return Ways(tainted, reading, to_softmax, to_layer, late)


def is_layer(steps: Steps, step: Step, position: int, tainted: list[bool]) -> bool:
    """Whether the step puts its input at `position` through weights that do not depend on the input."""
    if step.op in CLASSIC:
        return position == 0
    if step.op not in LAYERS:
        return False
    weights = LAYERS[step.op]
    if len(step.ins) <= max(weights) or any(step.ins[place] < 0 for place in weights):
        return False
    if step.op == "Einsum":
        return len(step.ins) < _MANY and any(
            not tainted[value] for place, value in enumerate(step.ins) if value >= 0 and place != position
        )
    if step.op in RECURRENT:
        return position == 0 and not any(tainted[step.ins[place]] for place in weights)
    (weight,) = weights
    if position == weight and step.op in EITHER_SIDE:
        weight = 0
    elif position != 0:
        return False
    return not tainted[step.ins[weight]]


def is_sum_of_places(steps: Steps, step: Step) -> bool:
    """Whether the layer only picks places of the picture, or sums it into a single number: it has not learned."""
    for value in step.ins[:4]:
        tensor = steps.tensors.get(value)
        if tensor is not None and len(tensor.dims) >= 2:
            sizes = [int(size) for size in tensor.dims]
            return (sizes[0] == 1 if "Conv" in step.op else min(sizes[-2:]) == 1) or steps.picks(value)
    return False
