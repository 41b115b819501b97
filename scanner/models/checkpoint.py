"""Weights as people save them: found in the file, stripped of wrappers' prefixes, fitted to an architecture."""

from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
import pickle
import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ...checks.file_walk import offences
from ...evidence.artifact import Artifact
from ...evidence.errors import ScanError
from .architecture import first_line

if TYPE_CHECKING:
    from torch import Tensor, nn

_KEYS: Final = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params")
# An average over training steps: taken only where there is nothing else, it is not what was trained.
_AVERAGES: Final = ("model_ema", "ema_state_dict", "state_dict_ema", "ema")
_PREFIXES: Final = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
_TOLD: Final = 3


class WholeModule(Exception):
    """The file holds a pickled module, or at least more than weights; the message is torch's first line."""


def _safe_globals() -> list[Any]:
    """Plain values that checkpoints carry beside their weights; none of them runs anything when rebuilt."""
    import numpy as np
    from numpy._core import multiarray

    scalar, reconstruct = multiarray.scalar, multiarray._reconstruct
    found: list[Any] = [
        np.dtype,
        np.ndarray,
        *(getattr(np, name) for name in ("float64", "float32", "float16", "int64", "int32", "uint8", "bool_")),
        *{type(np.dtype(code)) for code in "?bBhHiIlLqQefdFD"},
        argparse.Namespace,
        types.SimpleNamespace,
        collections.defaultdict,
        datetime.datetime,
        datetime.date,
        datetime.timedelta,
        pathlib.PosixPath,
        pathlib.PurePosixPath,
        dict,
        list,
        int,
        float,
        str,
    ]
    for package in ("numpy.core.multiarray", "numpy._core.multiarray"):
        found += [(scalar, f"{package}.scalar"), (reconstruct, f"{package}._reconstruct")]
    import _codecs

    return [*found, _codecs.encode]


def load_weights_only(artifact: Artifact) -> Any:
    """What `torch.save` wrote, as far as it is tensors and plain values; on the CPU, memory-mapped where possible.

    Raises WholeModule where the restricted unpickler refuses, ScanError where the file is damaged.
    """
    import torch

    try:
        with torch.serialization.safe_globals(_safe_globals()):
            return torch.load(
                artifact.path, map_location="cpu", weights_only=True, mmap=artifact.format == "pytorch-zip"
            )
    except pickle.UnpicklingError as error:
        if "nsupported" in str(error) or "GLOBAL" in str(error) or "instruction" in str(error):
            raise WholeModule(first_line(error)) from None
        raise damaged(artifact, error) from None
    except Exception as error:
        raise damaged(artifact, error) from None


def damaged(artifact: Artifact, error: BaseException) -> ScanError:
    """The sentence for a file that the loader does not get through."""
    return ScanError(f"{artifact.path} cannot be loaded ({first_line(error)}): it is damaged, fetch or save it again")


def refuse_hostile(artifact: Artifact) -> None:
    """The file check once more, for formats whose own loaders run code, whatever the policy leaves out.

    Raises ScanError where the check finds anything or the file cannot be read.
    """
    try:
        _, found = offences(artifact.path, artifact.format)
    except OSError as error:
        raise damaged(artifact, error) from None
    if found:
        raise ScanError(f"{artifact.path} must not be loaded: {found[0]}")


def as_tensors(value: object) -> dict[str, Tensor] | None:
    """`value` as a state dict, if it is a table with tensors (or arrays) in it; what is no tensor is left out."""
    import numpy as np
    import torch

    if not isinstance(value, Mapping):
        return None
    result: dict[str, Tensor] = {}
    for name, entry in value.items():
        if isinstance(name, str) and isinstance(entry, torch.Tensor):
            result[name] = entry.detach()
        elif isinstance(name, str) and isinstance(entry, np.ndarray) and entry.dtype.kind in "fiub":
            result[name] = torch.from_numpy(entry)
    return result or None


def weights_path(artifact: Artifact, loaded: object, depth: int = 0) -> tuple[str, ...]:
    """The keys under which the weights are: none at the top of the file. Raises ScanError where there are none."""
    if isinstance(loaded, Mapping):
        for key in (*_KEYS, *_AVERAGES):
            inner = loaded.get(key)
            if isinstance(inner, Mapping) and depth < 3:
                try:
                    return (key, *weights_path(artifact, inner, depth + 1))
                except ScanError:
                    continue
        if as_tensors(loaded):
            return ()
        kinds = ", ".join(str(key) for key in list(loaded)[:6]) or "nothing"
        raise ScanError(f"{artifact.path} holds no weights (it has {kinds}): save `model.state_dict()`")
    raise ScanError(f"{artifact.path} holds a {type(loaded).__name__}, not weights: save `model.state_dict()`")


def find_state_dict(artifact: Artifact, loaded: Any) -> dict[str, Tensor]:
    """The weights at the top of the file or under one of the usual keys. Raises ScanError where there are none."""
    for key in weights_path(artifact, loaded):
        loaded = loaded[key]
    return as_tensors(loaded) or {}


def strip_prefixes(names: list[str], expected: set[str]) -> dict[str, str]:
    """What each name in the file is called without the wrappers' prefixes, as far as that brings it to `expected`."""

    def score(candidate: dict[str, str]) -> int:
        return len(expected.intersection(candidate.values()))

    current = {name: name for name in names if name != "n_averaged"}  # the counter of torch's AveragedModel
    best = current
    compiled = {name: new.replace("_orig_mod.", "") for name, new in current.items()}  # torch.compile, at any depth
    if len(set(compiled.values())) == len(compiled) and score(compiled) > score(best):
        best = compiled
    current = compiled if "_orig_mod." in "".join(names) else current
    for _ in range(6):
        for prefix in _PREFIXES:
            if current and all(new.startswith(prefix) for new in current.values()):
                current = {name: new.removeprefix(prefix) for name, new in current.items()}
                break
        else:
            break
        if score(current) > score(best):
            best = current
    return best


def _told(names: list[str]) -> str:
    rest = len(names) - _TOLD
    return ", ".join(names[:_TOLD]) + (f" and {rest} more" if rest > 0 else "")


def _shape(tensor: Tensor) -> str:
    return f"[{', '.join(map(str, tensor.shape))}]"


def without_architecture(artifact: Artifact, state: Mapping[str, Tensor]) -> ScanError:
    """The sentence for weights that nobody said what they belong to."""
    names = list(state)
    return ScanError(
        f"{artifact.path} holds weights only ({len(names)} tensors, from {names[0]} to {names[-1]}, which is "
        f"{_shape(state[names[-1]])}): pass --architecture, for example --architecture torchvision:resnet18"
    )


def fit(artifact: Artifact, module: nn.Module, state: Mapping[str, Tensor], architecture: str) -> None:
    """Copy the file's weights into `module`, each into its place; casts to the module's dtype.

    Raises ScanError, naming keys and shapes, where anything is missing, left over or of another shape. Only a
    BatchNorm's `num_batches_tracked`, which old checkpoints lack, may be missing.
    """
    import torch

    own = module.state_dict()
    names = strip_prefixes(list(state), set(own))
    renamed = collections.OrderedDict((new, state[old]) for old, new in names.items())
    # The versions of its layers, which only torch.save keeps: without them MNASNet refuses, and others rename keys. All
    # names and shapes are those of today's version. A module with a state_dict() of its own may give none.
    renamed._metadata = getattr(own, "_metadata", None)  # type: ignore[attr-defined]
    shapes = [name for name in renamed if name in own and renamed[name].shape != own[name].shape]
    missing = [name for name in own if name not in renamed and not name.endswith("num_batches_tracked")]
    unexpected = [old for old, new in names.items() if new not in own]
    if shapes:
        name = shapes[-1] if len(shapes) <= 2 else shapes[0]
        theirs, ours, hint = renamed[name], own[name], "is it the right architecture?"
        if theirs.ndim == ours.ndim and theirs.shape[1:] == ours.shape[1:] and len(shapes) <= 2:
            name = next((one for one in shapes if renamed[one].ndim > 1), name)
            theirs, ours = renamed[name], own[name]
            hint = f"pass --arch-arg num_classes={theirs.shape[0]}?"
        elif theirs.ndim == 4 and theirs.shape[:2] == ours.shape[:2]:
            hint = "the file's model has another first layer, as variants for small images have: name the file it is in"
        more = f", and {len(shapes) - 1} more differ" if len(shapes) > 1 else ""
        raise ScanError(
            f"{artifact.path}: {name} is {_shape(theirs)} in the file, {_shape(ours)} in {architecture}{more}: {hint}"
        )
    if missing or unexpected:
        parts = [f"misses {_told(missing)} ({len(missing)} of {len(own)})"] if missing else []
        parts += [f"has {_told(unexpected)}, which {architecture} does not ({len(unexpected)})"] if unexpected else []
        raise ScanError(f"{artifact.path} does not fit {architecture}: it {' and '.join(parts)}: check --architecture")
    try:
        with torch.no_grad():
            module.load_state_dict(renamed, strict=False)
    except Exception as error:
        raise ScanError(f"{artifact.path} does not fit {architecture} ({first_line(error)})") from None
