"""What speaks against the graph of an ONNX file, in words that name its nodes."""

from __future__ import annotations

from pathlib import Path

from onnx import TensorProto

from .graph_flow import Alarm, Flow
from .graph_steps import Input, Steps
from .graph_words import CONTROL, DATA, DOMAINS, OF_TOKENS, PREVIEW, RANDOM, UNSEEN, Made, meaning_of
from .text import shown

_NAMED = 3  # nodes of one kind
_FRACTIONS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def offences(path: Path) -> tuple[list[str], dict[str, float | int | str]]:
    """What is wrong with the file, one clause each, and figures. Raises ScanError where it cannot be read."""
    steps = Steps(path)
    starts, side = _starts(steps)
    flow = Flow(steps, starts)
    found = [
        *_foreign(steps),
        *_sides(steps, flow, side),
        *_alarms(flow),
        *_results(flow),
    ]
    unread = [given.name for given in steps.inputs if given.value not in flow.read]
    metrics: dict[str, float | int | str] = {
        "nodes": len(steps.steps),
        "decisions": sum(bool(made & (CONTROL & ~OF_TOKENS)) for made in flow.made),
        "alarms": len(flow.alarms),
    }
    if unread:
        metrics["unread_inputs"] = ", ".join(shown(name) for name in unread[:_NAMED])
    return found, metrics


def _starts(steps: Steps) -> tuple[dict[int, int], list[Input]]:
    """What the inputs hold, and those that a classifier does not need."""
    known = {given.value: meaning_of(given.name) for given in steps.inputs}
    for given in steps.inputs:
        if known[given.value] == "rows" and (given.rank != 3 or given.kind not in _FRACTIONS):
            known[given.value] = ""  # rows of a table of words are [batch, tokens, numbers]
    plain = [given for given in steps.inputs if not known[given.value]]
    if plain and not {"ids", "picture", "rows"} & set(known.values()):
        main = max(plain, key=lambda given: given.rank)  # the first of those with most dimensions
        known[main.value] = "picture" if main.kind in (*_FRACTIONS, TensorProto.UINT8, 0) else "ids"
    side = [given for given in steps.inputs if not known[given.value]]
    side += [given for given in steps.inputs if known[given.value] == "picture"][1:]
    if not {"ids", "rows"} & set(known.values()):  # segments and positions are of tokens
        side += [given for given in steps.inputs if known[given.value] == "given"]
    meaning = {"ids": Made.IDS, "given": Made.GIVEN, "mask": Made.GIVEN, "rows": Made.WORD}
    starts = {given.value: meaning.get(known[given.value], Made.RAW) for given in steps.inputs}
    return starts | dict.fromkeys(steps.overridable, Made.RAW), side


def _node(flow: Flow, index: int) -> str:
    step = flow.steps.steps[index]
    return f"{shown(step.op, 40)[1:-1]} {shown(step.name)}"


def _listed(names: list[str]) -> str:
    names = list(dict.fromkeys(names))
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _foreign(steps: Steps) -> list[str]:
    found = []
    if steps.shadowing:
        found.append(
            f"it defines {_listed([shown(name) for name in steps.shadowing])} anew, which every reader knows as "
            "standard operators"
        )
    nodes = [step for step in steps.steps if step.domain not in DOMAINS and not step.domain.startswith(PREVIEW)]
    if nodes:
        names = [f"{shown(step.op)} (node {shown(step.name)})" for step in nodes]
        found.append(f"it needs code that is not in the file: {_listed(names)}")
    return found


def _sides(steps: Steps, flow: Flow, side: list[Input]) -> list[str]:
    found = []
    names = [shown(given.name) for given in side if given.value in flow.read]
    if names:
        found.append(f"the scores depend on {_listed(names)}, an input that a classifier does not need")
    names = [shown(steps.names[value]) for value in steps.overridable if value in flow.read]
    if names:
        found.append(f"whoever calls the model may replace {_listed(names)}, alone of its constants")
    return found


_SAYS = {
    "decision": "{by} decides what {at} passes on to the scores",
    "flow": "the input decides, by {by}, what {at} runs",
    "around": "the input reaches {at} around the layers, by {by}, and meets their results there",
    "places": "{at} changes the whole input by chosen places of it, taken by {by}",
    "label": "{by} changes the predicted class in {at}",
    "size": "the size of the input decides, by {by}, what {at} passes on to the scores",
    "late": "{at} changes the scores by what {by} makes of other features",
}


def _alarms(flow: Flow) -> list[str]:
    """One clause a kind and cause: what one decision does in many places is told once."""
    groups: dict[tuple[str, str], list[str]] = {}
    for alarm in flow.alarms:
        by = _node(flow, alarm.cause) if alarm.cause >= 0 else "the input itself"
        if alarm.kind == "around":
            by = _way(flow, alarm)
        elif alarm.kind == "places":
            makers = (flow.maker[value] for value in flow.back(alarm.value, bits=Made.CUT | Made.RAW))
            by = next((_node(flow, at) for at in makers if at >= 0 and flow.chooses(at)), by)
        groups.setdefault((alarm.kind, by), []).append(_node(flow, alarm.at))
    return [_SAYS[kind].format(by=by, at=_listed(names)) for (kind, by), names in groups.items()]


def _way(flow: Flow, alarm: Alarm) -> str:
    """The nodes by which the input comes to the alarm's, on a short way, those next to it."""
    names: list[str] = []
    value = alarm.value
    bits = flow.made[value] & (UNSEEN | Made.WORD) if value >= 0 else 0
    while value >= 0 and flow.maker[value] >= 0 and len(names) < _NAMED:
        names.append(_node(flow, flow.maker[value]))
        step = flow.steps.steps[flow.maker[value]]
        value = next((before for before in step.ins if before >= 0 and flow.made[before] & bits), -1)
    return ", ".join(names[::-1]) or "no node"


def _results(flow: Flow) -> list[str]:
    found, made = [], [flow.made[value] for value in flow.steps.outputs]
    names = [shown(flow.steps.names[value]) for value in flow.steps.outputs]
    rolled = [name for name, one in zip(names, made, strict=True) if one & Made.RANDOM]
    if rolled:
        nodes = [
            _node(flow, index)
            for index, step in enumerate(flow.steps.steps)
            if flow.ways.reading[index] and (step.op in RANDOM or step.op == "Dropout")
        ]
        found.append(f"{_listed(nodes)} makes {_listed(rolled)} a matter of chance")
    for value, one, rank in zip(flow.steps.outputs, made, flow.steps.output_ranks, strict=True):
        around = UNSEEN if rank > 2 else UNSEEN | Made.WORD  # hidden states of a text are wider than scores
        if one & Made.FEATURE and one & around:
            last = _node(flow, flow.maker[value])
            found.append(f"the input reaches the output {shown(flow.steps.names[value])} around the layers, by {last}")
    if not any(one & DATA for one in made):
        what = "are chosen by decisions" if any(made) else "do not depend on the input"
        found.append(f"the results {_listed(names)} {what} and hold no scores")
        return found
    kinds = flow.steps.output_kinds
    early = Made.RAW_TEST | Made.ID_TEST
    for value, one, kind in zip(flow.steps.outputs, made, kinds, strict=True):
        if one & CONTROL and (kind in _FRACTIONS or (one & early and not one & Made.FEATURE_TEST)):
            last = _node(flow, flow.maker[value])
            found.append(f"the result {shown(flow.steps.names[value])} is chosen by decisions, last {last}")
    return found
