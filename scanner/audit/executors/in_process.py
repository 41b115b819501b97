"""One task after the other, driven by this process: what a debugger wants, and a machine with little memory."""

from __future__ import annotations

import time
from collections.abc import Callable

from ....evidence.errors import ScanError
from ...forked import Zygote
from ...supervisor import Stop
from .answer import answer
from .devices import DevicePool
from .interface import Hear, NextTask

IDLE_SECONDS = 0.2  # between two looks at what others do


class InProcess:
    """No pool and no threads. The model is still loaded by a process of its own."""

    name = "in-process"
    slots = 1

    def __init__(self, *, devices: DevicePool, verbose: bool = False) -> None:
        self._devices = devices
        self._verbose = verbose
        self._zygote = Zygote()

    def run(self, next_task: NextTask, hear: Hear, more: Callable[[], bool], stop: Stop) -> None:
        """Run them in order."""
        while more():
            task = next_task()
            if task is None:
                time.sleep(IDLE_SECONDS)
                continue
            device = self._devices.take(task.need.gpus)
            if device is None:
                raise ScanError(f"{task.request.model} needs {task.need.gpus} GPUs, and there are not as many")
            request = task.request.model_copy(update={"device": device})
            try:
                ended = answer(
                    request,
                    lambda event, task=task: hear(task, event),  # type: ignore[misc]
                    zygote=self._zygote,
                    stop=stop,
                    verbose=self._verbose,
                )
            finally:
                self._devices.give(device)
            hear(task, ended)

    def close(self) -> None:
        """Let the zygote go."""
        self._zygote.close()
