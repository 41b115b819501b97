"""Processes of this machine: so many tasks at a time, each on devices that it has to itself."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from ...events import Event
from ...forked import Zygote
from ...supervisor import Stop
from .answer import answer
from .devices import DevicePool
from .interface import Ended, Hear, NextTask, Task

POLL_SECONDS = 0.2  # between two looks at what others do


class Processes:
    """A thread a task, which waits for the task's process; nothing of a model ever enters this one."""

    name = "processes"

    def __init__(self, *, workers: int, devices: DevicePool, verbose: bool = False) -> None:
        self.slots = workers
        self._devices = devices
        self._verbose = verbose
        self._zygote = Zygote()
        self._said: queue.Queue[tuple[Task, Event | Ended]] = queue.Queue()
        self._running: dict[int, str] = {}  # task -> the device it has

    def run(self, next_task: NextTask, hear: Hear, more: Callable[[], bool], stop: Stop) -> None:
        """Keep all slots filled."""
        held: Task | None = None  # waits for devices
        while more() or self._running or held:
            while not stop.reason and len(self._running) < self.slots:
                held = held or next_task()
                if held is None or (device := self._devices.take(held.need.gpus)) is None:
                    break
                self._start(held, device, stop)
                held = None
            if stop.reason and held:
                hear(held, Ended(f"{held.request.model}: {stop.reason}", again=True))
                held = None
            try:
                task, said = self._said.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if isinstance(said, Ended):
                self._devices.give(self._running.pop(task.id))
            hear(task, said)

    def _start(self, task: Task, device: str, stop: Stop) -> None:
        self._running[task.id] = device
        request = task.request.model_copy(update={"device": device})

        def work() -> None:
            ended = answer(
                request,
                lambda event: self._said.put((task, event)),
                zygote=self._zygote,
                stop=stop,
                verbose=self._verbose,
            )
            self._said.put((task, ended))

        threading.Thread(target=work, name=f"task {task.id}", daemon=True).start()

    def close(self) -> None:
        """Let the zygote go."""
        self._zygote.close()
