"""An ONNX graph as a flat list of steps on numbered values, with its functions and subgraphs put in place."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx.inliner
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, defs, numpy_helper

from ..evidence.errors import ScanError
from .graph_words import FUSED, LAYERS, POOLS, QUANTISED
from .onnx_read import graphs, parse
from .text import words

STANDARD = frozenset({"", "ai.onnx", "ai.onnx.ml"})
CARRY = "#carry"  # what a loop's body starts a round with: first the value before, then that of the round before
MAX_STEPS = 1_000_000
_SMALL = 4096  # numbers of a constant that may be looked at
_LARGE = 1 << 26  # numbers of a tensor that are counted at most
_KEEPS_SIZE = words(
    "Identity Cast Unsqueeze Squeeze Reshape Flatten Transpose Neg Sqrt Abs Exp Reciprocal DequantizeLinear "
    "QuantizeLinear"
)


@dataclass(slots=True)
class Step:
    """A node; `ins` holds -1 for an input that is left out. Branches and bodies come before the node they are of."""

    op: str
    domain: str
    name: str
    ins: list[int]
    outs: list[int]
    attributes: dict[str, AttributeProto]
    inner: list[int] = field(default_factory=list)  # of a node with subgraphs: their outputs

    def number(self, name: str, default: int) -> int:
        """An attribute that is a whole number."""
        return int(self.attributes[name].i) if name in self.attributes else default


@dataclass(frozen=True)
class Input:
    """An input of the graph that the caller has to give."""

    value: int
    name: str
    kind: int  # as in TensorProto.DataType
    rank: int


class Steps:
    """All steps in an order in which each comes after what it reads."""

    def __init__(self, path: Path) -> None:
        try:
            model = parse(path, path.read_bytes())
        except OSError as error:
            raise ScanError(f"{path} cannot be read ({error.strerror}): check its permissions") from None
        self.path = path
        self.shadowing = sorted({f"{f.domain or 'ai.onnx'}.{f.name}" for f in model.functions if f.domain in STANDARD})
        model = _inlined(path, model)
        if not all(isinstance(name, str) for name in _names(model)):
            raise ScanError(f"{path} is damaged: names in its graph are no text")
        self._least: dict[tuple[str, str], tuple[list[int], int] | None] = {}
        self._versions = {entry.domain.removeprefix("ai.onnx") or "": entry.version for entry in model.opset_import}
        self._picks: dict[int, bool] = {}
        self.names: list[str] = []
        self.tensors: dict[int, TensorProto] = {}
        self.kinds: dict[int, int] = {}
        self.sizes: dict[int, int] = {}
        self.steps: list[Step] = []
        self.inputs: list[Input] = []
        self.overridable: list[int] = []
        self.outputs: list[int] = []
        self.output_kinds: list[int] = []
        self.output_ranks: list[int] = []
        self._read(model.graph)
        self._sort()

    def _operator(self, node: NodeProto, domain: str) -> str:
        """The operator's name; with something in front where its name alone says too much."""
        if domain in ("", "ai.onnx.ml"):
            key = (domain, node.op_type)
            if key not in self._least:
                self._least[key] = _least(*key, self._versions.get(domain.removeprefix("ai.onnx"), 1))
            least = self._least[key]
            if least is None:
                return f"unknown.{node.op_type}"
            if len(node.output) < least[1] or any(len(node.input) <= at or not node.input[at] for at in least[0]):
                raise ScanError(f"{self.path} is damaged: a node {ascii(node.op_type)[:60]} lacks inputs or outputs")
            return node.op_type
        if domain == "com.microsoft" and node.op_type in FUSED and node.input and node.output:
            return QUANTISED.get(node.op_type, node.op_type)
        if domain in ("com.microsoft.nchwc", "com.ms.internal.nhwc") and node.op_type in (*LAYERS, *POOLS):
            return node.op_type
        return f"{domain}.{node.op_type}"

    def value(self, name: str) -> int:
        """A new value."""
        self.names.append(name)
        return len(self.names) - 1

    def numbers(self, value: int) -> list[float] | None:
        """The numbers of a small constant, else None."""
        tensor = self.tensors.get(value)
        if tensor is None or self.sizes.get(value, _SMALL + 1) > _SMALL or tensor.data_location == TensorProto.EXTERNAL:
            return None
        try:
            array = numpy_helper.to_array(tensor).ravel()
            return [float(number) for number in array]
        except Exception:  # a tensor that is not what it says
            return None

    def picks(self, value: int) -> bool:
        """Whether a constant only picks places: nearly all of it is zero, or what is not is all the same."""
        tensor = self.tensors.get(value)
        if tensor is None or not 1 < self.sizes.get(value, 0) <= _LARGE:
            return False
        if value not in self._picks:
            try:
                array = numpy_helper.to_array(tensor).ravel()
                held = array[array != 0]
                self._picks[value] = len(held) <= len(array) // 50 or bool((held == held[0]).all())
            except Exception:  # weights in another file, or a tensor that is not what it says
                self._picks[value] = False
        return self._picks[value]

    def _read(self, graph: GraphProto) -> None:
        held = {tensor.name for tensor in graph.initializer}
        held |= {sparse.values.name for sparse in graph.sparse_initializer}
        listed = {value.name for value in graph.input} & held
        scope: dict[str, int] = {}
        for given in graph.input:
            kind = given.type.tensor_type
            if given.name not in held:
                number = scope[given.name] = self.value(given.name)
                self.kinds[number] = kind.elem_type
                self.inputs.append(Input(number, given.name, kind.elem_type, len(kind.shape.dim)))
        self._body(graph, [scope])
        if listed != held or self._mostly_elsewhere():
            self.overridable = [scope[name] for name in sorted(listed)]
        if not graph.output:
            raise ScanError(f"{self.path} is damaged: its graph has no results")
        for result in graph.output:
            self.outputs.append(self._find(result.name, [scope]))
            self.output_kinds.append(result.type.tensor_type.elem_type)
            self.output_ranks.append(len(result.type.tensor_type.shape.dim))

    def _find(self, name: str, scopes: Sequence[dict[str, int]]) -> int:
        for scope in reversed(scopes):
            if name in scope:
                return scope[name]
        raise ScanError(f"{self.path} is damaged: nothing in its graph makes the tensor {ascii(name)[:80]}")

    def _mostly_elsewhere(self) -> bool:
        """More constants are in nodes than in the list: that all listed ones may be replaced is no custom then."""
        listed = {value for value in range(len(self.names)) if value in self.tensors}
        made = {out for step in self.steps if step.op == "Constant" for out in step.outs} & listed
        return sum(self.sizes[value] for value in made) > sum(self.sizes[value] for value in listed - made)

    def _hold(self, tensor: TensorProto, value: int) -> None:
        self.tensors[value] = tensor
        self.kinds[value] = tensor.data_type
        self.sizes[value] = math.prod(max(0, int(size)) for size in tensor.dims)

    def _body(self, graph: GraphProto, scopes: list[dict[str, int]]) -> None:
        """Number what the graph makes, then list its nodes."""
        scope = scopes[-1]
        for tensor in graph.initializer:
            scope[tensor.name] = self.value(tensor.name)
            self._hold(tensor, scope[tensor.name])
        for sparse in graph.sparse_initializer:
            scope[sparse.values.name] = self.value(sparse.values.name)
        for node in graph.node:
            for name in node.output:
                if name in scope and name:
                    raise ScanError(f"{self.path} is damaged: two nodes make the tensor {ascii(name)[:80]}")
                if name:
                    scope[name] = self.value(name)
        for node in graph.node:
            self._node(node, scopes)
        if len(self.steps) > MAX_STEPS:
            raise ScanError(f"{self.path} has more than {MAX_STEPS} nodes, more than this version takes")

    def _node(self, node: NodeProto, scopes: list[dict[str, int]]) -> None:
        ins = [self._find(name, scopes) if name else -1 for name in node.input]
        outs = [scopes[-1][name] if name else self.value("") for name in node.output]
        attributes = {attribute.name: attribute for attribute in node.attribute}
        domain = "" if node.domain == "ai.onnx" else node.domain
        name = node.name or (node.output[0] if node.output else "")
        operator = self._operator(node, domain)
        if operator == "CastLike":  # of the second only the type counts
            operator, ins = "Identity", ins[:1]
        step = Step(operator, domain, name, ins, outs, attributes)
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                self._subgraph(step, inner, scopes)
        self.steps.append(step)
        if step.op == "Constant" and domain == "" and outs and "value" in attributes:
            self._hold(attributes["value"].t, outs[0])
        elif step.op == "Constant" and domain == "" and outs:
            self.sizes[outs[0]] = 1 if {"value_float", "value_int", "value_string"} & set(attributes) else _SMALL + 1
        elif step.op in _KEEPS_SIZE and domain == "" and ins and ins[0] in self.sizes:
            self.sizes[outs[0]] = self.sizes[ins[0]]
            if step.op == "Identity" and ins[0] in self.tensors:
                self.tensors[outs[0]] = self.tensors[ins[0]]
        elif domain == "" and len(outs) == 1 and self._is_single(step):
            self.sizes[outs[0]] = 1

    def _is_single(self, step: Step) -> bool:
        """One number of a shape, or what is computed from single numbers."""
        if step.op == "Shape":
            start, end = step.number("start", 0), step.number("end", 1 << 31)
            return end - start == 1
        if step.op == "Gather":
            return self.sizes.get(step.ins[1]) == 1
        if step.op == "Size":
            return True
        return step.op in ("Add", "Sub", "Mul", "Div", "Max", "Min") and all(self.sizes.get(at) == 1 for at in step.ins)

    def _subgraph(self, step: Step, graph: GraphProto, scopes: list[dict[str, int]]) -> None:
        scope: dict[str, int] = {}
        results: list[tuple[int, int]] = []  # number of the input, what it is at the start
        for number, given in enumerate(graph.input):
            scope[given.name] = self.value(given.name)
            results.append((number, scope[given.name]))
        inside = [*scopes, scope]
        self._body(graph, inside)
        ends = [self._find(value.name, inside) for value in graph.output]
        step.inner += ends
        if (len(graph.input) + len(step.outs)) * (len(step.ins) + len(step.inner)) > MAX_STEPS:
            raise ScanError(f"{self.path} has a node with more inputs and results than this version takes")
        for number, value in results:
            sources = _sources(step, number, ends)
            self.steps.append(Step(CARRY, "", self.names[value], sources, [value], {}))

    def _sort(self) -> None:
        """Kahn's order; what a loop carries from round to round does not count."""
        made_by = {out: index for index, step in enumerate(self.steps) for out in step.outs}
        waiting = [0] * len(self.steps)
        readers: list[list[int]] = [[] for _ in self.steps]
        for index, step in enumerate(self.steps):
            needs = step.ins[:1] if step.op == CARRY else [*step.ins, *step.inner]
            for before in {made_by[value] for value in needs if value in made_by}:
                readers[before].append(index)
                waiting[index] += 1
        ready = deque(index for index, count in enumerate(waiting) if not count)
        order: list[Step] = []
        while ready:
            index = ready.popleft()
            order.append(self.steps[index])
            for reader in readers[index]:
                waiting[reader] -= 1
                if not waiting[reader]:
                    ready.append(reader)
        if len(order) < len(self.steps):
            raise ScanError(f"{self.path} is damaged: its graph feeds its results back into itself")
        self.steps = order


def _names(model: ModelProto) -> Iterator[object]:
    """All names that are used later: protobuf gives bytes for those that are no text."""
    for graph in graphs(model.graph):
        yield from (tensor.name for tensor in graph.initializer)
        yield from (sparse.values.name for sparse in graph.sparse_initializer)
        yield from (value.name for value in (*graph.input, *graph.output))
        for node in graph.node:
            yield from (node.op_type, node.domain, node.name)
            yield from node.input
            yield from node.output
            yield from (attribute.name for attribute in node.attribute)
    yield from (entry.domain for entry in model.opset_import)


def _least(domain: str, operator: str, version: int) -> tuple[list[int], int] | None:
    """The inputs that the operator cannot do without, by their places, and how many results it has at least."""
    try:
        schema = defs.get_schema(operator, max(1, min(version, 1 << 20)), domain)
    except defs.SchemaError:  # no such operator: whoever runs the graph will say so
        return None
    single = defs.OpSchema.FormalParameterOption.Single
    return [at for at, one in enumerate(schema.inputs) if one.option == single], schema.min_output


def _sources(step: Step, number: int, ends: Sequence[int]) -> list[int]:
    """What an input of a body may hold, its start first. -1 for a counter."""
    if step.op == "Loop":
        if number == 0:
            return [-1]
        start = step.ins[number] if number < len(step.ins) else -1
        return [start, *ends[number - 1 : number]]
    if step.op == "Scan":
        states = len(step.ins) - step.number("num_scan_inputs", 0)
        start = step.ins[number] if number < len(step.ins) else -1
        return [start, *(ends[number : number + 1] if number < states else ())]
    return [-1, *step.ins, *ends]


def _calls(nodes: Iterable[NodeProto]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for node in nodes:
        found.append((node.domain, node.op_type))
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                found += _calls(graph.node)
    return found


def _inlined(path: Path, model: ModelProto) -> ModelProto:
    """The model without functions of its own; those that call themselves, or grow without end, are refused."""
    if not model.functions:
        return model
    functions: dict[tuple[str, str], FunctionProto] = {(f.domain, f.name): f for f in model.functions}
    inside = {key: [call for call in _calls(f.node) if call in functions] for key, f in functions.items()}
    size: dict[tuple[str, str], int] = {}
    left = dict.fromkeys(functions)
    while left:
        done = [key for key in left if all(call in size for call in inside[key])]
        if not done:
            raise ScanError(f"{path} is damaged: a function in it calls itself")
        for key in done:
            size[key] = len(functions[key].node) + sum(size[call] for call in inside[key])
            del left[key]
    if sum(size.get(call, 1) for call in _calls(model.graph.node)) > MAX_STEPS:
        raise ScanError(f"{path} has functions that unfold into more than {MAX_STEPS} nodes: refused")
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ScanError(f"{path} has functions that cannot be put in place ({reason})") from None
