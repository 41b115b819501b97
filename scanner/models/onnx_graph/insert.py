"""BatchNorm put back where an exporter folded it into the convolutions: exposure lives on batch statistics."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .module import OnnxClassifier
from .node import Node
from .plan import Plan, reads

_NORMALISATIONS = {
    "BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization",
    "SimplifiedLayerNormalization", "LpNormalization",
}  # fmt: skip
_WRITTEN_OUT = {"ReduceMean", "Sqrt"}  # LayerNorm up to opset 16
_EPSILON = 1e-5
_SILENT = 1e-3  # of the median spread
_BATCH = 64


def lacks_normalisation(plan: Plan) -> bool:
    """Whether the graph has convolutions and nothing that normalises what they make."""
    operators = {node.operator for node in plan.nodes}
    return "Conv" in operators and not operators & _NORMALISATIONS and not operators >= _WRITTEN_OUT


@torch.no_grad()
def _statistics(module: OnnxClassifier, inputs: Tensor, outputs: tuple[str, ...]) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance [C] of each of the tensors `outputs` [N, C, ...] over all samples."""
    totals: dict[str, tuple[Tensor, Tensor, int]] = {}
    for batch in inputs.split(_BATCH):
        for name, values in zip(outputs, module.run(module.graph_input(batch), outputs), strict=True):
            rows = values.transpose(0, 1).flatten(1).double()
            total, square, count = totals.get(name, (torch.zeros(()), torch.zeros(()), 0))
            totals[name] = (total + rows.sum(1).cpu(), square + rows.square().sum(1).cpu(), count + rows.shape[1])
    return {
        name: ((total / count).float(), (square / count - (total / count).square()).clamp(min=0).float())
        for name, (total, square, count) in totals.items()
    }


def _evened(scale: Tensor) -> Tensor:
    """Scales [C] halfway, as exponents go, to the layer's median; channels that are silent on clean samples stay so."""
    live = scale > _SILENT * scale.median() + _EPSILON**0.5
    return torch.where(live, (scale * scale[live].median()).sqrt(), scale)


def insert_batch_norm(module: OnnxClassifier, inputs: Tensor, *, even: bool = False) -> OnnxClassifier:
    """A new module with BatchNorm after each convolution that has a bias.

    `inputs` [N, channels, H, W] are clean samples as the module takes them. Means and variances of the new layers are
    those that the convolutions give on them, scale and shift undo them exactly: only in train mode, where the batch's
    own statistics take their place, is there a difference to the module that is given, which stays as it is.

    With `even` channels that are quiet on clean samples are made louder, and loud ones quieter, and the scores change.
    A channel that answers to a trigger is quiet on clean samples. The BatchNorm that was folded had seen the poisoned
    training set, and in train mode, on clean batches, it made such channels louder by what their spread had been more
    there; that number is lost, and this stands in for it.
    """
    device = next(module.parameters()).device
    places = [node for node in module.plan.nodes if node.operator == "Conv" and len(node.inputs) > 2]
    seen = _statistics(module, inputs.to(device), tuple(node.outputs[0] for node in places))
    tensors = {name: getattr(module, key).detach().cpu() for key, name in module.names.items()}
    nodes: list[Node] = []
    for node in module.plan.nodes:
        if not (node.operator == "Conv" and node.outputs[0] in seen):
            nodes.append(node)
            continue
        output = node.outputs[0]
        mean, variance = seen[output]
        own = {f"{output}/{part}": part for part in ("scale", "shift", "mean", "variance")}
        scale = (variance + _EPSILON).sqrt()
        values = {"scale": _evened(scale) if even else scale, "shift": mean, "mean": mean, "variance": variance}
        tensors |= {name: values[part].clone() for name, part in own.items()}
        nodes.append(replace(node, outputs=(f"{output}/before",)))
        nodes.append(
            Node("BatchNormalization", f"{node.name}/inserted", (f"{output}/before", *own), (output,),
                 {"epsilon": _EPSILON}, node.opset)
        )  # fmt: skip
    last = {name: place for place, node in enumerate(nodes) for name in reads(node)}
    made = {name for node in nodes for name in node.outputs}
    outputs = module.plan.outputs
    uses = {name: place for name, place in last.items() if name in made and name not in outputs}
    plan = Plan(tuple(nodes), tensors, outputs, uses)
    return OnnxClassifier(plan, module.input_name, module.layout).eval().to(device)
