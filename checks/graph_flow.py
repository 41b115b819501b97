"""What every tensor of a graph is made from, and where a decision meets data that it has no business with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..evidence.errors import ScanError
from .graph_quantised import own_zero_points, rescaled
from .graph_rules import allowed
from .graph_steps import CARRY, Step, Steps
from .graph_traces import Traces
from .graph_ways import is_layer, is_sum_of_places
from .graph_words import (
    CHOOSES_PLACES,
    CLASSIC,
    COMPARES,
    CONTROL,
    DATA,
    FUSED_TABLES,
    LABEL_FIRST,
    LAYERS,
    NOTHING,
    ONLY_SHAPE,
    OVER_SEVERAL,
    RANDOM,
    SECOND_COMPARES,
    SHAPED_BY,
    UNSEEN,
    VIEWS,
    Made,
)

Kind = Literal["decision", "flow", "around", "places", "label", "late", "size"]
_MAX_ROUNDS = 12  # until loops say nothing new


@dataclass(frozen=True)
class Alarm:
    """Step `at` does what `kind` says, because of `value`, which it reads, and of the step `cause` (-1: an input)."""

    kind: Kind
    at: int
    cause: int
    value: int


def decided(made: int) -> int:
    """What a comparison of this makes."""
    result = made & (Made.RAW_TEST | Made.FEATURE_TEST | Made.ID_TEST | Made.GIVEN | Made.WHOLE | Made.RANDOM)
    if made & UNSEEN:
        result |= Made.RAW_TEST
    if made & (Made.WORD | Made.FEATURE | Made.CLASSIC):
        result |= Made.FEATURE_TEST
    if made & (Made.IDS | Made.SUM_OF_IDS):
        result |= Made.ID_TEST
    return result | (made & Made.RUNNING)


class Flow(Traces):
    """The analysis of one graph; `alarms` holds what was found in steps that an output wants."""

    def __init__(self, steps: Steps, starts: dict[int, int]) -> None:
        super().__init__(steps)
        self._alarms: dict[int, Alarm] = {}
        for value, start in starts.items():
            self.made[value] = start
        self._run()
        wanted = self._wanted()
        self.alarms = [alarm for at, alarm in sorted(self._alarms.items()) if wanted[at]]
        self.read = self._read(wanted)

    def _run(self) -> None:
        loops = any(step.op == CARRY for step in self.steps.steps)
        for _ in range(_MAX_ROUNDS if loops else 1):
            changed = False
            for index, step in enumerate(self.steps.steps):
                if not self.ways.reading[index]:
                    continue
                for out, made, shape in self._made(index, step):
                    made, shape = made | self.made[out], shape | self.shape[out]
                    if made != self.made[out] or shape != self.shape[out]:
                        self.made[out], self.shape[out], changed = made, shape, True
            if not changed or not loops:
                return
        raise ScanError(f"{self.steps.path} has loops too deep to be judged: export it from its source")

    def _made(self, index: int, step: Step) -> list[tuple[int, int, int]]:
        """What each result of a step is made from, and its shape."""
        shape = NOTHING
        for value in step.ins:
            if value >= 0:
                shape |= self.shape[value]
        self._kind_of(step)
        if step.op in ONLY_SHAPE and step.domain == "":
            whole = Made.WHOLE if shape else NOTHING
            self.sized[step.outs[0]] = True
            return [(out, decided(shape) | whole, NOTHING) for out in step.outs]
        if step.inner:
            return self._with_inside(index, step, shape)
        if step.op in SHAPED_BY:
            for value in step.ins[SHAPED_BY[step.op] :]:
                if value >= 0:
                    shape |= decided(self.made[value])
        self._trace(index, step)
        made = [self._of(index, step, number) for number in range(len(step.outs))]
        return [(out, result, shape) for out, result in zip(step.outs, made, strict=True)]

    def _with_inside(self, index: int, step: Step, shape: int) -> list[tuple[int, int, int]]:
        """If, Loop, Scan and what else has subgraphs: results are what the subgraphs make, unless data steers them."""
        steers = {"If": step.ins[:1], "Loop": [*step.ins[:2], *step.inner[:1]]}.get(step.op, [])
        late = all(self.ways.late[out] for out in step.outs)
        if late and any(value >= 0 and self.sized[value] and not self.made[value] for value in steers):
            self._alarm("size", index, steers[0])
        if any(value >= 0 and self.made[value] for value in steers):
            cause = next(value for value in steers if value >= 0 and self.made[value])
            self._alarm("flow", index, cause)
        results = []
        for number, out in enumerate(step.outs):
            sources = [value for value in step.inner if value >= 0]
            if step.op == "If":
                sources = step.inner[number :: max(1, len(step.outs))]
            elif step.op == "Loop":
                sources = [*step.ins[number + 2 : number + 3], *step.inner[number + 1 : number + 2]]
            made = NOTHING
            for value in (value for value in sources if value >= 0):
                made |= self.made[value]
                shape |= self.shape[value]
                self.cause[out] = self.cause[value] if self.cause[value] >= 0 else self.cause[out]
            results.append((out, self._settled(index, out, made), shape))
        return results

    def _settled(self, index: int, out: int, made: int) -> int:
        """Results that are data on one way and a decision on another are data; whose decision, is told."""
        if not made & DATA or not made & CONTROL:
            return made
        if made & ~Made.GIVEN & CONTROL:
            self._alarms.setdefault(index, Alarm("decision", index, self.cause[out], out))
        return made & ~(CONTROL | Made.WHOLE)

    def _of(self, index: int, step: Step, number: int) -> int:
        """What one result of a step is made from."""
        made = [self.made[value] if value >= 0 else NOTHING for value in step.ins]
        if step.op in RANDOM or self._drops(step):
            return Made.RANDOM | self._met(index, step, made)
        if step.op in FUSED_TABLES and step.domain == "com.microsoft":
            return Made.GIVEN | Made.WHOLE if number == 1 else self._looked_up(made[0])
        if self._renames(step, made):
            return Made.SUM_OF_IDS | _all(made) & Made.RUNNING
        if step.op in COMPARES or (number and step.op in SECOND_COMPARES) or self._cuts_off(step):
            made = [one if step.op == "OneHot" and not one & DATA else decided(one) for one in made]
        elif step.op in CLASSIC:
            kind = Made.FEATURE_TEST | Made.WHOLE if step.op in LABEL_FIRST and number == 0 else Made.CLASSIC
            return kind | made[0] & Made.RANDOM
        elif step.op in LAYERS:
            made = self._through_layer(step, made)
        elif step.op == "Gather" and len(made) > 1 and not made[0]:
            return self._looked_up(decided(made[1]) if self.steps.picks(step.ins[0]) else made[1])
        elif step.op == "GridSample" and made[0] & DATA and made[1] & DATA:
            return made[0] | made[1] & Made.RANDOM  # numbers of the first, from places that the second says
        elif step.op == "CumSum" and made:
            made[0] |= Made.RUNNING if made[0] else NOTHING
        elif step.op not in VIEWS:
            made = [one & ~Made.IDS | Made.SUM_OF_IDS if one & Made.IDS else one for one in made]
        if step.op in CHOOSES_PLACES or self._weighs_places(step, made):
            made = [one & ~Made.RAW | Made.CUT if one & UNSEEN else one for one in made]
        result = self._met(index, step, made)
        if result & CONTROL and (step.op in OVER_SEVERAL or self._takes_one(step)):
            result |= Made.WHOLE
        if result & Made.WORD and not result & Made.FEATURE and self._over_tokens(step):
            result |= Made.WHOLE
        return result

    def _renames(self, step: Step, made: list[int]) -> bool:
        """Token ids become other ids, each by itself, to be looked up: padding is replaced, or a hash taken."""
        if step.op not in ("Where", "Mod"):
            return False
        ids = [(value, one) for value, one in zip(step.ins, made, strict=True) if one]
        tokens = Made.IDS | Made.SUM_OF_IDS | Made.ID_TEST | Made.RUNNING
        return (
            any(one & (Made.IDS | Made.SUM_OF_IDS) for _, one in ids)
            and not any(one & ~tokens for _, one in ids)
            and len({self.root[value] for value, _ in ids}) == 1
            and all(self._is_plain(value) for value in step.ins if value >= 0 and not self.made[value])
        )

    def _through_layer(self, step: Step, made: list[int]) -> list[int]:
        """A layer's weights turn data into features; a decision that goes through them stays one."""
        result = list(made)
        own = own_zero_points(self, step)
        for position, one in enumerate(made):
            if position in own:
                result[position] = NOTHING
            elif not one or not is_layer(self.steps, step, position, self.ways.tainted):
                continue
            elif one & UNSEEN and is_sum_of_places(self.steps, step):
                result[position] = Made.CUT | (one & Made.RANDOM)
            elif one & DATA:
                result[position] = Made.FEATURE | (one & (Made.RANDOM | Made.CLASSIC))
            else:
                result[position] = self._looked_up(one)
        return result

    @staticmethod
    def _looked_up(index: int) -> int:
        """A row of a table by token id, position or segment is a word; by any decision it stays a decision."""
        tests = Made.RAW_TEST | Made.FEATURE_TEST | Made.WHOLE
        if index & DATA:
            return decided(index)
        if index & tests or (index & Made.ID_TEST and not index & Made.RUNNING):
            return index
        return Made.WORD | (index & Made.RANDOM) if index & CONTROL else index

    def _drops(self, step: Step) -> bool:
        if step.op != "Dropout" or step.domain or len(step.ins) < 3 or step.ins[2] < 0:
            return False
        return self.steps.numbers(step.ins[2]) != [0.0]

    def _over_tokens(self, step: Step) -> bool:
        """A reduction of [batch, tokens, numbers] over the tokens, or over all but the batch."""
        if not step.op.startswith("Reduce"):
            return False
        axes = self.steps.numbers(step.ins[1]) if len(step.ins) > 1 else None
        if "axes" in step.attributes:
            axes = [float(axis) for axis in step.attributes["axes"].ints]
        return bool(axes) and bool({1.0, -2.0} & set(axes or ()))

    def _met(self, index: int, step: Step, made: list[int]) -> int:
        """The inputs together, with an alarm where they should not have come together."""
        data, control = NOTHING, NOTHING
        for one in made:
            if one & DATA:
                data |= one & DATA
            else:
                control |= one
        random = Made.RANDOM & (control | _all(made))
        control &= ~Made.RANDOM
        if data and control:
            if not allowed(self, step, made):
                self._alarm("decision", index, self._first(step, made, CONTROL))
                data = data & ~UNSEEN | Made.FEATURE
            return data | random
        if not data:
            tests = control & (Made.RAW_TEST | Made.ID_TEST | Made.IDS | Made.SUM_OF_IDS)
            if tests and control & Made.FEATURE_TEST and not _all_have(made, Made.FEATURE_TEST):
                self._alarm("label", index, self._first(step, made, Made.RAW_TEST | Made.ID_TEST))
            return control | random
        seen = data & (Made.FEATURE | Made.WORD | Made.CLASSIC)
        if step.op == "Mul" and (product := rescaled(self, step)) >= 0:
            out = step.outs[0]
            self.layer[out], self.straight[out] = self.layer[product], self.straight[product]
            return self.made[product]
        if data & UNSEEN and seen:
            self._alarm("around", index, self._first(step, made, UNSEEN))
            return data & ~UNSEEN | random
        if data & Made.CLASSIC and data & Made.FEATURE and not _all_have(made, Made.CLASSIC):
            self._alarm("decision", index, self._first(step, made, Made.CLASSIC))
            return Made.FEATURE | random
        if data & Made.CUT and step.op != "Concat" and any(one & Made.RAW and not one & Made.CUT for one in made):
            self._alarm("places", index, self._first(step, made, Made.CUT))
            return Made.RAW | random
        if data & Made.FEATURE and self._glances(step, made):
            self._alarm("around", index, self._first(step, made, Made.WHOLE))
            return Made.FEATURE | random
        if data and (sized := self._switched_by_size(step)) >= 0:
            self._alarm("size", index, sized)
        if data & Made.FEATURE and self._is_switched(step):
            joined = [value for value in step.ins if value >= 0 and self.made[value]]
            self._alarm("late", index, next((value for value in joined if not self.straight[value]), joined[0]))
        return data | random | _all(made) & Made.WHOLE

    @staticmethod
    def _glances(step: Step, made: list[int]) -> bool:
        """What was taken over all words of a text, through no layer, meets features."""
        words = [one for one in made if one & Made.WORD and not one & Made.FEATURE]
        return any(one & Made.WHOLE for one in words) and any(one & Made.FEATURE for one in made)

    @staticmethod
    def _first(step: Step, made: list[int], wanted: int) -> int:
        return next((value for value, one in zip(step.ins, made, strict=True) if one & wanted), -1)

    def _alarm(self, kind: Kind, index: int, value: int) -> None:
        cause = -1 if value < 0 else self.cause[value] if self.cause[value] >= 0 else self.maker[value]
        self._alarms.setdefault(index, Alarm(kind, index, cause, value))

    def _wanted(self) -> list[bool]:
        """Which steps the outputs depend on: a shape only passes on what the shape depends on."""
        found = set(self.steps.outputs)
        todo = list(found)
        wanted = [False] * len(self.steps.steps)
        while todo:
            at = self.maker[todo.pop()]
            if at < 0 or wanted[at]:
                continue
            wanted[at] = True
            step = self.steps.steps[at]
            if step.op in ONLY_SHAPE and not self.shape[step.ins[0]]:
                continue
            for value in (*step.ins, *step.inner):
                if value >= 0 and value not in found:
                    found.add(value)
                    todo.append(value)
        return wanted

    def _read(self, wanted: list[bool]) -> set[int]:
        """The values whose numbers the outputs depend on."""
        found = set(self.steps.outputs)
        for index, step in enumerate(self.steps.steps):
            if wanted[index] and (step.op not in ONLY_SHAPE or self.shape[step.ins[0]]):
                found.update(value for value in (*step.ins, *step.inner) if value >= 0)
        return found


def _all(made: list[int]) -> int:
    result = NOTHING
    for one in made:
        result |= one
    return result


def _all_have(made: list[int], wanted: int) -> bool:
    return all(one & wanted for one in made if one)
