"""Ray: a cluster that is there, or a local one that is started for the audit and ends with it.

A task is a remote function with its CPUs and GPUs stated; placing and queueing is Ray's. The task supervises the
model's process on its node as every executor does, and yields what is said as text, which is read here as what a worker
says. A node that is lost loses its tasks: the audit gives them out again, with all that they had found.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from typing import Any

from ....evidence.errors import MissingExtra, ScanError
from ... import events
from ...forked import Zygote
from ...request import ScanRequest
from ...supervisor import Stop
from .answer import answer
from .interface import Ended, Hear, NextTask, Task

POLL_SECONDS = 0.2
AHEAD = 2  # tasks a slot that Ray has at hand, so that none waits for the way here and back


class RayCluster:
    """Tasks on the nodes of a Ray cluster; models and samples lie at the same paths on all of them."""

    name = "ray"

    def __init__(
        self,
        *,
        address: str | None,
        workers: int,
        cpus: int,
        gpus: int = 0,
        use_gpus: bool = True,
        verbose: bool = False,
    ) -> None:
        """Connect to `address`, or start a local cluster of `workers` times `cpus` CPUs where it is None.

        Raises:
            MissingExtra: ray is not installed.
            ScanError: there is no such cluster.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ModuleNotFoundError:
            raise MissingExtra("ray", "ray") from None
        self._ray, self._verbose = ray, verbose
        where: dict[str, Any] = {"address": address}
        if address is None:
            where = {"address": "local", "num_cpus": workers * cpus, "num_gpus": gpus, "include_dashboard": False}
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**where, log_to_driver=verbose, logging_level=logging.ERROR, configure_logging=True)
        except Exception as problem:  # whatever a cluster that is not there makes of it
            text = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
            raise ScanError(f"no Ray cluster can be used at {address or 'this machine'}: {text}") from None
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray's own leaves at once, without reports
        nodes = [node["Resources"] for node in ray.nodes() if node.get("Alive")]  # type: ignore[no-untyped-call]
        # What one node has: a task does not go over two, and one that fits on none would wait for ever.
        self._cpus = max((int(node.get("CPU", 0)) for node in nodes), default=0)
        self._gpus = max((int(node.get("GPU", 0)) for node in nodes), default=0) if use_gpus else 0
        if not self._cpus:
            raise ScanError(f"the Ray cluster at {address or 'this machine'} has no CPU to give")
        total = "GPU" if self._gpus else "CPU"
        self.slots = max(1, int(sum(node.get(total, 0) for node in nodes)) // (1 if self._gpus else cpus))
        self._remote = ray.remote(_answer)

    def run(self, next_task: NextTask, hear: Hear, more: Callable[[], bool], stop: Stop) -> None:
        """Keep Ray supplied with tasks, and hear them."""
        running: dict[Any, Task] = {}
        while more() or running:
            while not stop.reason and len(running) < self.slots * AHEAD and (task := next_task()) is not None:
                running[self._submit(task)] = task
            if stop.reason:
                for stream in running:
                    self._ray.cancel(stream)
            if not running:
                time.sleep(POLL_SECONDS)
                continue
            ready, _ = self._ray.wait(list(running), num_returns=1, timeout=POLL_SECONDS, fetch_local=False)
            for stream in ready:
                said = self._next(stream, running[stream])
                task = running[stream]
                if isinstance(said, Ended):
                    del running[stream]
                hear(task, said)

    def _submit(self, task: Task) -> Any:
        need, part = task.need, task.request.part
        # The head may have no GPU where its nodes have; how large theirs are is not known to it.
        light = task.request.device == "cpu" or (part is not None and part.tier == "static")
        gpus = 0 if light else min(self._gpus, max(1, need.gpus))
        resources: dict[str, Any] = {"num_cpus": min(need.cpus, self._cpus), "num_gpus": gpus, "max_retries": 0}
        remote = self._remote.options(num_returns="streaming", name=f"scan {task.request.model.name}", **resources)
        device = "+".join(f"cuda:{index}" for index in range(gpus)) or "cpu"
        request = task.request.model_copy(update={"device": device})
        return remote.remote(request.model_dump_json(), os.getcwd(), self._verbose)  # noqa: PTH109

    def _next(self, stream: Any, task: Task) -> events.Event | Ended:
        """What the task says next; a task that is lost has ended."""
        try:
            kind, text = self._ray.get(next(stream))
            return Ended(**json.loads(text)) if kind == "ended" else events.PARSER.validate_json(text)
        except StopIteration:
            why = "went away before it had an answer"
        except Exception as problem:  # Ray's, of a node that is lost, or ours of what is no event
            why = f"was lost ({type(problem).__name__})"
        return Ended(f"{task.request.model}: the task {why}", again=True, lost=True)

    def close(self) -> None:
        """Leave the cluster; a local one ends."""
        with contextlib.suppress(Exception):
            self._ray.shutdown()


@cache
def _zygote(_visible: str | None) -> Zygote:
    """One for each set of GPUs that Ray lets this process see."""
    return Zygote()


def _answer(request: str, folder: str, verbose: bool) -> Iterator[tuple[str, str]]:
    """In a process of Ray's: every event as text when it is made, at the end how it ended."""
    os.chdir(folder)  # paths may be relative
    said: queue.Queue[tuple[str, str]] = queue.Queue()
    stop = Stop()

    def work() -> None:
        zygote = _zygote(os.environ.get("CUDA_VISIBLE_DEVICES"))
        ended = answer(
            ScanRequest.model_validate_json(request),
            lambda event: said.put(("event", event.model_dump_json())),
            zygote=zygote,
            stop=stop,
            verbose=verbose,
        )
        said.put(("ended", json.dumps(asdict(ended))))

    threading.Thread(target=work, daemon=True).start()
    try:
        kind = ""
        while kind != "ended":
            kind, text = said.get()
            yield kind, text
    finally:
        stop.reason = "the task was cancelled"  # the model's process ends too
