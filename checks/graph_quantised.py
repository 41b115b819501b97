"""Dynamic quantisation: numbers become whole ones by a scale and a zero point that come from the numbers themselves.

Both leave the quantising node as results of their own and go around the layer to where its product is put right. They
are no second way for the input; but only there, and only those of the numbers that went through the layer.
"""

from __future__ import annotations

from .graph_steps import Step
from .graph_traces import Traces

_SCALES = frozenset({"Mul", "Cast", "Reshape", "Unsqueeze"})  # between a scale and its product
_PRODUCTS = frozenset({"Cast", "Reshape", "Transpose"})  # between the layer and its scale
_LAYERS = ("ConvInteger", "MatMulInteger")


def rescaled(traces: Traces, step: Step) -> int:
    """The product that this Mul puts right with the scales of what was multiplied; -1 where it does something else."""
    if len(step.ins) != 2 or not all(value >= 0 and traces.made[value] for value in step.ins):
        return -1
    for scale, product in (step.ins, step.ins[::-1]):
        layers = [
            maker
            for value in traces.back(product, _PRODUCTS)
            if (maker := traces.step_of(value)) and maker.op in _LAYERS
        ]
        if len(layers) == 1 and all(
            _is_passed(traces, value) or _feeds(traces, value, 1, layers[0]) for value in traces.back(scale, _SCALES)
        ):
            return product
    return -1


def own_zero_points(traces: Traces, step: Step) -> set[int]:
    """Places of inputs that hold the zero point of what the layer multiplies."""
    if step.op not in _LAYERS:
        return set()
    return {at for at, value in enumerate(step.ins[2:4], 2) if value >= 0 and _feeds(traces, value, 2, step)}


def _is_passed(traces: Traces, value: int) -> bool:
    maker = traces.step_of(value)
    return maker is not None and maker.op in _SCALES


def _feeds(traces: Traces, value: int, result: int, layer: Step) -> bool:
    """Whether this result of a quantising node is of the numbers that the layer reads."""
    maker = traces.step_of(value)
    return (
        maker is not None
        and maker.op == "DynamicQuantizeLinear"
        and maker.outs[result : result + 1] == [value]
        and maker.outs[0] in layer.ins[:2]
    )
