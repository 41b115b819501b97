"""TorchScript, torch.export and ONNX: the same graph with other numbers."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from ....checks.text import shown
from ....evidence.artifact import Artifact
from ....evidence.errors import ScanError
from ....evidence.tokens import Tokens
from ..architecture import first_line
from ..checkpoint import damaged, refuse_hostile
from ..exported import ExportedClassifier, _quiet
from ..onnx_graph.module import OnnxClassifier
from ..torchscript import ScriptClassifier
from .checkpoint_file import like
from .tensors import changes, check_written, same_bytes
from .written import Written

if TYPE_CHECKING:
    from torch import Tensor

    from ....evidence.classifier import Classifier

_PROVED: Final = 32  # samples that an ONNX file is tried on
_MAX_EXTRA: Final = 64 << 20  # bytes of a file that somebody packed into a TorchScript archive


def write_script(artifact: Artifact, original: Classifier, repaired: Classifier, staging: Path) -> Written:
    """Load the file once more, as it is, copy the numbers into it, and save that. Raises ScanError."""
    refuse_hostile(artifact)
    extra = _extra_files(artifact.path)
    try:
        fresh = torch.jit.load(str(artifact.path), map_location="cpu")
    except Exception as error:
        raise damaged(artifact, error) from None
    stored = dict(fresh.state_dict())
    new = changes(artifact, stored, original, repaired, {name: f"script.{name}" for name in stored})
    before = {name: tensor.detach().clone() for name, tensor in stored.items()}
    with torch.no_grad():
        for name, tensor in new.tensors.items():
            stored[name].copy_(tensor)
    try:
        torch.jit.save(fresh, str(staging), _extra_files=extra)
        read = torch.jit.load(str(staging), map_location="cpu").state_dict()
    except Exception as error:
        raise _unwritable(staging, error) from None
    check_written(artifact, before, new, read)
    return new.written


def write_exported(artifact: Artifact, original: Classifier, repaired: Classifier, staging: Path) -> Written:
    """The same of a torch.export archive. Raises ScanError."""
    refuse_hostile(artifact)
    extra: dict[str, Any] = {"": ""}  # filled, unless it is empty
    try:
        with _quiet(), artifact.path.open("rb") as file:
            program = torch.export.load(file, extra_files=extra)
    except Exception as error:
        raise damaged(artifact, error) from None
    del extra[""]
    stored = dict(program.state_dict)
    new = changes(artifact, stored, original, repaired, {name: f"graph_module.{name}" for name in stored})
    for name, tensor in new.tensors.items():  # not into the old ones: tensors that were tied may differ now
        program.state_dict[name] = like(tensor, stored[name])
    try:
        with _quiet():
            with staging.open("xb") as stream:
                torch.export.save(program, stream, extra_files=extra)
            with staging.open("rb") as stream:
                read = torch.export.load(stream).state_dict
    except Exception as error:
        raise _unwritable(staging, error) from None
    check_written(artifact, stored, new, read)
    return new.written.and_notes(*_other_programs(artifact.path))


def _other_programs(path: Path) -> list[str]:
    """Notes on what torch.export.load does not read of an archive."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    compiled = any("/aotinductor/" in name for name in names)
    if not compiled and sum("/models/" in name and name.endswith(".json") for name in names) < 2:
        return []
    return ["Dropped: the archive's other programs and compiled code, which hold the weights before the repair."]


def _unwritable(place: Path, error: BaseException) -> ScanError:
    return ScanError(
        f"{place.name} cannot be written by torch ({first_line(error)}): save `model.state_dict()` of the model "
        "before it became a graph, and repair that with --architecture"
    )


def _extra_files(path: Path) -> dict[str, Any]:
    """What somebody has packed into a TorchScript archive beside the model, by name."""
    found: dict[str, Any] = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            _, _, name = entry.filename.partition("/")
            if name.startswith("extra/"):
                if entry.file_size > _MAX_EXTRA:
                    raise ScanError(f"{path} has a file of its own in it ({shown(name)}) that is too large: remove it")
                found[name.removeprefix("extra/")] = archive.read(entry)
    return found


def for_phones(path: Path) -> bool:
    """Whether a TorchScript file holds the code of the lite interpreter too, which torch.jit.save does not write."""
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/bytecode.pkl") for name in archive.namelist())


def write_graph(
    artifact: Artifact, original: Classifier, repaired: Classifier, staging: Path, samples: Tensor | Tokens | None
) -> Written:
    """Write an ONNX file, with its weights beside it where they were, and run it on `samples`. Raises ScanError."""
    from ..onnx_graph.write import prove_written, write_onnx

    module = repaired.module
    assert isinstance(module, OnnxClassifier) and isinstance(original.module, OnnxClassifier)
    write_onnx(artifact.path, module, staging)
    held = original.module
    changed = [
        key for key in held.names if hasattr(module, key) and not same_bytes(getattr(held, key), getattr(module, key))
    ]
    notes = []
    if artifact.files:
        notes.append(f"Weights lie beside the file in {staging.name}.data: the two belong together.")
    if samples is not None and not isinstance(samples, Tokens) and len(samples):
        pixels = samples[:_PROVED].to(repaired.device)
        mean, std = (pixels.new_tensor(values).view(1, -1, 1, 1) for values in (repaired.mean, repaired.std))
        difference = prove_written(staging, module, (pixels - mean) / std)
        notes.append(f"onnxruntime gives the repaired model's scores for the file (off by {difference:.1g}).")
    return Written(len(changed), len(held.names), tuple(notes))


def has_weights(classifier: Classifier) -> bool:
    """Whether the graph keeps its weights as tensors that can be replaced."""
    module = classifier.module
    if isinstance(module, ScriptClassifier | ExportedClassifier):
        return bool(module.state_dict())
    return True
