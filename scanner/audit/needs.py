"""What memory a scan needs, from the size of the weights alone: for planning, before anything is loaded."""

from __future__ import annotations

import math
from typing import Final

GIB: Final = 1 << 30
COPIES: Final = 4
"""Tensors of the weights' size at the worst moment: see `memory_needed`."""
ACTIVATIONS: Final = 1.5  # of the weights
LEAST_ACTIVATIONS: Final = 4 * GIB
RESERVED: Final = GIB
"""Bytes of each GPU that no tensor gets: the driver's context, kernels, what is lost between blocks."""


def memory_needed(weight_bytes: int) -> int:
    """Bytes that a scan needs on its device, all devices of a group together.

    4 w + max(1.5 w, 4 GiB), with w the bytes of the weights in float32 (4 times the parameters, whatever type the file
    has). Four times the weights while it is exposed: the model, the copy that is being exposed, its gradients and their
    momentum. The rest is for activations: of 32 texts of 128 tokens they are about 3.5 GB in a BERT base and 1.5 w at 7
    billion parameters (by count of tensors). Large pictures go through a model in parts, and of 224x224 pixels the 4
    GiB suffice for a ViT-L and a ResNet-50 (docs/scaling.md). A reference model is not in it: it takes w more. Nor are
    repairs, which keep what each seed exposed.
    Raises ValueError for a size below 0.
    """
    if weight_bytes < 0:
        raise ValueError(f"weights of {weight_bytes} bytes")
    return COPIES * weight_bytes + max(int(ACTIVATIONS * weight_bytes), LEAST_ACTIVATIONS)


def gpus_needed(weight_bytes: int, gpu_bytes: int) -> int:
    """How many GPUs of `gpu_bytes` each a scan needs, at least 1; `weight_bytes` as in `memory_needed`.

    ceil(memory_needed / (gpu_bytes - 1 GiB)). Layers are not cut in two: a model of few large ones may need one more.
    Raises ValueError where a GPU has 1 GiB or less, of which nothing is left.
    """
    if gpu_bytes <= RESERVED:
        raise ValueError(f"a GPU of {gpu_bytes} bytes is too small for any scan")
    return math.ceil(memory_needed(weight_bytes) / (gpu_bytes - RESERVED))


def weights_within(free_bytes: int) -> int:
    """The bytes of weights that a device with so much free memory may get as its part of a placed model, 0 for none.

    The part of the activations grows with that of the weights, so the least allowance is not asked of every device.
    """
    return max(0, int((free_bytes - RESERVED) / (COPIES + ACTIVATIONS)))
