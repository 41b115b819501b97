"""Class scores, whatever a model wraps them in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...evidence.errors import ScanError


def scores_of(output: Any) -> Tensor:
    """The scores [N, C] in a model's output: a tensor, something with `logits`, or the only [N, C] tensor of several.

    Raises ScanError where that is ambiguous.
    """
    if isinstance(output, Tensor):
        return output
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    entries = list(output.values()) if isinstance(output, Mapping) else output
    if isinstance(entries, list | tuple):
        matrices = [entry for entry in entries if isinstance(entry, Tensor) and entry.ndim == 2]
        if len(matrices) == 1:
            return matrices[0]
        shapes = ", ".join(str(list(e.shape)) if isinstance(e, Tensor) else type(e).__name__ for e in entries[:4])
        raise ScanError(
            f"the model returns a {type(output).__name__} of {shapes}, and which are the class scores is not clear: "
            "wrap it so that it returns the scores only"
        )
    raise ScanError(f"the model returns a {type(output).__name__}, not a tensor of class scores: is it a classifier?")


def _hook(module: nn.Module, args: Any, output: Any) -> Tensor | None:
    return None if isinstance(output, Tensor) else scores_of(output)


def return_scores(module: nn.Module) -> nn.Module:
    """Make `module` return its scores alone, also in train mode, where GoogLeNet and Inception return more.

    A forward hook, so that deep copies keep it and the names in `state_dict()` stay what they are in the file.
    """
    module.register_forward_hook(_hook)
    return module
