"""TorchScript: traced and scripted modules, made trainable and copyable."""

from __future__ import annotations

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn

from ...evidence.artifact import Artifact
from .checkpoint import damaged, refuse_hostile

_TRAINING_ARGUMENT = (("aten::batch_norm", 5), ("aten::dropout", 2))


class ScriptClassifier(nn.Module):
    """A TorchScript module (`.script`) that can be deep copied and put into train mode.

    `copy.deepcopy` of a ScriptModule gives parameters that are no leaves: gradients flow to the original's, and
    optimizers refuse them. Here the copy has leaves of its own. A trace made in eval mode has "not training" burnt
    into every BatchNorm and dropout call; `thaw` ties those calls to the module's train mode again.
    """

    def __init__(self, script: Any) -> None:
        super().__init__()
        self.script = script

    def forward(self, pixels: Tensor) -> Any:
        """What the TorchScript module returns."""
        return self.script(pixels)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        with torch.no_grad():
            script = copy.deepcopy(self.script, memo)
        for mine, theirs in zip(script.parameters(), self.script.parameters(), strict=True):
            mine.requires_grad_(theirs.requires_grad)
        result = type(self)(script)
        result.training = self.training
        for hook in self._forward_hooks.values():
            result.register_forward_hook(hook)
        memo[id(self)] = result
        return result

    def thaw(self) -> None:
        """Replace each constant "not training" by the train mode of the submodule whose code it is in."""
        for module in self.script.modules():
            if hasattr(module, "training"):
                for method in module._c._method_names():  # containers have no forward, some modules have more
                    self._thaw_graph(module._c._get_method(method).graph)

    @staticmethod
    def _thaw_graph(graph: Any) -> None:
        owner = next(graph.inputs())
        for kind, position in _TRAINING_ARGUMENT:
            for node in graph.findAllNodes(kind, recurse=True):
                if list(node.inputs())[position].toIValue() is False:
                    mode = graph.create("prim::GetAttr", [owner], 1)
                    mode.s_("name", "training")
                    mode.output().setType(torch._C.BoolType.get())
                    mode.insertBefore(node)
                    node.replaceInput(position, mode.output())

    def batch_norms(self) -> list[bool]:
        """One entry a BatchNorm call: True where train mode reaches it."""
        graph = self.script.inlined_graph  # held on to: the nodes are gone with it
        nodes = graph.findAllNodes("aten::batch_norm", recurse=True)
        return [list(node.inputs())[5].toIValue() is not False for node in nodes]


def load_script(artifact: Artifact) -> ScriptClassifier:
    """Load a TorchScript file on the CPU, in eval mode, thawed. Raises ScanError if torch cannot read it."""
    refuse_hostile(artifact)
    try:
        loaded = torch.jit.load(str(artifact.path), map_location="cpu")
        module = ScriptClassifier(loaded)
        module.eval()
        module.thaw()
    except Exception as error:
        raise damaged(artifact, error) from None
    return module
