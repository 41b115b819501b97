"""Where pictures go into an ONNX graph and where scores come out."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto

from ....evidence.errors import ScanError
from .module import Layout

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


@dataclass(frozen=True)
class Ends:
    """The graph's input with its layout and fixed batch size, if it has one; the output and the scores before it.

    `scores` is what `output` is made of where that is their softmax (`softmax` says so): exposure needs the scores.
    """

    input: str
    layout: Layout
    batch: int | None
    output: str
    scores: str
    softmax: bool


def _sizes(value: ValueInfoProto) -> list[int | None] | None:
    """Of a tensor, None for a size that is not fixed; None where the number of dimensions is not known."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        return None
    return [size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else None for size in kind.shape.dim]


def _input(graph: GraphProto, shape: tuple[int, int, int]) -> tuple[str, Layout, int | None]:
    held = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in held]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs[:4]) or "none"
        raise ScanError(f"the graph has {len(inputs)} inputs ({names}), a classifier of images has one")
    (value,) = inputs
    if value.type.tensor_type.elem_type not in _FLOATS:
        raise ScanError(f"the input {value.name} does not take numbers with a fraction: is it an image classifier?")
    sizes = _sizes(value)
    if sizes is None:
        return value.name, "nchw", None
    channels, height, width = shape
    if len(sizes) == 2:
        if sizes[1] not in (None, channels * height * width):
            raise ScanError(
                f"the input {value.name} takes {sizes[1]} numbers a sample, the samples have {channels} x {height} x "
                f"{width}: pass the size it was trained on with --size"
            )
        return value.name, "flat", sizes[0]
    if len(sizes) != 4:
        raise ScanError(f"the input {value.name} has {len(sizes)} dimensions, pictures have 4")
    nchw, nhwc = (None, channels, height, width), (None, height, width, channels)
    fits = {
        layout: all(have in (None, want) for have, want in zip(sizes[1:], wanted[1:], strict=True))
        for layout, wanted in (("nchw", nchw), ("nhwc", nhwc))
    }
    if fits["nchw"] and not (fits["nhwc"] and sizes[1] is None and sizes[3] == channels):
        return value.name, "nchw", sizes[0]
    if fits["nhwc"]:
        return value.name, "nhwc", sizes[0]
    text = " x ".join("?" if size is None else str(size) for size in sizes[1:])
    raise ScanError(
        f"the input {value.name} takes {text}, the samples are {channels} x {height} x {width} (channels x height x "
        "width): pass the size it was trained on with --size"
    )


def _attribute(node: NodeProto, name: str) -> int | None:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), None)


def _same(node: NodeProto) -> bool:
    """Whether a node gives the number that it takes."""
    return node.op_type == "Identity" or (node.op_type == "Cast" and _attribute(node, "to") in _FLOATS)


def _softmax(node: NodeProto) -> bool:
    """Whether it is one over the classes."""
    over = node.op_type in ("Softmax", "LogSoftmax") and node.domain in ("", "ai.onnx") and bool(node.input)
    return over and _attribute(node, "axis") in (None, 1, -1)


def _keeps_probabilities(node: NodeProto, made_by: dict[str, NodeProto]) -> bool:
    """Whether it divides what sums to one by its sum, as skl2onnx has it after a softmax."""
    before = made_by.get(node.input[0]) if node.op_type == "Normalizer" else None
    if before is not None and before.input and _same(before):
        before = made_by.get(before.input[0])
    norms = [attribute.s for attribute in node.attribute if attribute.name == "norm"]
    return before is not None and _softmax(before) and norms == [b"L1"]


def find_ends(graph: GraphProto, shape: tuple[int, int, int]) -> Ends:
    """Input and output of a classifier of pictures of `shape` (channels, H, W).

    Of several outputs the only one that is a matrix of floats is taken. Raises ScanError where that is ambiguous.
    """
    name, layout, batch = _input(graph, shape)
    made_by = {output: node for node in graph.node for output in node.output}
    found = []
    for value in graph.output:
        node = made_by.get(value.name)
        if node is not None and node.op_type == "ZipMap" and node.input:  # scikit-learn's map from class to probability
            found.append(node.input[0])
        elif value.type.tensor_type.elem_type in _FLOATS and len(_sizes(value) or (1, 1)) == 2:
            found.append(value.name)
    if len(found) != 1:
        names = ", ".join(value.name for value in graph.output[:4])
        raise ScanError(
            f"the graph has {len(graph.output)} outputs ({names}), and which holds the class scores is not clear: "
            "export it with its scores only"
        )
    output = scores = found[0]
    node = made_by.get(output)
    for _ in graph.node:  # a graph that goes in a circle has an end here too
        if node is None or not node.input or not (_same(node) or _keeps_probabilities(node, made_by)):
            break
        scores = node.input[0]
        node = made_by.get(scores)
    if node is not None and _softmax(node):
        return Ends(name, layout, batch, output, node.input[0], softmax=True)
    return Ends(name, layout, batch, output, output, softmax=False)
