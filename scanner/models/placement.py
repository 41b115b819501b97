"""A model over several devices: for those whose scan does not fit on one."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ...evidence.errors import MissingExtra, ScanError
from ..audit.needs import GIB, memory_needed, weights_within

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ...evidence.classifier import Classifier

SEPARATOR: Final = "+"
DEVICES: Final = r"auto|cpu|cuda(:\d{1,3}(\+cuda:\d{1,3})*)?|cpu\+cpu"
"""What may be asked for, as a regular expression; whether it is there is another question."""
_GROWTH: Final = 1.02  # of the share that every device may take, until all is placed
_ATTRIBUTE: Final = "ebyd_scan_devices"


def group_of(device: str) -> list[str]:
    """The members of `--device`: one, or several joined by `+`, the first of which takes inputs and gives scores."""
    return device.split(SEPARATOR)


def put_on(module: nn.Module, device: str) -> nn.Module:
    """The module on a device, or over the members of a group; see `place_over`.

    Raises what `place_over` raises, and RuntimeError or AssertionError of torch where a device is not usable.
    """
    import torch

    members = group_of(device)
    if len(members) == 1:
        return module.to(torch.device(device))
    return place_over(module, members)


def devices_of(classifier: Classifier) -> str:
    """What `--device` would say for it: a group joined by `+` where it is placed over one."""
    members: list[str] = getattr(classifier.module, _ATTRIBUTE, None) or [classifier.device]
    return SEPARATOR.join(members)


def place_over(module: nn.Module, devices: Sequence[str], *, max_memory: Mapping[int, int] | None = None) -> nn.Module:
    """The module with its blocks in order over the devices, about evenly; it is changed in place.

    Inputs go to the first device and scores come back there; forward and backward, gradients of inputs too, cross from
    device to device by themselves. Every weight stays on its device: nothing is moved out to memory of the computer or
    to disk. `copy.deepcopy` gives a placed copy, and names in `state_dict()` stay what they are.

    Args:
        module: on the CPU, with leaf parameters in float32.
        devices: two or more, all GPUs or all `cpu` (then nothing is gained but a trial without GPUs).
        max_memory: bytes that a scan may use on each device, by its place in `devices`; what is free if not given.

    Raises:
        MissingExtra: accelerate is not installed.
        ScanError: the devices are too small together, or the module cannot be cut; the sentence says which.
    """
    import torch

    try:
        from accelerate import dispatch_model  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise MissingExtra("accelerate", "accelerate") from None
    _check_can_be_cut(module)
    free = [_free(devices, place) if max_memory is None else max_memory[place] for place in range(len(devices))]
    places = _plan(module, devices, free)
    names = [torch.device(device) for device in devices]
    with _quiet():
        placed: nn.Module = dispatch_model(
            module, {name: names[place] for name, place in places.items()}, main_device=names[0], force_hooks=True
        )
    _place_loose_tensors(placed, {name: names[place] for name, place in places.items()})
    _make_copyable(placed)
    placed.register_forward_hook(_Return(names[0]))
    setattr(placed, _ATTRIBUTE, list(devices))
    return placed


class _Return:
    """Scores go back to the first device, whatever a model wraps them in."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Tensor:
        from .outputs import scores_of

        return scores_of(output).to(self.device)


def _check_can_be_cut(module: nn.Module) -> None:
    import torch

    from .probe import GRAPHS

    if isinstance(module, GRAPHS | torch.jit.ScriptModule | torch.fx.GraphModule):
        raise ScanError(
            f"the model is one graph ({type(module).__name__}), which is not cut over several devices: pass its "
            "weights with --architecture, or give one device"
        )


def _free(devices: Sequence[str], place: int) -> int:
    """Bytes free on the device; computer memory is shared by its places."""
    import torch

    device = torch.device(devices[place])
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available) // Counter(devices)[devices[place]]


def _plan(module: nn.Module, devices: Sequence[str], free: Sequence[int]) -> dict[str, int]:
    """Which part goes to which place: the evenest plan in which the first part is on the first device."""
    weights = sum(_bytes(tensor) for tensor in [*module.parameters(), *module.buffers()])
    limits = [weights_within(amount) for amount in free]
    whole = _kept_whole(module)
    share = weights / len(devices)
    while share <= _GROWTH * max(limits):
        found = _fitted(module, [min(share, limit) for limit in limits], whole)
        if found:
            return found
        share = share * _GROWTH + 1
    needed, there = memory_needed(weights), sum(free)
    missing = needed - there
    if missing <= 0:  # in all there is enough, but not for layers as large as these
        while not _fitted(module, [share] * len(devices), whole):
            share = share * _GROWTH + 1
        missing = sum(max(0, memory_needed(int(share)) - memory_needed(limit)) for limit in limits)
    raise ScanError(
        f"the scan of this model needs about {needed / GIB:.2f} GiB, and {there / GIB:.2f} GiB are free on "
        f"{', '.join(devices)}: {missing / GIB:.2f} GiB are missing for its layers, which are not cut in two; name "
        "more devices with --device, or larger ones"
    )


def _fitted(module: nn.Module, most: Sequence[float], whole: Sequence[str]) -> dict[str, int] | None:
    """A plan with at most so many bytes of weights at each place, or None."""
    from accelerate import infer_auto_device_map

    limits = {place: int(amount) for place, amount in enumerate(most)}
    with _quiet():
        found = infer_auto_device_map(module, max_memory=limits, no_split_module_classes=list(whole))
    if "disk" in found.values() or next(iter(found.values()), None) != 0:
        return None
    return dict(found)


def _kept_whole(module: nn.Module) -> list[str]:
    """Names of classes that are not cut: what sums or joins tensors of several parts has to be on one device.

    Models of transformers name theirs. Of the others only plain containers are opened, and what holds more than half of
    all weights: that is where the repeated blocks are.
    """
    whole = set(getattr(module, "_no_split_modules", None) or ())
    half = sum(map(_bytes, module.parameters())) / 2

    def walk(part: nn.Module) -> None:
        for child in part.children():
            if not any(True for _ in child.children()):
                continue
            if type(child).__name__ not in whole and _is_opened(child, half):
                walk(child)
            else:
                whole.add(type(child).__name__)

    walk(module)
    return sorted(whole)


def _is_opened(part: nn.Module, half: float) -> bool:
    from torch import nn

    return type(part) in (nn.Sequential, nn.ModuleList) or sum(map(_bytes, part.parameters())) > half


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _place_loose_tensors(placed: nn.Module, places: Mapping[str, torch.device]) -> None:
    """accelerate leaves where it was what a module that was cut holds besides its parts: a table of positions, say."""
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module  # type: ignore[import-untyped]

    for name, part in placed.named_modules():
        loose = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
        if loose and not hasattr(part, "_hf_hook"):
            add_hook_to_module(part, AlignDevicesHook(places[f"{name}.{loose[0][0]}"]))


def _make_copyable(placed: nn.Module) -> None:
    """Drop what a deep copy would take over wrongly.

    accelerate puts a `to` and a `cuda` on the module that stay bound to the original when it is copied, and its hooks
    keep tied weights by address, which in a copy would only hold on to memory.
    """
    for name in ("to", "cuda", "npu", "xpu", "mlu", "sdaa", "musa"):
        placed.__dict__.pop(name, None)
    for part in placed.modules():
        hook: Any = getattr(part, "_hf_hook", None)
        if hook is not None:
            hook.tied_params_map = None


@contextmanager
def _quiet() -> Iterator[None]:
    """Places are numbered here as if they were GPUs, of which accelerate warns where there are none."""
    logger = logging.getLogger("accelerate")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The following device_map keys")
            yield
    finally:
        logger.setLevel(before)
