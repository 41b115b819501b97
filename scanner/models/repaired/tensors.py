"""Which stored tensors change, and into what: shared by all formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ....checks.text import shown
from ....evidence.artifact import Artifact
from ....evidence.errors import ScanError
from .written import Written

if TYPE_CHECKING:
    from torch import Tensor

    from ....evidence.classifier import Classifier

_COUNTER = "num_batches_tracked"  # of BatchNorm: old files lack it, and eval mode does not read it


@dataclass(frozen=True)
class Changes:
    """What stored tensors become: `tensors` by their names in the file, of the type and shape that is stored."""

    tensors: Mapping[str, Tensor]
    total: int
    notes: tuple[str, ...]

    @property
    def written(self) -> Written:
        """The count."""
        return Written(len(self.tensors), self.total, self.notes)


def bytes_of(tensor: Tensor) -> Tensor:
    """The bytes of a tensor in order, uint8 [number of bytes]: what is compared and written, whatever the type."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def same_bytes(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are stored alike."""
    return one.dtype == other.dtype and one.shape == other.shape and bool(bytes_of(one).equal(bytes_of(other)))


def holds(stored: Tensor, loaded: Tensor) -> bool:
    """Whether `loaded`, a tensor of the module, is what `stored` becomes when it is loaded."""
    return stored.shape == loaded.shape and bool(stored.detach().cpu().to(loaded.dtype).equal(loaded.detach().cpu()))


def changed_names(artifact: Artifact, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[str]:
    """Names of the module's tensors that the repair has changed.

    Raises:
        ScanError: it has added or taken away tensors, or some are no numbers any more.
    """
    odd = sorted(before.keys() ^ after.keys())
    odd += [name for name in before if name in after and before[name].shape != after[name].shape]
    if odd:
        raise ScanError(
            f"{artifact.path} cannot take the repaired network, which has other tensors than it (first {odd[0]}): only "
            "other numbers for what is there can be written"
        )
    changed = [name for name in before if not same_bytes(before[name], after[name])]
    broken = [name for name in changed if not bool(torch.isfinite(after[name]).all())]
    if broken:
        raise ScanError(f"{artifact.path}: the repaired network has NaN or infinity in {broken[0]}: nothing is written")
    return changed


def changes(
    artifact: Artifact,
    stored: Mapping[str, Tensor],
    original: Classifier,
    repaired: Classifier,
    names: Mapping[str, str],
) -> Changes:
    """What the tensors of the file become; `names` maps the file's names to those of the module.

    Raises:
        ScanError: the file is not what `original` was loaded from, has no place for what changed, or a type that the
            new numbers do not fit.
    """
    before, after = original.module.state_dict(), repaired.module.state_dict()
    changed = changed_names(artifact, before, after)
    places = {name: own for name, own in names.items() if own in before}
    other = [name for name, own in places.items() if not holds(stored[name], before[own])]
    if other:
        raise ScanError(
            f"{artifact.path} does not hold the model that was repaired ({shown(other[0])} differs): was it changed "
            "since it was loaded?"
        )
    _check_places(artifact, changed, set(places.values()), before, after)
    moved = set(changed)
    tensors = {
        name: stored_as(artifact, name, after[own], stored[name]) for name, own in places.items() if own in moved
    }
    kept = {name: tensor for name, tensor in tensors.items() if not same_bytes(tensor, stored[name])}
    return Changes(kept, len(places), tuple(_rounding(tensors, kept, after, places)))


def _check_places(
    artifact: Artifact,
    changed: list[str],
    placed: set[str],
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
) -> None:
    tied = {before[name].data_ptr(): name for name in placed}
    for name in changed:
        twin = tied.get(before[name].data_ptr())
        stored_once = twin is not None and same_bytes(after[name], after[twin])
        if name not in placed and not stored_once and not name.endswith(_COUNTER):
            raise ScanError(
                f"{artifact.path} has no tensor of its own for {shown(name)} of the network, which the repair changed: "
                "save the model again with the versions of the libraries that are installed here, and repair that"
            )


def stored_as(artifact: Artifact, name: str, tensor: Tensor, stored: Tensor) -> Tensor:
    """`tensor` in the type and memory layout of `stored`, on the CPU. Raises ScanError where that cannot hold it."""
    if tensor.is_floating_point() and not stored.is_floating_point():
        kind = str(stored.dtype).removeprefix("torch.")
        raise ScanError(f"{artifact.path} stores {shown(name)} as {kind}: save the model in a float type, repair that")
    with torch.no_grad():
        result = torch.empty_like(stored.detach(), device="cpu").copy_(tensor)
    if result.is_floating_point() and not bool(torch.isfinite(result.float()).all()):
        kind = str(stored.dtype).removeprefix("torch.")
        raise ScanError(
            f"{artifact.path} stores {shown(name)} as {kind}, in which a repaired number is too large: save the model "
            "in float32, and repair that"
        )
    return result


def _rounding(
    tensors: Mapping[str, Tensor], kept: Mapping[str, Tensor], after: Mapping[str, Tensor], places: Mapping[str, str]
) -> list[str]:
    coarse = {str(t.dtype).removeprefix("torch.") for n, t in tensors.items() if t.itemsize < after[places[n]].itemsize}
    notes = [f"Repaired numbers are rounded to {', '.join(sorted(coarse))}, as they are stored."] if coarse else []
    if lost := len(tensors) - len(kept):
        notes.append(f"In {lost} tensors the change is smaller than what their type can store.")
    return notes


def check_written(artifact: Artifact, stored: Mapping[str, Tensor], new: Changes, read: Mapping[str, Tensor]) -> None:
    """Hold what was read again from the written file against what should be in it. Raises ScanError."""
    wrong = sorted(stored.keys() ^ read.keys())
    wrong += [n for n in stored if n in read and not same_bytes(new.tensors.get(n, stored[n]), read[n])]
    if wrong:
        raise ScanError(
            f"{artifact.path}: what was written is not the repaired model (first {shown(wrong[0])}): nothing is "
            "published, check the disk"
        )
