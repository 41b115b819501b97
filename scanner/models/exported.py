"""torch.export: an ExportedProgram as a module that can be trained."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from ...evidence.artifact import Artifact
from ...evidence.errors import ScanError
from .checkpoint import damaged, refuse_hostile

_TRAINING_ARGUMENT = {torch.ops.aten.batch_norm.default: 5, torch.ops.aten.dropout.default: 2}
_NO_TRAINING = torch.ops.aten._native_batch_norm_legit_no_training.default  # in decomposed programs
_LEGIT = torch.ops.aten._native_batch_norm_legit.default
_BATCH_NORMS = (torch.ops.aten.batch_norm.default, _NO_TRAINING, _LEGIT)


class ExportedClassifier(nn.Module):
    """The graph of an ExportedProgram (`.graph_module`), with a `train()` that works.

    The program's own module refuses train() and eval(), and has the mode it was exported in burnt into every
    BatchNorm and dropout call. Here train(mode) rewrites these calls; a program exported in train mode stays as it
    was, because that is how it would be deployed.
    """

    def __init__(self, graph_module: Any) -> None:
        super().__init__()
        self.graph_module = graph_module
        for node in graph_module.graph.nodes:
            if node.target is _NO_TRAINING:
                node.target, node.args = _LEGIT, (*node.args[:5], False, *node.args[5:])
        self._switches = [
            (node.name, position)
            for node, position in self._modal_nodes()
            if len(node.args) > position and node.args[position] is False
        ]
        self.eval()

    def _modal_nodes(self) -> Iterator[tuple[Any, int]]:
        for node in self.graph_module.graph.nodes:
            position = 5 if node.target is _LEGIT else _TRAINING_ARGUMENT.get(node.target)
            if position is not None:
                yield node, position

    def train(self, mode: bool = True) -> Self:
        """Put BatchNorm and dropout into train or eval mode."""
        self.training = mode
        switches = dict(self._switches)
        changed = False
        for node, position in self._modal_nodes():
            if node.name in switches and node.args[position] is not mode:
                node.update_arg(position, mode)
                changed = True
        if changed:
            self.graph_module.recompile()
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        result = type(self).__new__(type(self))
        memo[id(self)] = result
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own use of what it deprecates
            result.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return result

    def forward(self, pixels: Tensor) -> Any:
        """What the exported program returns."""
        return self.graph_module(pixels)

    def batch_norms(self) -> list[bool]:
        """One entry a BatchNorm call: True where train mode reaches it."""
        names = dict(self._switches)
        nodes = [node for node in self.graph_module.graph.nodes if node.target in _BATCH_NORMS]
        return [node.name in names or node.args[5] is not False for node in nodes]


@contextmanager
def _quiet() -> Iterator[None]:
    """torch.export logs tracebacks of errors that we tell in a sentence."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def load_exported(artifact: Artifact, device: str) -> ExportedClassifier:
    """Load a `.pt2` file in eval mode.

    `torch.export.load` unpickles without restriction and evaluates text out of the file, so the static walk of the
    file check is done once more here, whatever the policy says. Raises ScanError where that objects, where torch
    cannot read the file, or where the program was exported for one batch size.
    """
    refuse_hostile(artifact)
    try:
        with _quiet(), artifact.path.open("rb") as file:
            program = torch.export.load(file)
            if device != "cpu":
                from torch.export.passes import move_to_device_pass

                program = move_to_device_pass(program, device)
            names = set(program.graph_signature.user_inputs)
            inputs = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
            module = ExportedClassifier(program.module())
    except Exception as error:
        raise damaged(artifact, error) from None
    if len(inputs) != 1 or not isinstance(inputs[0].meta.get("val"), Tensor):
        raise ScanError(f"{artifact.path} was exported with {len(inputs)} inputs, a classifier of images has one")
    if isinstance(inputs[0].meta["val"].shape[0], int):
        raise ScanError(
            f"{artifact.path} was exported for batches of exactly {inputs[0].meta['val'].shape[0]}: export it again "
            'with a dynamic batch, `dynamic_shapes=({0: torch.export.Dim("batch")},)`'
        )
    return module
