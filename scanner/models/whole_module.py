"""A pickled nn.Module: taken only where the user said so."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ...checks.file_walk import offences
from ...evidence.artifact import Artifact
from ...evidence.errors import ScanError
from .arch_args import parse_architecture, trusted_modules
from .architecture import first_line, import_spec


def refusal(artifact: Artifact, reason: str) -> ScanError:
    """The sentence for a whole module without --allow-pickle."""
    return ScanError(
        f"{artifact.path} holds more than weights ({reason}): load it where it was made and save "
        "`model.state_dict()` with safetensors, or pass --allow-pickle if you trust where it comes from"
    )


def load_whole_module(artifact: Artifact, architecture: str | None) -> nn.Module:
    """Unpickle a module whose classes are torch.nn's, torchvision's or from the module that --architecture names.

    Call it only where the user passed --allow-pickle. Raises ScanError where the file asks for anything else,
    cannot be unpickled, or holds no module.
    """
    try:
        _, found = offences(
            artifact.path, artifact.format, allow_pickle=True, trusted_modules=trusted_modules(architecture)
        )
    except OSError as error:
        raise ScanError(f"{artifact.path} cannot be read ({error.strerror})") from None
    if found:
        raise ScanError(
            f"{artifact.path} must not be loaded: {found[0]}; name the module that defines the model's classes with "
            "--architecture, or save `model.state_dict()` with safetensors"
        )
    try:
        from ..torchvision_compat import import_torchvision

        import_torchvision()
    except ModuleNotFoundError:
        pass
    try:
        spec = parse_architecture(architecture) if architecture else None
        if spec and spec.kind in ("module", "file"):
            import_spec(spec)
        loaded = torch.load(artifact.path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise ScanError(
            f"{artifact.path} cannot be unpickled ({first_line(error)}): its classes have to be importable here, "
            "or save `model.state_dict()` with safetensors"
        ) from None
    candidates = [loaded, *(loaded.values() if isinstance(loaded, Mapping) else ())]
    modules = [candidate for candidate in candidates if isinstance(candidate, nn.Module)]
    if len(modules) != 1:
        what = f"{len(modules)} modules" if modules else f"a {type(loaded).__name__} without a module"
        raise ScanError(f"{artifact.path} holds {what}: save `model.state_dict()` of the one to scan")
    return modules[0]
