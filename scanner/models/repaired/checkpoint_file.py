"""What torch.save wrote: the same structure with other numbers."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ....evidence.artifact import Artifact
from ....evidence.errors import ScanError
from ..checkpoint import find_state_dict, load_weights_only, strip_prefixes, weights_path
from ..safetensors_file import load_tensors
from .copies import drop_copies
from .safetensors_bytes import patch
from .tensors import Changes, changes, check_written, same_bytes
from .written import Written

if TYPE_CHECKING:
    from torch import Tensor

    from ....evidence.classifier import Classifier


def write_checkpoint(artifact: Artifact, original: Classifier, repaired: Classifier, staging: Path) -> Written:
    """Write a state dict, alone or among other things. Raises ScanError."""
    loaded = load_weights_only(artifact)
    path = weights_path(artifact, loaded)
    stored = find_state_dict(artifact, loaded)
    names = strip_prefixes(list(stored), set(original.module.state_dict()))
    new = changes(artifact, stored, original, repaired, names)
    notes = save_table(artifact, loaded, path, stored, new, names, staging)
    written = Artifact(path=staging, format=artifact.format, sha256="", size=0)
    check_written(artifact, stored, new, find_state_dict(written, load_weights_only(written)))
    return new.written.and_notes(*notes)


def save_table(
    artifact: Artifact,
    loaded: Any,
    path: tuple[str, ...],
    stored: Mapping[str, Tensor],
    new: Changes,
    names: Mapping[str, str],
    place: Path,
) -> list[str]:
    """Save `loaded`, in which the weights are under `path`, without copies of them; returns notes.

    `stored` are the weights, `names` says what the module calls them. Raises ScanError where it cannot be written.
    """
    notes = drop_copies(loaded, path, {names.get(name, name): tensor for name, tensor in stored.items()})
    table = loaded
    for key in path:
        table = table[key]
    _replace(table, stored, new)
    try:
        torch.save(loaded, place, _use_new_zipfile_serialization=artifact.format == "pytorch-zip")
    except (OSError, RuntimeError) as error:  # torch's writer has no OSError for a full disk
        raise ScanError(f"{place} cannot be written: {' '.join(str(error).split())[:300]}") from None
    return notes


def _replace(table: MutableMapping[str, Any], stored: Mapping[str, Tensor], new: Changes) -> None:
    """Put the new tensors in, each as the old one was: a parameter, an array, the same object as another."""
    old_storages = {stored[name].untyped_storage().data_ptr() for name in new.tensors}
    shared: dict[tuple[Any, ...], Tensor] = {}
    for name, old in stored.items():
        if name in new.tensors:
            key = (old.data_ptr(), old.shape, old.stride(), old.dtype)
            tensor = shared.setdefault(key, new.tensors[name])
            if not same_bytes(tensor, new.tensors[name]):
                tensor = new.tensors[name]
        elif old.numel() and old.untyped_storage().data_ptr() in old_storages:
            tensor = old.clone()  # a view would be saved with all of the old numbers
        else:
            continue
        table[name] = like(tensor, table[name])


def like(tensor: Tensor, old: Any) -> Any:
    """`tensor` as the kind of object that `old` is."""
    if isinstance(old, np.ndarray):
        return tensor.numpy().astype(old.dtype, copy=False)
    if isinstance(old, torch.nn.Parameter):
        return torch.nn.Parameter(tensor, requires_grad=old.requires_grad)
    return tensor.requires_grad_(old.requires_grad) if old.requires_grad else tensor


def write_tensors(artifact: Artifact, original: Classifier, repaired: Classifier, staging: Path) -> Written:
    """Write a safetensors file. Raises ScanError."""
    stored = load_tensors(artifact)
    names = strip_prefixes(list(stored), set(original.module.state_dict()))
    new = changes(artifact, stored, original, repaired, names)
    patch(artifact.path, artifact.sha256, staging, new.tensors)
    written = artifact.model_copy(update={"path": staging})
    check_written(artifact, stored, new, load_tensors(written))
    return new.written
