"""Is the module the same function as the file? Held against onnxruntime on the user's samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto
from torch import Tensor

from ....evidence.errors import MissingExtra
from .module import OnnxClassifier

TOLERANCE = 1e-3  # of the largest score, or of 1 where that is smaller


@dataclass(frozen=True)
class Parity:
    """The largest difference of a tensor, as a share of its largest number, and the first node that is off, if any."""

    difference: float
    node: str | None = None

    @property
    def holds(self) -> bool:
        """Whether module and file agree."""
        return self.difference <= TOLERANCE


def _difference(mine: np.ndarray, theirs: np.ndarray) -> float:
    if mine.shape != theirs.shape:
        return float("inf")
    if not mine.size:
        return 0.0
    if mine.dtype == np.bool_ or theirs.dtype == np.bool_:
        return float((mine != theirs).mean())
    mine, theirs = mine.astype(np.float64), theirs.astype(np.float64)
    finite = np.isfinite(theirs)
    if (finite != np.isfinite(mine)).any() or (np.nan_to_num(mine)[~finite] != np.nan_to_num(theirs)[~finite]).any():
        return float("inf")  # a NaN is like no number, but -inf in a mask is like -inf
    largest = float(np.abs(theirs[finite]).max(initial=0.0))
    return float(np.abs(mine[finite] - theirs[finite]).max(initial=0.0)) / max(1.0, largest)


def _session(model: ModelProto) -> object:
    try:
        import onnxruntime as ort
    except ModuleNotFoundError:
        raise MissingExtra("onnxruntime", "onnx") from None
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _type_of(model: ModelProto, name: str) -> np.dtype[Any]:
    """Of an input of the file: half precision or double where it is exported so."""
    kind = next(value.type.tensor_type.elem_type for value in model.graph.input if value.name == name)
    return onnx.helper.tensor_dtype_to_np_dtype(kind)


@torch.no_grad()
def compare(model: ModelProto, module: OnnxClassifier, pixels: Tensor, batch: int | None = None) -> Parity:
    """Hold scores of `pixels` [N, channels, H, W] (normalised) against onnxruntime's on the same file.

    `batch` is the only size that the file takes, where it has one: both then run so many samples at once. Where they
    differ every node's output is compared, and the first that is off is named.
    """
    count = batch or len(pixels)
    pixels = pixels.cpu()[:count]
    if len(pixels) < count:
        pixels = pixels.repeat(-(-count // len(pixels)), 1, 1, 1)[:count]
    graph_input = module.graph_input(pixels)
    made = [name for node in module.plan.nodes for name in node.outputs if name]
    probe = ModelProto()
    probe.CopyFrom(model)
    known = {output.name for output in probe.graph.output}
    wanted = [name for name in module.plan.outputs if name not in known]
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted)
    feed = {module.input_name: graph_input.contiguous().numpy().astype(_type_of(model, module.input_name))}
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    mine = module.run(graph_input.to(device), module.plan.outputs)[0].cpu().numpy()
    theirs = _session(probe).run(list(module.plan.outputs), feed)[0]  # type: ignore[attr-defined]
    whole = _difference(mine, theirs)
    if whole <= TOLERANCE:
        return Parity(whole)
    known |= set(wanted)
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in made if name not in known)
    outputs = dict(zip(made, _session(probe).run(made, feed), strict=True))  # type: ignore[attr-defined]
    ours = dict(zip(made, module.run(graph_input.to(device), tuple(made)), strict=True))
    for node in module.plan.nodes:
        for name in node.outputs:
            if name and _difference(ours[name].cpu().numpy(), outputs[name]) > TOLERANCE:
                return Parity(whole, str(node))
    return Parity(whole, "the output")
