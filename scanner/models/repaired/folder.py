"""A Hugging Face folder with other weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ....checks.folder_files import weight_files, weights_format
from ....checks.text import shown
from ....evidence.artifact import Artifact
from ....evidence.errors import ScanError
from ..checkpoint import load_weights_only
from ..huggingface import ATTENTION, read_weights, sentence
from .checkpoint_file import save_table
from .copies import Copies
from .folder_copy import copy_others, inside, leads_out
from .safetensors_bytes import patch
from .tensors import Changes, changes, check_written, holds
from .written import Written

if TYPE_CHECKING:
    from torch import Tensor

    from ....evidence.classifier import Classifier


def write_folder(artifact: Artifact, original: Classifier, repaired: Classifier, staging: Path) -> Written:
    """Write the folder with the weights in the same files, and what loading needs beside them. Raises ScanError."""
    folder = artifact.path
    files = weight_files(folder)
    for name in files:
        if not inside(folder, folder / name):
            raise leads_out(folder / name)
    shards = {name: read_weights(folder / name, artifact.files.get(name, "")) for name in files}
    stored = {name: tensor for shard in shards.values() for name, tensor in shard.items()}
    names = _names(artifact, stored, original)
    _check_rest(artifact, stored, names)
    new = changes(artifact, stored, original, repaired, names)
    staging.mkdir()
    notes = copy_others(artifact, files, staging)
    for name, shard in shards.items():
        own = Changes({key: new.tensors[key] for key in shard if key in new.tensors}, len(shard), ())
        if weights_format(folder / name) == "safetensors":
            patch(folder / name, artifact.files.get(name, ""), staging / name, own.tensors)
        else:
            notes += _rewrite(folder / name, artifact, shard, own, names, staging / name)
        check_written(artifact, shard, own, read_weights(staging / name, ""))
    return new.written.and_notes(*_left_alone(stored, names), *notes)


def _rewrite(
    path: Path, artifact: Artifact, shard: Mapping[str, Tensor], own: Changes, names: Mapping[str, str], place: Path
) -> list[str]:
    part = Artifact(
        path=path, format=weights_format(path) or "unknown", sha256=artifact.files.get(path.name, ""), size=0
    )
    return save_table(part, load_weights_only(part), (), shard, own, names, place)


def _names(artifact: Artifact, stored: Mapping[str, Tensor], original: Classifier) -> dict[str, str]:
    """What the module calls the tensors of the file: transformers renames some while it loads.

    Seen by loading once more, with a number of its own all over each tensor. Tensors that it puts together are left
    out.
    """
    module: Any = original.module
    kinds = (torch.float32, torch.int64)
    marked = {
        name: torch.tensor(mark, dtype=torch.float32 if tensor.is_floating_point() else tensor.dtype).expand(
            tensor.shape
        )
        for mark, (name, tensor) in enumerate(stored.items(), 1)
        if tensor.is_floating_point() or tensor.dtype in kinds
    }
    with sentence(artifact.path, "transformers does not load the model once more"):
        loaded = type(module).from_pretrained(
            None,
            config=copy.deepcopy(module.config),
            state_dict=marked,
            attn_implementation=ATTENTION,
            dtype=torch.float32,
        )
    places: dict[int, str] = {}
    for own, tensor in loaded.state_dict().items():
        if tensor.numel() and bool((tensor == (mark := tensor.flatten()[0])).all()):
            places.setdefault(int(mark), own)
    before = module.state_dict()
    names = {name: places[mark] for mark, name in enumerate(stored, 1) if mark in places}
    names = {name: own for name, own in names.items() if own in before and holds(stored[name], before[own])}
    # Tied tensors, of which the file holds each.
    names |= {n: n for n in stored if n not in names and n in before and holds(stored[n], before[n])}
    return names


def _rest(stored: Mapping[str, Tensor], names: Mapping[str, str]) -> list[str]:
    return [name for name in stored if name not in names]


def _check_rest(artifact: Artifact, stored: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    """Raises ScanError where tensors that the model does not read are a copy of its weights."""
    rest = _rest(stored, names)
    finder = Copies({own: stored[name] for name, own in names.items()})
    finder.storages.clear()
    copy = [name for name in rest if finder.inside(stored[name])]
    if copy or finder.inside({name: stored[name] for name in rest}):
        raise ScanError(
            f"{artifact.path} holds another copy of the weights, which the model does not read "
            f"({shown((copy or rest)[0])}) and which would not be repaired: load it, save it again with "
            "`save_pretrained`, and repair that"
        )


def _left_alone(stored: Mapping[str, Tensor], names: Mapping[str, str]) -> list[str]:
    rest = _rest(stored, names)
    if not rest:
        return []
    return [f"Left as they were: {len(rest)} tensors that the model does not read, {shown(rest[0])} first."]
