"""Which devices there are for tasks, and who has them. Imports no torch: it is asked in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ...launch import environment

_ASK = """
import json, torch
count = torch.cuda.device_count() if torch.cuda.is_available() else 0
print(json.dumps([torch.cuda.get_device_properties(index).total_memory for index in range(count)]))
"""
_ASK_SECONDS = 120


def gpu_memory() -> list[int]:
    """Bytes of memory of each GPU; empty where there is none, or none that torch can use."""
    if not Path("/dev/nvidiactl").exists():
        return []
    try:
        asked = subprocess.run(
            [sys.executable, "-P", "-c", _ASK], capture_output=True, timeout=_ASK_SECONDS, env=environment(), check=True
        )
        return [int(one) for one in json.loads(asked.stdout)]
    except (OSError, ValueError, TypeError, subprocess.SubprocessError):
        return []


@dataclass
class DevicePool:
    """Free GPUs by name; with none, every task computes on the CPU, of which there is no end here."""

    gpus: list[str] = field(default_factory=list)
    per_gpu: int = 1  # tasks that share one

    def __post_init__(self) -> None:
        self._free = dict.fromkeys(self.gpus, self.per_gpu)

    @property
    def slots(self) -> int | None:
        """Tasks of one GPU each at a time; None where tasks need none."""
        return len(self.gpus) * self.per_gpu if self.gpus else None

    def take(self, gpus: int) -> str | None:
        """A device, or several joined by `+`, that is the caller's until it is given back; None: wait."""
        if not self.gpus or gpus == 0:
            return "cpu"
        free = sorted((name for name, left in self._free.items() if left), key=lambda name: -self._free[name])
        if gpus > 1:  # a model that needs several has each of them to itself
            free = [name for name in free if self._free[name] == self.per_gpu]
        if len(free) < gpus:
            return None
        chosen = sorted(free[:gpus], key=self.gpus.index)
        for name in chosen:
            self._free[name] -= 1 if gpus == 1 else self.per_gpu
        return "+".join(chosen)

    def give(self, device: str) -> None:
        """It is free again."""
        names = [name for name in device.split("+") if name in self._free]
        for name in names:
            self._free[name] += 1 if len(names) == 1 else self.per_gpu
