"""Runs a plan as an `nn.Module`: what the file learned are parameters, BatchNorm statistics are buffers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from ....evidence.errors import ScanError
from . import elementwise, reductions, shapes  # noqa: F401  (they enter their operators in the table)
from .network import batch_normalization
from .node import OPERATORS, Node, Result
from .plan import Plan, as_written, branches

Layout = Literal["nchw", "nhwc", "flat"]

# Inputs that hold what was learned, by operator; all from the second on where the operator is not named here and
# the tensor has more than one element. A lone number is a constant of the formula: the 0.5 of a GELU.
_LEARNED = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (0, 1, 2),
    "BatchNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "RMSNormalization": (1,),
    "PRelu": (1,),
}
_NEVER = {"Pad", "Resize", "Upsample", "Clip", "Pow", "Range", "OneHot", "ConstantOfShape", "Where", "Equal", "Less",
          "Greater", "LessOrEqual", "GreaterOrEqual", "Min", "Max", "Mod", "TopK", "CumSum"}  # fmt: skip
_BATCH_NORM_STATISTICS = (3, 4)


def _roles(plan: Plan) -> tuple[set[str], set[str]]:
    """Names of the tensors that were learned, and of BatchNorm's statistics."""
    learned: set[str] = set()
    statistics: set[str] = set()
    for node in _nodes(plan):
        for place, name in enumerate(node.inputs):
            tensor = plan.tensors.get(name)
            if tensor is None or not tensor.is_floating_point() or node.operator in _NEVER:
                continue
            if node.operator == "BatchNormalization" and place in _BATCH_NORM_STATISTICS:
                statistics.add(name)
            elif place in _LEARNED.get(node.operator, ()) or (node.operator not in _LEARNED and tensor.numel() > 1):
                learned.add(name)
    return learned - statistics, statistics


def _nodes(plan: Plan) -> Iterator[Node]:
    """The nodes of a plan and of the branches in it, which read its tensors too."""
    for node in plan.nodes:
        yield node
        for branch in branches(node):
            yield from _nodes(branch)


class OnnxClassifier(nn.Module):
    """Interprets a plan on float pixels [N, channels, H, W]; returns the scores [N, C].

    `layout` is how the graph wants its pixels. `names` maps the names of parameters and buffers to those in the file.
    Gradients flow through everything; train() puts BatchNorm into train mode, and nothing else. Where `apart` is set
    so many samples go through by themselves, and BatchNorm stays as it is.
    """

    def __init__(self, plan: Plan, input_name: str, layout: Layout = "nchw") -> None:
        super().__init__()
        self.plan = plan
        self.input_name = input_name
        self.layout: Layout = layout
        self.names: dict[str, str] = {}
        self.apart: int | None = None
        self.as_written = as_written(plan)
        self._hold(plan)

    def _hold(self, plan: Plan) -> None:
        learned, statistics = _roles(plan)
        for name, tensor in plan.tensors.items():
            twin = next((getattr(self, key) for key, other in self.names.items() if other == name), None)
            if twin is not None and not (twin.shape == tensor.shape and bool(twin.equal(tensor))):
                raise ScanError(f"two branches of the graph have a tensor called {name}: give each a name of its own")
            key = re.sub(r"\W", "_", name) or "_"
            while key in self.names or hasattr(self, key):
                key += "_"
            self.names[key] = name
            if name in learned:
                self.register_parameter(key, nn.Parameter(tensor.clone()))
            else:
                self.register_buffer(key, tensor.clone(), persistent=name in statistics)
        for node in plan.nodes:
            for branch in branches(node):
                self._hold(branch)

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores [N, C]."""
        graph_input = self.graph_input(pixels)
        if self.apart is None or len(pixels) == self.apart:
            return self.run(graph_input, self.plan.outputs)[0]
        missing = -len(pixels) % self.apart
        parts = torch.cat([graph_input, graph_input[-1:].expand(missing, *graph_input.shape[1:])])
        parts = parts.unflatten(0, (-1, self.apart))
        scores: Tensor = torch.func.vmap(lambda part: self.run(part, self.plan.outputs)[0])(parts)
        return scores.flatten(0, 1)[: len(pixels)]

    def graph_input(self, pixels: Tensor) -> Tensor:
        """Pixels [N, channels, H, W] in the graph's own layout."""
        if self.layout == "nhwc":
            return pixels.permute(0, 2, 3, 1)
        return pixels.flatten(1) if self.layout == "flat" else pixels

    def run(self, graph_input: Tensor, outputs: tuple[str, ...]) -> tuple[Tensor, ...]:
        """The tensors `outputs` of the graph for an input in the graph's own layout."""
        values = {name: getattr(self, key) for key, name in self.names.items()}
        values[self.input_name] = graph_input
        own = bool(self.plan.nodes) and graph_input.shape[:1] == (self.plan.nodes[0].batch,)
        self._run(self.as_written if own else self.plan, values, keep=set(outputs))
        return tuple(values[name] for name in outputs)

    def _run(self, plan: Plan, values: dict[str, Tensor], keep: set[str]) -> None:
        for place, node in enumerate(plan.nodes):
            if node.operator == "If":
                results = self._branch(node, values)
            else:
                results = self._call(node, [values[name] if name else None for name in node.inputs])
            values.update(zip(node.outputs, results, strict=False))
            for name in node.inputs:
                if plan.last_use.get(name) == place and name not in keep:
                    values.pop(name, None)

    def _branch(self, node: Node, values: dict[str, Tensor]) -> tuple[Tensor, ...]:
        inner: Plan = node.get("then_branch" if bool(values[node.inputs[0]]) else "else_branch")
        inside = dict(values)
        self._run(inner, inside, keep=set(inner.outputs))
        return tuple(inside[name] for name in inner.outputs)

    def _call(self, node: Node, inputs: list[Tensor | None]) -> tuple[Tensor, ...]:
        devices = {tensor.device for tensor in inputs if tensor is not None}
        if len(devices) > 1:  # shapes and constants are made on the CPU
            device = next(device for device in devices if device.type != "cpu")
            inputs = [None if tensor is None else tensor.to(device) for tensor in inputs]
        try:
            if node.operator == "BatchNormalization":
                result: Result = batch_normalization(node, *inputs, training=self.training and not self.apart)  # type: ignore[arg-type]
            else:
                result = OPERATORS[node.domain, node.operator](node, *inputs)
        except (ValueError, TypeError, AssertionError, IndexError, OverflowError, ZeroDivisionError) as error:
            why = " ".join(str(error).split())[:300]
            why = f"it has {len(inputs)} inputs" if "positional argument" in why and "()" in why else why
            raise ScanError(f"{node} cannot be run: {why}") from None
        except RuntimeError as error:
            if "allocate memory" not in str(error):
                raise
            raise ScanError(f"{node} needs more memory than there is: raise --memory if the file is trusted") from None
        return (result,) if isinstance(result, Tensor) else tuple(result)

    def batch_norms(self) -> list[bool]:
        """One entry a BatchNorm node, whether train mode reaches it."""
        return [self.apart is None for node in self.plan.nodes if node.operator == "BatchNormalization"]


def restore_names(module: OnnxClassifier) -> dict[str, Tensor]:
    """What the module holds now, by the names of the file: parameters, BatchNorm statistics, constants."""
    return {name: getattr(module, key).detach().cpu() for key, name in module.names.items()}
