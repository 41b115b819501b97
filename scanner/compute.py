"""Where and how to compute: the device, the number of threads, the memory layout."""

from __future__ import annotations

import platform
import re
from typing import TYPE_CHECKING

from ..evidence.errors import MissingExtra, UsageError
from ..evidence.tokens import Tokens
from .models.placement import SEPARATOR, devices_of, group_of

if TYPE_CHECKING:
    from ..evidence.classifier import Classifier
    from ..evidence.samples import CleanSamples

# Below this (parameters times pixels of one input) a second thread costs more than it brings: measured with a
# 62,000-parameter network on 16x16 pixels (slower on two threads) and WRN-16-1 on 32x32 (1.7 times faster).
SMALL = 5e7


def prepare_torch(seed: int, threads: int | None = None) -> None:
    """Import torch, seed its global generator, and take no more than `threads` of the CPU.

    Raises:
        MissingExtra: torch is not installed.
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise MissingExtra("torch", "torch") from None
    torch.manual_seed(seed)
    if threads is not None and threads < torch.get_num_threads():
        torch.set_num_threads(threads)


def resolve_device(wanted: str) -> str:
    """`auto` is the first GPU if there is one; a GPU asked for by name has to be there.

    A group such as `cuda:0+cuda:1` is for models that one GPU is too small for; every member has to be there, once.
    `cpu+cpu` is a trial of such a placement where there is no GPU.

    Raises:
        UsageError: the device asked for is not there, or a group is none.
    """
    import torch

    if len(members := group_of(wanted)) > 1:
        gpus = [member for member in members if re.fullmatch(r"cuda:\d{1,3}", member)]
        if set(members) != {"cpu"} and (gpus != members or len(set(members)) < len(members)):
            raise UsageError(f"--device {wanted}: a group is of different GPUs by number, such as cuda:0+cuda:1")
        return SEPARATOR.join(resolve_device(member) for member in members)
    device = ("cuda:0" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise UsageError(f"--device {wanted}: no CUDA device is available here, use --device auto or cpu")
        if (torch.device(device).index or 0) >= torch.cuda.device_count():
            raise UsageError(f"--device {wanted}: this machine has {torch.cuda.device_count()} CUDA device(s)")
    return device


def tune(classifier: Classifier, samples: CleanSamples) -> dict[str, str]:
    """Set threads and memory layout for this model and return what it runs on, for the report.

    By a rule and not by a stopwatch: the same model is computed in the same way on every run. Arithmetic is
    float32 throughout, on a GPU too.
    """
    import torch

    classifier.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if classifier.device.startswith("cuda"):
        torch.backends.cudnn.deterministic = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        name = ", ".join(torch.cuda.get_device_name(member) for member in group_of(devices_of(classifier)))
    else:
        parameters = sum(parameter.numel() for parameter in classifier.module.parameters())
        if parameters * _places(samples) < SMALL:
            torch.set_num_threads(1)
        name = f"CPU, {torch.get_num_threads()} thread(s)"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": devices_of(classifier),
        "device_name": name,
    }


def _places(samples: CleanSamples) -> int:
    """Pixels of a picture, tokens of a text."""
    inputs = samples.exposure.inputs
    return int(inputs.ids.shape[1]) if isinstance(inputs, Tokens) else inputs[0, 0].numel()
