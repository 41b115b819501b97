"""Where a decision may meet data: what ordinary classifiers do, each with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .graph_steps import Step
from .graph_words import DATA, FUSED_ATTENTION, ONE_BY_ONE, RECURRENT, UNSEEN, VIEWS, Made
from .text import words

if TYPE_CHECKING:
    from .graph_flow import Flow

_COUNTED = words(
    "Identity Cast Clip Max Unsqueeze Squeeze Reshape Expand Add Sqrt ReduceSum Transpose Slice Equal Not Greater And "
    "QuantizeLinear DequantizeLinear"
)
_COMPUTES = words("Add Sub Mul Div Where Max Min Mod Neg Less Equal Greater GreaterOrEqual LessOrEqual Clip Abs")
_ZERO_OR_ONE = words("Equal Not Cast Unsqueeze Reshape Expand Identity Greater And")
_TESTS = Made.RAW_TEST | Made.FEATURE_TEST


def allowed(flow: Flow, step: Step, made: list[int]) -> bool:
    """Whether one of the rules covers the meeting of data and control at this step."""
    control = [(value, one) for value, one in zip(step.ins, made, strict=True) if one and not one & DATA]
    data = [(value, one) for value, one in zip(step.ins, made, strict=True) if one & DATA]
    meeting = (flow, step, control, data)
    if any(one & _TESTS for _, one in control):
        return _activation(*meeting) or _guard(*meeting) or _safe_softmax(*meeting) or _votes(*meeting)
    return (
        _attention_mask(*meeting)
        or _blanked(*meeting)
        or _unpadded(*meeting)
        or _mean_over_tokens(*meeting)
        or _picked_token(*meeting)
        or _lengths(*meeting)
    )


_Values = list[tuple[int, int]]


def _activation(flow: Flow, step: Step, control: _Values, data: _Values) -> bool:
    """Leaky ReLU, hard swish and the like, written out: each number is changed by its own size, after a layer."""
    roots = {flow.root[value] for value, _ in (*control, *data)}
    unseen = any(one & (UNSEEN | Made.RAW_TEST) for _, one in (*control, *data))
    return step.op in ONE_BY_ONE and len(roots) == 1 and not unseen


def _guard(flow: Flow, step: Step, control: _Values, data: _Values) -> bool:
    """A number that is not a number, infinite, or zero where it divides, is put right."""
    if step.op not in ("Where", "Add") or len(control) != 1 or len(data) != 1:
        return False
    test = flow.steps.steps[flow.cause[control[0][0]]]
    (guarded, _), by_name = data[0], test.op
    if by_name in ("IsNaN", "IsInf"):
        return step.op == "Where" and test.ins[0] == guarded
    if by_name != "Equal" or guarded not in test.ins:
        return False
    others = [value for value in (*test.ins, *step.ins[1:]) if value not in (guarded, control[0][0])]
    numbers = [flow.steps.numbers(value) for value in others]
    return numbers[:1] == [[0.0]] and all(found is not None and max(found) <= 1 for found in numbers)


def _safe_softmax(flow: Flow, step: Step, control: _Values, data: _Values) -> bool:
    """Rows of attention that are masked from end to end become zero: torch writes its attention so."""
    if step.op != "Where" or step.ins[0] != control[0][0]:
        return False
    softmax = [flow.step_of(value) for value, _ in data]
    test = flow.steps.steps[flow.cause[control[0][0]]]
    return (
        all(maker is not None and maker.op == "Softmax" for maker in softmax)
        and test.op in ("Equal", "IsInf")
        and all(maker is not None and maker.ins[0] in test.ins for maker in softmax)
    )


def _votes(flow: Flow, step: Step, control: _Values, data: _Values) -> bool:
    """A support vector machine's own scores are compared with each other and the votes are added to them."""
    layers = {flow.layer[value] for value, _ in (*control, *data)}
    return len(layers) == 1 and all(one & DATA == Made.CLASSIC for _, one in data)


def _attention_mask(flow: Flow, step: Step, control: _Values, data: _Values) -> bool:
    """Padding takes no part in attention: a mask, or ids compared with the padding's, goes into a softmax."""
    if any(one & Made.WHOLE and one & (Made.IDS | Made.SUM_OF_IDS | Made.ID_TEST) for _, one in control):
        return False
    if step.op in FUSED_ATTENTION:
        return step.op == "RotaryEmbedding" or all(step.ins.index(value) > 2 for value, _ in control)
    return all(flow.ways.to_softmax[out] for out in step.outs)


def _blanked(flow: Flow, step: Step, control: _Values, data: _Values) -> bool:
    """Padded places are set to zero, or positions turn features, and layers come after it."""
    given = all(not one & ~(Made.GIVEN | Made.RUNNING) for _, one in control)
    return given and step.op in ("Mul", "Where", "Add", "Sub") and all(flow.ways.to_layer[out] for out in step.outs)


def _unpadded(flow: Flow, step: Step, control: _Values, data: _Values) -> bool:
    """Padded places are multiplied by zero, the others by one, before a sum or a layer: who is padding the ids say."""
    if step.op != "Mul" or any(one & (Made.WHOLE | Made.IDS | Made.SUM_OF_IDS) for _, one in control):
        return False
    makers = [flow.step_of(value) for value, _ in control for value in flow.back(value, _ZERO_OR_ONE)]
    plain = all(maker is None or maker.op in _ZERO_OR_ONE for maker in makers)
    return plain and all(flow.ways.to_layer[out] for out in step.outs)


def _mean_over_tokens(flow: Flow, step: Step, control: _Values, data: _Values) -> bool:
    """A sum over the tokens is divided by how many there are, which is never less than nothing."""
    if step.op != "Div" or step.ins[1] != control[0][0]:
        return False
    counted = False
    for value in flow.back(step.ins[1], _COUNTED):
        maker = flow.step_of(value)
        if maker is None:
            continue
        counted |= maker.op == "ReduceSum"
        if maker.op not in _COUNTED or (maker.op == "Add" and not _adds_little(flow, maker)):
            return False
    return counted


def _adds_little(flow: Flow, step: Step) -> bool:
    numbers = [flow.steps.numbers(value) for value in step.ins if not flow.made[value]]
    return bool(numbers) and all(found is not None and min(found, default=0) >= 0 for found in numbers)


def _picked_token(flow: Flow, step: Step, control: _Values, data: _Values) -> bool:
    """The last token, or the one that ends the text, stands for the text: its place is found in the ids or the mask."""
    if step.op not in ("Gather", "GatherElements", "GatherND") or step.ins[0] != data[0][0] or len(data) != 1:
        return False
    if any(_is_pieced(flow, value) for value in flow.back(step.ins[0], VIEWS)):
        return False
    return all(_is_one_place(flow, value) for value in flow.back(control[0][0], VIEWS | _COMPUTES))


def _is_one_place(flow: Flow, value: int) -> bool:
    """After the place was found nothing but single numbers changes it, so that it stays one place a text."""
    maker = flow.step_of(value)
    if maker is None or maker.op not in _COMPUTES or not flow.made[value] & Made.WHOLE:
        return True
    others = [other for other in maker.ins if other >= 0 and not flow.made[other]]
    return all(flow.steps.sizes.get(other) == 1 or _counts_texts(flow, other) for other in others)


def _counts_texts(flow: Flow, value: int) -> bool:
    """Where each text of a batch begins, in a list of all their tokens."""
    for _ in range(8):
        maker = flow.step_of(value)
        if maker is None or maker.op not in ("Mul", "Cast", "Unsqueeze", "Reshape"):
            break
        value = next((other for other in maker.ins if flow.steps.sizes.get(other) != 1), -1)
    return maker is not None and maker.op == "Range" and maker.ins[1] not in flow.steps.tensors


def _is_pieced(flow: Flow, value: int) -> bool:
    """Something is put beside the features that was no feature: a place for scores of one's own."""
    maker = flow.step_of(value)
    return (
        maker is not None
        and maker.op in ("Concat", "Pad")
        and any(before >= 0 and not flow.made[before] for before in maker.ins)
    )


def _lengths(flow: Flow, step: Step, control: _Values, data: _Values) -> bool:
    """A recurrent layer is told how long each text is."""
    return step.op in RECURRENT and [value for value, _ in control] == step.ins[4:5]
