"""Is the loaded module a classifier of such samples, and can it be trained?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...evidence.artifact import Artifact
from ...evidence.classifier import Classifier
from ...evidence.errors import ScanError
from .architecture import first_line
from .exported import ExportedClassifier
from .onnx_graph.module import OnnxClassifier
from .torchscript import ScriptClassifier

GRAPHS = ScriptClassifier | ExportedClassifier | OnnxClassifier


def check_finite(artifact: Artifact, module: nn.Module) -> None:
    """Raises ScanError naming the first weight with NaN or infinity in it, and how many there are."""
    broken = [
        name
        for name, tensor in module.state_dict().items()
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]
    if broken:
        raise ScanError(
            f"{artifact.path} has NaN or infinity in {len(broken)} of its tensors, first in {broken[0]}: "
            "the model is broken, take a checkpoint from before its training diverged"
        )


def batch_norm_state(module: nn.Module) -> tuple[bool, bool]:
    """Whether there is BatchNorm, and whether some of it stays in eval mode when the module is put in train mode."""
    if isinstance(module, GRAPHS):
        reached = module.batch_norms()
        return bool(reached), not all(reached)
    return any(isinstance(part, _BatchNorm) for part in module.modules()), False


def _scores(artifact: Artifact, classifier: Classifier, batch: int, shape: tuple[int, int, int]) -> Tensor:
    pixels = torch.zeros(batch, *shape, device=classifier.device)
    size = f"{shape[0]} x {shape[1]} x {shape[2]}"
    try:
        with torch.no_grad():
            return classifier.logits(pixels)
    except ScanError as error:
        raise ScanError(f"{artifact.path}: {error}") from None
    except Exception as error:
        if batch != 2:
            raise ScanError(
                f"{artifact.path} takes batches of 2 but not of {batch} ({_cause(error)}): its batch size is fixed, "
                "trace or export it again with a dynamic one"
            ) from None
        raise ScanError(
            f"{artifact.path} cannot take samples of {size} (channels x height x width; {_cause(error)}): "
            "pass the size it was trained on with --size, and as many values to --mean as it has channels"
        ) from None


def _cause(error: BaseException) -> str:
    """TorchScript puts its traceback first and the cause last."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    if len(lines) > 1 and "TorchScript" in lines[0]:
        return lines[-1].strip()[:300]
    return first_line(error)


def probe(artifact: Artifact, classifier: Classifier, shape: tuple[int, int, int]) -> int:
    """The number of classes, from a forward pass on black samples of `shape` (channels, H, W).

    Raises ScanError where the pass fails or does not end in finite scores [N, C] of two classes or more.
    """
    scores = _scores(artifact, classifier, 2, shape)
    if scores.ndim != 2 or len(scores) != 2 or not scores.is_floating_point():
        raise ScanError(
            f"{artifact.path} answers 2 samples with {str(scores.dtype).removeprefix('torch.')} {list(scores.shape)}, "
            "not with a score for each class: is it an image classifier?"
        )
    if scores.shape[1] < 2:
        raise ScanError(
            f"{artifact.path} has {scores.shape[1]} output: a classifier with two classes or more is needed"
        )
    if not bool(torch.isfinite(scores).all()):
        raise ScanError(
            f"{artifact.path} answers black samples with NaN or infinity: its weights are broken, or --std is far off"
        )
    if isinstance(classifier.module, GRAPHS):
        _scores(artifact, classifier, 3, shape)  # a graph may have the batch size burnt in
    return scores.shape[1]


def gets_gradients(classifier: Classifier, shape: tuple[int, int, int]) -> bool:
    """Whether any float parameter gets a gradient, by a backward pass on two grey samples; leaves no trace."""
    parameters = [parameter for parameter in classifier.module.parameters() if parameter.requires_grad]
    if not parameters:
        return False
    try:
        with torch.enable_grad():
            scores = classifier.logits(torch.full((2, *shape), 0.5, device=classifier.device))
            gradients = torch.autograd.grad(scores.sum(), parameters, allow_unused=True)
    except RuntimeError:
        return False
    return any(gradient is not None for gradient in gradients)
