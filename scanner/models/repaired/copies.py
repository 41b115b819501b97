"""Other copies of the weights in the same file: averages over training, teachers, masters in float32.

They still hold what the repair took out of the weights, and whoever loads them gets it back.
"""

from __future__ import annotations

import argparse
import types
from collections import Counter
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from ....checks.text import shown
from ..checkpoint import as_tensors, strip_prefixes

if TYPE_CHECKING:
    from torch import Tensor

_SHARE: Final = 0.5  # of the weights: a table or a list with so many of their shapes is taken for a copy
_ALIKE: Final = 0.5  # cosine, of a tensor that is taken for a copy of one weight; an average over training has 0.9
_SMALLEST: Final = 64  # numbers; below that likeness says little
_MAX_PARTS: Final = 1_000_000
_TOLD: Final = 12


class Copies:
    """Finds copies of `weights`, the stored tensors by the module's names, in what lies beside them."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = {name: tensor for name, tensor in weights.items() if tensor.is_floating_point()}
        self.shapes = Counter(tensor.shape for tensor in self.weights.values())
        self.numbers = sum(tensor.numel() for tensor in self.weights.values())
        self.storages = {tensor.untyped_storage().data_ptr() for tensor in self.weights.values() if tensor.numel()}

    def inside(self, value: object) -> bool:
        """Whether there is a copy anywhere in `value`, or more than can be looked at."""
        waiting, seen = [value], set[int]()
        while waiting:
            part = waiting.pop()
            if id(part) in seen:
                continue
            seen.add(id(part))
            if len(seen) > _MAX_PARTS:
                return True
            if isinstance(part, np.ndarray) and part.dtype.kind == "f":
                part = torch.from_numpy(part)
            if isinstance(part, torch.Tensor):
                if self._one(part):
                    return True
            elif isinstance(part, Mapping):
                if self._table(part):
                    return True
                waiting += part.values()
            elif isinstance(part, Sequence | set | frozenset) and not isinstance(part, str | bytes | bytearray):
                if self._list(part):
                    return True
                waiting += part
            elif isinstance(part, argparse.Namespace | types.SimpleNamespace):
                waiting.append(vars(part))
            elif isinstance(part, np.ndarray) and part.dtype.kind == "O":
                waiting += part.reshape(-1).tolist()
        return False

    def _table(self, part: Mapping[Any, Any]) -> bool:
        tensors = as_tensors(part) or {}
        names = strip_prefixes(list(tensors), set(self.weights))
        alike = [
            own
            for name, own in names.items()
            if own in self.weights
            and tensors[name].is_floating_point()
            and tensors[name].shape == self.weights[own].shape
        ]
        return bool(alike) and len(alike) >= _SHARE * len(self.weights)

    def _list(self, part: Any) -> bool:
        shapes = Counter(one.shape for one in part if isinstance(one, torch.Tensor) and one.is_floating_point())
        alike = (shapes & self.shapes).total()
        return alike > 1 and alike >= _SHARE * len(self.weights)

    def _one(self, tensor: Tensor) -> bool:
        if not tensor.is_floating_point() or not tensor.numel():
            return False
        if tensor.untyped_storage().data_ptr() in self.storages:  # it would bring all of the old numbers along
            return True
        if tensor.ndim == 1:
            return self.numbers > _SMALLEST and len(tensor) >= _SHARE * self.numbers  # all in one row
        if tensor.numel() < _SMALLEST:
            return False
        return any(_cosine(tensor, own) >= _ALIKE for own in self.weights.values() if own.shape == tensor.shape)


def _cosine(one: Tensor, other: Tensor) -> float:
    first, second = one.detach().flatten().double(), other.detach().flatten().double()
    norms = float(first.norm() * second.norm())
    return float(first @ second) / norms if norms > 0 else 0.0


def drop_copies(loaded: MutableMapping[Any, Any], path: tuple[str, ...], weights: Mapping[str, Tensor]) -> list[str]:
    """Take copies of the weights out of what a file holds, in place; `path` leads to the table with the weights.

    What lies beside the table, at each level, goes or stays as a whole: half an optimizer state is of no use. Returns
    notes.
    """
    finder = Copies(weights)
    dropped: list[str] = []
    kept: list[str] = []
    optimizer = False
    level = loaded
    for depth in range(len(path) + 1):
        for key in list(level):
            at_end = depth == len(path)
            if at_end and isinstance(level[key], torch.Tensor | np.ndarray):
                continue
            if not at_end and key == path[depth]:
                continue
            told = shown(".".join((*path[:depth], str(key))))
            if finder.inside(level[key]):
                del level[key]
                dropped.append(told)
            else:
                optimizer |= "optim" in str(key).lower() or _is_optimizer(level[key])
                kept.append(told)
        if depth < len(path):
            level = level[path[depth]]
    notes = []
    if dropped:
        notes.append(f"Dropped, since it holds, or may hold, the weights before the repair: {_list(dropped)}.")
    if kept:
        notes.append(f"Kept beside the weights as it was: {_list(kept)}.")
    if optimizer:
        notes.append("The optimizer's state belongs to the weights before the repair: do not resume training from it.")
    return notes


def _is_optimizer(value: object) -> bool:
    return isinstance(value, Mapping) and {"state", "param_groups"} <= value.keys()


def _list(names: list[str]) -> str:
    rest = len(names) - _TOLD
    return ", ".join(names[:_TOLD]) + (f" and {rest} more" if rest > 0 else "")
