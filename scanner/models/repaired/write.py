"""A repaired classifier, written as the artifact was that it came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ....checks.folder_files import is_adapter_folder
from ....evidence.artifact import Artifact
from ....evidence.errors import ScanError
from ...digests import file_digest
from .written import Written

if TYPE_CHECKING:
    from torch import Tensor

    from ....evidence.classifier import Classifier
    from ....evidence.tokens import Tokens


def check_writable_format(artifact: Artifact, classifier: Classifier | None = None) -> None:
    """See that a repaired model can be written in the artifact's format, before the work is done.

    Without `classifier` only what needs no torch is looked at.

    Raises:
        ScanError: it cannot; the sentence says what to do instead.
    """
    path = artifact.path
    if artifact.format == "unknown":
        raise ScanError(f"{path} is no known format of a model: save `model.state_dict()` with safetensors")
    if artifact.format == "huggingface" and (artifact.base or is_adapter_folder(path)):
        raise ScanError(
            f"{path} is an adapter, and the repair changes the model that it is merged into: merge it with peft's "
            "merge_and_unload, save that with `save_pretrained`, and repair the folder"
        )
    if classifier is None:
        return
    if artifact.format in ("torchscript", "torch-export"):
        from .graphs import for_phones, has_weights

        if not has_weights(classifier):
            raise ScanError(
                f"{path} has its weights frozen into the graph as constants: save `model.state_dict()` of the model "
                "before it was frozen, and repair that with --architecture"
            )
        if artifact.format == "torchscript" and for_phones(path):
            raise ScanError(
                f"{path} is for the lite interpreter, which torch.jit.save does not write: save the model with "
                "torch.jit.save, and repair that"
            )
    if artifact.format in ("pytorch-zip", "pytorch-legacy"):
        from ..checkpoint import WholeModule, load_weights_only

        try:
            load_weights_only(artifact)
        except WholeModule:
            raise ScanError(
                f"{path} is a pickled module, which is not written again: save `model.state_dict()` with safetensors "
                "where it was made, and repair that with --architecture"
            ) from None


def write_repaired(
    artifact: Artifact,
    original: Classifier,
    repaired: Classifier,
    staging: Path,
    samples: Tensor | Tokens | None = None,
) -> Written:
    """Write `repaired` to `staging`, which is not there yet, as the artifact is that `original` was loaded from.

    Every tensor that changed is rounded to the type that the artifact stores it in; all others stay as they are, bit
    by bit. What was written is read again and compared. `samples`, pixels in 0..1, are what an ONNX file is tried on.

    Raises:
        ScanError: it cannot be written as the artifact is, or the artifact has changed since it was identified.
    """
    check_writable_format(artifact, original)
    _check_unchanged(artifact)
    try:
        return _write(artifact, original, repaired, staging, samples)
    except OSError as error:
        raise ScanError(f"{staging.name} cannot be written: {error.strerror or error}") from None


def _write(
    artifact: Artifact, original: Classifier, repaired: Classifier, staging: Path, samples: Tensor | Tokens | None
) -> Written:
    if artifact.format == "huggingface":
        from .folder import write_folder

        return write_folder(artifact, original, repaired, staging)
    if artifact.format == "safetensors":
        from .checkpoint_file import write_tensors

        return write_tensors(artifact, original, repaired, staging)
    if artifact.format in ("pytorch-zip", "pytorch-legacy"):
        from .checkpoint_file import write_checkpoint

        return write_checkpoint(artifact, original, repaired, staging)
    from .graphs import write_exported, write_graph, write_script

    if artifact.format == "onnx":
        return write_graph(artifact, original, repaired, staging, samples)
    return (write_script if artifact.format == "torchscript" else write_exported)(artifact, original, repaired, staging)


def _check_unchanged(artifact: Artifact) -> None:
    """By the digests that the artifact was identified with."""
    folder = artifact.path if artifact.format == "huggingface" else artifact.path.parent
    files = {folder / name: digest for name, digest in artifact.files.items()}
    if artifact.format != "huggingface":
        files[artifact.path] = artifact.sha256
    for path, digest in files.items():
        try:
            found = file_digest(path)
        except FileNotFoundError:
            found = ""
        if found != digest:
            raise ScanError(f"{path} was changed since it was read: start again")
