"""Where in an ONNX file the tensors of a module lie, and new numbers put there in the type of the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from ....checks.onnx_read import graphs
from ....evidence.errors import ScanError
from .build import tensor_of

Held = TensorProto | AttributeProto  # an initialiser or the tensor in a Constant; plain floats of a node
Place = Held | NodeProto  # an Identity: the tensor of another name
HALVES = ("float16", "bfloat16")
_FIRST_WITHOUT_INPUTS = 4  # the IR version from which on initialisers need not be among the graph's inputs


def _of_graph(graph: GraphProto) -> Iterator[tuple[str, Place]]:
    held = set()
    for tensor in graph.initializer:
        held.add(tensor.name)
        yield tensor.name, tensor
    for node in graph.node:
        if (node.domain, node.op_type) == ("ai.onnx.ml", "LinearClassifier"):
            for attribute in node.attribute:
                if attribute.name in ("coefficients", "intercepts"):
                    yield f"{node.name or node.output[-1]}.{attribute.name}", attribute  # as linear.py names them
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "Identity" and node.input[0] in held:
            held.add(node.output[0])
            yield node.output[0], node
        if node.op_type != "Constant":
            continue
        for attribute in node.attribute:
            if attribute.name in ("value", "value_float", "value_floats"):
                held.add(node.output[0])
                yield node.output[0], attribute.t if attribute.name == "value" else attribute


def places_of(model: ModelProto) -> dict[str, list[Place]]:
    """Where each tensor lies, by name, branches included: one place, but where two branches use the same name."""
    found: dict[str, list[Place]] = {}
    for graph in graphs(model.graph):
        for name, place in _of_graph(graph):
            found.setdefault(name, []).append(place)
    return found


def roots_of(places: dict[str, list[Place]]) -> dict[str, str]:
    """By name of a tensor that of the initialiser or Constant that it is: Identities are followed."""
    roots: dict[str, str] = {}
    for name, (place, *_) in places.items():  # what an Identity reads comes before it
        roots[name] = roots[place.input[0]] if isinstance(place, NodeProto) else name
    return roots


def numbers_in(held: Held) -> np.ndarray:
    """The numbers as they are in the file."""
    if isinstance(held, AttributeProto):
        return np.array(helper.get_attribute_value(held), dtype=np.float32)
    return numpy_helper.to_array(held)


def _store(held: Held, array: np.ndarray) -> None:
    """Put numbers of the file's type into the field that held the old ones."""
    if isinstance(held, AttributeProto):
        if held.type == AttributeProto.FLOATS:
            held.floats[:] = array.reshape(-1).tolist()
        else:
            held.f = float(array)
    elif held.HasField("raw_data"):
        held.raw_data = numpy_helper.from_array(array).raw_data
    else:
        bits = array.view(np.uint16) if array.dtype.name in HALVES else array
        getattr(held, helper.tensor_dtype_to_field(held.data_type))[:] = bits.reshape(-1).tolist()


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of a module hold the same numbers."""
    return bool(one.shape == other.shape and _alike(one.numpy(), other.numpy()).all())


def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray((one == other) | ((one != one) & (other != other)))


def in_type_of(old: np.ndarray, new: Tensor, name: str) -> np.ndarray:
    """The numbers of `new` in the type of `old`; where they are those of `old`, these, to their last digit.

    Raises ScanError where a number is not finite or does not fit.
    """
    was = tensor_of(old)
    before, after = was.numpy(), new.to(was.dtype).numpy()
    if before.shape != after.shape:
        raise ScanError(f"tensor {name} has the shape {list(after.shape)} now and had {list(before.shape)} in the file")
    changed = ~_alike(before, after)
    numbers = np.array(old)
    with np.errstate(over="ignore"):
        numbers[changed] = after[changed].astype(old.dtype)
    if not np.isfinite(after[changed]).all():
        raise ScanError(f"tensor {name} holds numbers that are not finite: the training has run away")
    back = tensor_of(numbers).numpy()
    floating = np.issubdtype(back.dtype, np.floating)
    if not (np.isfinite(back[changed]) if floating else back[changed] == after[changed]).all():
        raise ScanError(f"tensor {name} holds numbers that its type in the file, {old.dtype.name}, cannot")
    return numbers


class Written:
    """A model into which tensors are put, each at its place.

    `values` are all tensors of the module, by name, and `original` the same as they were read; `path` is for messages.
    """

    def __init__(self, path: Path, model: ModelProto, values: dict[str, Tensor], original: dict[str, Tensor]) -> None:
        self.path = path
        self.model = model
        self.values = values
        self.original = original
        self.places = places_of(model)
        self.roots = roots_of(self.places)
        self.old: dict[str, np.ndarray] = {}  # of what was changed: the numbers that were there
        self.now: dict[str, Tensor] = {}  # what initialisers hold that the module does not, but Identities of them
        self.changed = {name for name, tensor in values.items() if not same(tensor, original[name])}
        for name in sorted(self.changed):
            self._check(name)

    def _check(self, name: str) -> None:
        places = self.places.get(name, [])
        if not places:
            raise ScanError(
                f"{self.path}: {name} is no tensor of the graph but made in a function or by a node, where other "
                "numbers cannot be put: export the model without functions"
            )
        if len(places) > 1:
            raise ScanError(f"{self.path}: two branches have a tensor named {name}, and which is meant is not clear")

    def put(self) -> list[TensorProto]:
        """Put all that has changed into the model; the initialisers that had to be added."""
        for name in sorted(self.changed):
            if self.roots[name] == name:
                self._change(name, self.values[name])
        added = []
        for name, (place, *_) in self.places.items():
            if isinstance(place, NodeProto) and name in self.values and not self._settled(name, place.input[0]):
                self._check(name)
                added.append(self._apart(name, place))
        return added

    def _numbers(self, root: str) -> np.ndarray:
        held = self.places[root][0]
        assert not isinstance(held, NodeProto)
        if root in self.old:
            return self.old[root]
        numbers = numbers_in(held)
        return numbers.reshape(self.original[root].shape) if isinstance(held, AttributeProto) else numbers

    def _typed(self, root: str, value: Tensor, name: str) -> np.ndarray:
        try:
            return in_type_of(self._numbers(root), value, name)
        except ScanError as error:
            raise ScanError(f"{self.path}: {error}") from None

    def _change(self, name: str, value: Tensor) -> None:
        held, old = self.places[name][0], self._numbers(name)
        assert not isinstance(held, NodeProto)
        numbers = self._typed(name, value, name)
        self.old[name] = np.array(old)
        _store(held, numbers)

    def _settled(self, name: str, source: str) -> bool:
        """Whether an Identity gives what the module holds for it; an initialiser that nothing else needs is made to."""
        value = self.values[name]
        while source not in self.values and self.roots[source] != source:
            (place, *_) = self.places[source]
            assert isinstance(place, NodeProto)
            source = place.input[0]
        if source in self.values:
            return same(value, self.values[source])
        if source not in self.now:
            self.now[source] = tensor_of(self._numbers(source))
            if not same(value, self.now[source]) and self._free(source):
                self._change(source, value)
                self.now[source] = value
        return same(value, self.now[source])

    def _free(self, source: str) -> bool:
        """Whether all that reads an initialiser are Identities that the module has tensors for."""
        for graph in graphs(self.model.graph):
            if any(output.name == source for output in graph.output):
                return False
            for node in graph.node:
                if source in node.input and not (node.op_type == "Identity" and node.output[0] in self.values):
                    return False
        return True

    def _apart(self, name: str, node: NodeProto) -> TensorProto:
        """An initialiser of its own for an Identity that gave the same as others and no longer does."""
        array = self._typed(self.roots[name], self.values[name], name)
        fresh = f"{name}_value"
        while fresh in self._names():
            fresh += "_"
        graph = self.model.graph
        graph.initializer.append(numpy_helper.from_array(array, fresh))
        tensor = graph.initializer[-1]
        if self.model.ir_version < _FIRST_WITHOUT_INPUTS:
            graph.input.append(helper.make_tensor_value_info(fresh, tensor.data_type, tensor.dims))
        node.input[0] = fresh
        return tensor

    def _names(self) -> set[str]:
        names = set()
        for graph in graphs(self.model.graph):
            names |= {tensor.name for tensor in graph.initializer}
            names |= {value.name for value in (*graph.input, *graph.output)}
            names |= {name for node in graph.node for name in (*node.input, *node.output)}
        return names
