"""A Hugging Face folder with other weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ....checks.folder_files import weight_files, weights_format
from ....checks.text import shown
from ....evidence.artifact import Artifact
from ....evidence.errors import ScanError
from ..checkpoint import load_weights_only
from ..huggingface import read_weights
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
    names = _names(stored, original)
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


def _names(stored: Mapping[str, Tensor], original: Classifier) -> dict[str, str]:
    """What the module calls the tensors of the file: transformers renames some while it loads.

    Only where the numbers are the same. A tensor that is under no likely name is the only one with its numbers.
    """
    own = original.module.state_dict()
    prefix = str(getattr(original.module, "base_model_prefix", ""))
    names: dict[str, str] = {}
    for name, tensor in stored.items():
        for candidate in _candidates(name, prefix):
            if candidate in own and holds(tensor, own[candidate]):
                names[name] = candidate
                break
    taken = set(names.values())
    free = {name: tensor for name, tensor in own.items() if name not in taken and tensor.unique().numel() > 1}
    for name in stored.keys() - names.keys():
        found = [other for other, tensor in free.items() if holds(stored[name], tensor)]
        if len(found) == 1:
            names[name] = found[0]
            del free[found[0]]
    return names


def _candidates(name: str, prefix: str) -> Iterator[str]:
    for old in dict.fromkeys((name, name.replace("gamma", "weight").replace("beta", "bias"))):
        yield old
        if prefix:
            yield f"{prefix}.{old}"
            yield old.removeprefix(f"{prefix}.")


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
