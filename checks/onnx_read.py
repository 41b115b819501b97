"""Reads an ONNX file and the weights beside it; nothing outside its folder, nothing larger than it says."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from ..evidence.errors import ScanError

MAX_BYTES = 8 << 30  # of all tensors together, unpacked
MAX_NODES = 1_000_000  # with the functions in place of their calls
_MAX_DIMENSIONS = 8
_PACKED: dict[int, int] = {TensorProto.INT4: 2, TensorProto.UINT4: 2, TensorProto.FLOAT4E2M1: 2}  # numbers a byte


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and those in the attributes of its nodes, branches and loops."""
    yield graph
    yield from _within(graph.node)


def _within(nodes: Iterable[NodeProto]) -> Iterator[GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)
            for inner in attribute.graphs:
                yield from graphs(inner)


def _constants(attributes: Iterable[AttributeProto]) -> Iterator[TensorProto]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor that the file holds, those in its functions too."""
    inner = list(graphs(model.graph))
    for function in model.functions:
        yield from _constants(function.attribute_proto)
        for node in function.node:
            yield from _constants(node.attribute)
        inner += _within(function.node)
    for graph in inner:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            yield from _constants(node.attribute)


def _bytes_of(path: Path, tensor: TensorProto) -> int:
    """How many bytes the tensor takes by its shape and type; ScanError where these cannot be."""
    name = tensor.name or "a constant"
    if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        raise ScanError(
            f"{path}: tensor {name} has type {tensor.data_type}, which ONNX does not know: the file is broken"
        )
    if any(size < 0 for size in tensor.dims) or len(tensor.dims) > _MAX_DIMENSIONS:
        raise ScanError(f"{path}: tensor {name} has the shape {list(tensor.dims)[:12]}, which no tensor has")
    count: int = math.prod(int(size) for size in tensor.dims)
    if tensor.data_type == TensorProto.STRING:
        return count
    if tensor.data_type in _PACKED:
        return -(-count // _PACKED[tensor.data_type])
    return int(count * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _held(tensor: TensorProto) -> int | None:
    """How many numbers are held in the field for its type; None where they are raw bytes."""
    if tensor.HasField("raw_data"):
        return None
    field = helper.tensor_dtype_to_field(tensor.data_type)
    return len(getattr(tensor, field))


def _check_inside(path: Path, tensor: TensorProto, size: int) -> None:
    held, count = _held(tensor), math.prod(tensor.dims)
    if tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        raise ScanError(f"{path}: tensor {tensor.name} holds complex numbers, which no classifier needs")
    packed = -(-count // _PACKED.get(tensor.data_type, 1))
    fits = len(tensor.raw_data) == size if held is None else held in (count, packed)
    if not fits:
        raise ScanError(
            f"{path}: tensor {tensor.name or 'of a constant'} says that it has the shape {list(tensor.dims)} and does "
            "not hold as many numbers: the file is damaged or made to mislead"
        )


def _location(path: Path, tensor: TensorProto) -> tuple[str, int, int | None]:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    try:
        offset, length = int(entries.get("offset", 0)), int(entries["length"]) if "length" in entries else None
    except ValueError:
        raise ScanError(
            f"{path}: tensor {tensor.name} has an offset or length that is no number: the file is damaged"
        ) from None
    location = entries.get("location", "")
    if not location or offset < 0 or (length is not None and length < 0):
        raise ScanError(f"{path}: tensor {tensor.name} lies in another file, and where is not said: export it again")
    return location, offset, length


def open_beside(path: Path, location: str) -> int:
    """A descriptor of a file in the folder of `path`, through no link; ScanError otherwise."""
    parts = location.replace("\\", "/").split("/")
    if Path(location).is_absolute() or ".." in parts or ":" in parts[0] or "\0" in location:
        raise ScanError(f"{path} wants weights from {location!r}, outside its own folder: that is refused")
    place = path.parent
    for part in parts:
        place = place / part
        if place.is_symlink():
            raise ScanError(f"{path} wants weights from {location!r}, which is a link: that is refused")
    try:
        descriptor = os.open(place, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise ScanError(
            f"{path} keeps weights in {location!r} beside it, which cannot be read ({error.strerror}): "
            "put that file there"
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ScanError(f"{path} wants weights from {location!r}, which is no regular file: that is refused")
    return descriptor


def _take_in(path: Path, tensor: TensorProto, size: int) -> None:
    """Put the bytes of a tensor that lies beside the file into it."""
    location, offset, length = _location(path, tensor)
    with os.fdopen(open_beside(path, location), "rb") as file:
        there = os.fstat(file.fileno()).st_size
        if (length is not None and length != size) or offset + size > there:
            raise ScanError(
                f"{path}: tensor {tensor.name} needs {size} bytes from {location!r}, which does not have them at "
                f"{offset}: the two files do not belong together"
            )
        file.seek(offset)
        tensor.raw_data = file.read(size)
    del tensor.external_data[:]
    tensor.data_location = TensorProto.DEFAULT


def external_files(model: ModelProto) -> list[str]:
    """Where tensors lie that are not in the file itself, as the file says it."""
    found = {
        entry.value
        for tensor in tensors(model)
        if tensor.data_location == TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return sorted(found)


def parse(path: Path, data: bytes) -> ModelProto:
    """The message in `data`; ScanError, one sentence that names `path`, where there is none."""
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError):
        raise ScanError(f"{path} is no ONNX file, or a damaged one: fetch or export it again") from None
    if not model.graph.node or not model.opset_import:
        raise ScanError(f"{path} holds no ONNX graph: check that it is the right file and complete")
    return model


def _calls(nodes: Iterable[NodeProto]) -> Iterator[tuple[str, str, str]]:
    """What each node calls, those in branches too: domain, name, overload."""
    nodes = list(nodes)
    for node in (*nodes, *(node for graph in _within(nodes) for node in graph.node)):
        yield node.domain, node.op_type, node.overload


def _check_functions(path: Path, model: ModelProto) -> None:
    """ScanError where functions call themselves, or each other so often that no memory holds what comes of it."""
    bodies = {(body.domain, body.name, body.overload): list(_calls(body.node)) for body in model.functions}
    sizes: dict[tuple[str, str, str], int] = {}
    todo, open_ = list(bodies), set[tuple[str, str, str]]()
    while todo:
        name = todo[-1]
        calls = bodies[name]
        waiting = [] if name in sizes else [other for other in set(calls) if other in bodies and other not in sizes]
        if waiting and (name in waiting or not open_.isdisjoint(waiting)):
            raise ScanError(f"{path} has a function, {name[1]}, that calls itself: no graph can be made of it")
        if waiting:
            open_.add(name)
            todo += waiting
            continue
        sizes[name] = min(MAX_NODES + 1, sum(sizes.get(other, 1) for other in calls))
        open_.discard(name)
        todo.pop()
    if sum(sizes.get(call, 1) for call in _calls(model.graph.node)) > MAX_NODES:
        raise ScanError(f"{path} has functions that come to more than {MAX_NODES} nodes: no classifier has as many")


def read_whole(path: Path) -> tuple[ModelProto, list[TensorProto]]:
    """The model as it is in the file but with all its weights inside, and those of them that lay beside it.

    Every tensor is held against its shape and type before anything is unpacked. Raises ScanError, one sentence.
    """
    try:
        model = parse(path, path.read_bytes())
    except OSError as error:
        raise ScanError(f"{path} cannot be read ({error.strerror}): check its permissions") from None
    total = 0
    outside = []
    for tensor in tensors(model):
        size = _bytes_of(path, tensor)
        total += size
        if total > MAX_BYTES:
            raise ScanError(f"{path} has more than {MAX_BYTES >> 30} GiB of weights, more than this version takes")
        if tensor.data_location == TensorProto.EXTERNAL:
            _take_in(path, tensor, size)
            outside.append(tensor)
        else:
            _check_inside(path, tensor, size)
    return model, outside


def read_model(path: Path) -> ModelProto:
    """The model with all its weights inside and its functions put in place of their calls.

    Raises ScanError, one sentence, as `read_whole` does.
    """
    model, _ = read_whole(path)
    if any(graph.sparse_initializer for graph in graphs(model.graph)):
        raise ScanError(f"{path} holds sparse weights, which this version does not read: export it with dense ones")
    if model.functions:
        _check_functions(path, model)
        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as error:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise ScanError(f"{path} has functions that cannot be put in place ({reason})") from None
    return model
