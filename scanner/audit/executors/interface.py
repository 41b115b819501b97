"""What an executor is: something that answers tasks, a few at a time, and says each event when it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ...events import Event
from ...request import ScanRequest
from ...supervisor import Stop


@dataclass(frozen=True)
class Need:
    """What one task takes."""

    cpus: int = 1
    gpus: int = 0  # more than one: the model is placed over them


@dataclass(frozen=True)
class Task:
    """One part of the scan of one model."""

    id: int
    request: ScanRequest  # its device is `auto` where the executor has a pool of devices
    need: Need


@dataclass(frozen=True)
class Ended:
    """How a task ended; all that it found has been said before."""

    error: str | None = None
    again: bool = False  # another try may go better
    lost: bool = False  # the worker went away by itself
    stopped: str | None = None  # the scan goes no further, and that is an answer
    timings: dict[str, float] | None = None  # seconds a stage
    seconds: float = 0.0  # of the task, from its start


NextTask = Callable[[], Task | None]
"""The next task, or None where there is none at the moment: it is asked again when something has been said."""
Hear = Callable[[Task, Event | Ended], None]
"""Always called in the thread that has called `run`."""


class Executor(Protocol):
    """Runs tasks, each in a process of its own under the limits of its policy."""

    name: str
    slots: int  # tasks at a time, as far as is known

    def run(self, next_task: NextTask, hear: Hear, more: Callable[[], bool], stop: Stop) -> None:
        """Run what `next_task` gives until `more` says that nothing will come and all has ended.

        `stop` ends the tasks that go on, each with an error that may be tried again.
        """
        ...

    def close(self) -> None:
        """Let go of processes and connections."""
        ...
