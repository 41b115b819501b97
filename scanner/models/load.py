"""artifact -> classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...evidence.artifact import Artifact
from ...evidence.classifier import Classifier
from ...evidence.errors import MissingExtra, ScanError, UsageError

if TYPE_CHECKING:
    from torch import nn


def _read(
    artifact: Artifact,
    architecture: str | None,
    arch_args: Mapping[str, object],
    input_shape: tuple[int, int, int],
    device: str,
    allow_pickle: bool,
    remote_code: bool,
) -> tuple[nn.Module, str]:
    """The module on the CPU (or the device, if exported) and what to call it."""
    from .architecture import build_architecture
    from .checkpoint import WholeModule, find_state_dict, fit, load_weights_only, without_architecture
    from .placement import group_of

    if artifact.format == "torchscript":
        from .torchscript import load_script

        script = load_script(artifact)
        return script, f"torchscript:{script.script.original_name}"
    if artifact.format == "torch-export":
        from .exported import load_exported

        return load_exported(artifact, group_of(device)[0]), "torch-export"
    if artifact.format == "onnx":
        from .onnx_file import load_onnx

        return load_onnx(artifact, input_shape), "onnx"
    if artifact.format == "huggingface":
        from .huggingface import load_folder

        if architecture:
            raise UsageError(f"--architecture {architecture}: {artifact.path} says itself what it is, leave it out")
        return load_folder(artifact, "AutoModelForImageClassification", remote_code=remote_code)
    if artifact.format == "safetensors":
        from .safetensors_file import load_tensors

        state = load_tensors(artifact)
    elif artifact.format in ("pytorch-zip", "pytorch-legacy"):
        try:
            state = find_state_dict(artifact, load_weights_only(artifact))
        except WholeModule as reason:
            from .whole_module import load_whole_module, refusal

            if not allow_pickle:
                raise refusal(artifact, str(reason)) from None
            module = load_whole_module(artifact, architecture)
            return module, f"{type(module).__module__}.{type(module).__qualname__}"
    else:
        raise ScanError(
            f"{artifact.path} is a pickle or an archive, but no model that torch.save, torch.jit.save, "
            "torch.export.save or safetensors wrote: save `model.state_dict()` with safetensors"
        )
    if architecture is None:
        raise without_architecture(artifact, state)
    module = build_architecture(architecture, arch_args)
    fit(artifact, module, state, architecture)
    return module, architecture


def load_classifier(
    artifact: Artifact,
    *,
    architecture: str | None,
    arch_args: Mapping[str, object],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    input_shape: tuple[int, int, int],
    device: str,
    allow_pickle: bool,
    remote_code: bool = False,
) -> Classifier:
    """Load the artifact, put it in eval mode, float32 and on `device`, and try it on samples of `input_shape`.

    `device` may be a group (placement.py); the classifier's is then its first member.
    `input_shape` is (channels, H, W) of the samples; `mean` and `std` are of pixels in 0..1, one a channel.
    Every format comes back as an `nn.Module` whose forward returns scores [N, C] alone, that `copy.deepcopy` copies
    with leaf parameters of its own, whose train() and eval() reach BatchNorm and dropout (where they do not,
    `normalisation_frozen` says so) and whose float parameters all require gradients (where none gets one,
    `trainable` is False). The file check has to have passed the file before.
    Raises UsageError for a wrong mean, std or architecture spec, MissingExtra without torch, ScanError for the rest:
    one sentence that names the file and the likely cause.
    """
    channels = input_shape[0]
    if len(mean) != channels or len(std) != channels or min(std) <= 0:
        raise UsageError(
            f"--mean has {len(mean)} and --std {len(std)} values, the samples have {channels} channels: "
            "give one a channel, each of --std above 0"
        )
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtra("torch", "torch") from None
    from .outputs import return_scores
    from .placement import group_of, put_on
    from .probe import batch_norm_state, check_finite, gets_gradients, probe

    module, name = _read(artifact, architecture, arch_args, input_shape, device, allow_pickle, remote_code)
    check_finite(artifact, module)
    try:
        module = return_scores(put_on(module.float().eval(), device))
        for parameter in module.parameters():
            if parameter.is_floating_point():
                parameter.requires_grad_(True)  # a frozen backbone is a habit of training, not of the model
    except (RuntimeError, ValueError, AssertionError) as error:
        from .architecture import first_line

        raise ScanError(f"{artifact.path} cannot be put on {device} ({first_line(error)}): try --device cpu") from None
    has_batch_norm, frozen = batch_norm_state(module)
    classifier = Classifier(
        module=module,
        num_classes=0,
        mean=mean,
        std=std,
        device=group_of(device)[0],
        architecture=name,
        trainable=False,
        has_batch_norm=has_batch_norm,
        normalisation_frozen=frozen,
    )
    from dataclasses import replace

    classes = probe(artifact, classifier, input_shape)
    return replace(classifier, num_classes=classes, trainable=gets_gradients(classifier, input_shape))
