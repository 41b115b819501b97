"""From what the user asks for and what there is to an executor, and what a model needs of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from ....evidence.artifact import Artifact, Format
from ....evidence.errors import UsageError
from ...models.parameter_count import count_numbers
from ..needs import gpus_needed
from ..work import Work
from .devices import DevicePool, gpu_memory
from .interface import Executor, Need


@dataclass(frozen=True)
class Workers:
    """How models are run."""

    make: Callable[[], Executor]  # once there is something to run; Ray takes seconds
    need_of: Callable[[Work], Need]
    cpus: int  # threads a model


def choose(
    name: str,
    *,
    models: int,
    device: str,
    workers: int | None,
    cpus: int | None,
    ray_address: str | None,
    verbose: bool = False,
) -> Workers:
    """The executor called `name`; `auto` is Ray where an address is given, and processes otherwise.

    Args:
        models: how many there are to scan: more workers are of no use.
        device: `auto` (all GPUs, or else the CPU), `cpu`, `cuda` or `cuda:N`.
        workers: at a time; by default one a GPU, or one a CPU core.
        cpus: threads a model; by default the cores are shared among the workers.

    Raises:
        UsageError: the options do not go together, or the device is not there.
    """
    ray = name == "ray" or (name == "auto" and ray_address is not None)
    if ray_address and not ray:
        raise UsageError(f"--ray-address goes with --executor ray, not with {name}")
    gpus, least = _gpus(device) if not ray_address else ([], 0)  # a cluster's nodes have their own
    cores = os.cpu_count() or 1
    workers = workers or len(gpus) or min(cores, models)
    cpus = cpus or max(1, cores // workers)

    def need_of(work: Work) -> Need:
        if not gpus or work.request.device == "cpu":
            return Need(cpus)
        return Need(cpus, min(len(gpus), gpus_needed(weight_bytes(work), least)))

    def make() -> Executor:
        if ray:
            from .ray_cluster import RayCluster

            return RayCluster(
                address=ray_address,
                workers=workers,
                cpus=cpus,
                gpus=len(gpus),
                use_gpus=not device.startswith("cpu"),
                verbose=verbose,
            )
        pool = DevicePool(gpus, per_gpu=-(-workers // len(gpus)) if gpus else 1)
        if name == "in-process":
            from .in_process import InProcess

            return InProcess(devices=pool, verbose=verbose)
        from .processes import Processes

        return Processes(workers=workers, devices=pool, verbose=verbose)

    return Workers(make, need_of, cpus)


def _gpus(device: str) -> tuple[list[str], int]:
    """Names of the GPUs that may be used, and bytes of memory of the smallest."""
    memory = gpu_memory() if not device.startswith("cpu") else []
    there = {f"cuda:{index}": size for index, size in enumerate(memory)}
    if not device.startswith("cuda"):
        return list(there), min(memory, default=0)
    chosen = ["cuda:0" if one == "cuda" else one for one in device.split("+")]
    if missing := [one for one in chosen if one not in there]:
        raise UsageError(f"--device {device}: there is no {missing[0]}, this machine has {len(there)} CUDA device(s)")
    return chosen, min(there[one] for one in chosen)


def weight_bytes(work: Work) -> int:
    """Of the model's weights as float32: by the numbers in its files, or else by their size."""
    path, model = work.request.model, work.model
    files = (model.files if model else None) or {}
    if model and model.sha256 and model.format:  # the static checks have passed it
        artifact = Artifact(
            path=path,
            format=cast("Format", model.format),
            sha256=model.sha256,
            size=0,
            files=files,
            base=work.request.base_model,
        )
        with contextlib.suppress(Exception):  # a file that only its worker may stumble over
            if numbers := count_numbers(artifact):
                return 4 * sum(numbers.values())
    places = [path / name for name in files] if path.is_dir() else [path, *(path.parent / name for name in files)]
    with contextlib.suppress(OSError):
        return sum(one.stat().st_size for one in places if one.is_file())
    return 0
