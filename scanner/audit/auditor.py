"""The loop of an audit: which task is next, and what becomes of what is said.

Tasks come in tiers, the cheap ones of all models first. Whatever is found is committed before the next event is
heard, so that an audit that is killed loses nothing but what its workers were in the midst of.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from ...evidence.result import ModelInfo
from ...evidence.verdict import Verdict
from .. import events
from ..handover import Handed
from ..supervisor import Stop
from ..tiers import TIERS
from . import record
from .assemble import result_of_entry
from .audits import Entry, end_entry
from .claims import Claims
from .executors.interface import Ended, Executor, Need, Task
from .keys import key_of
from .store import Store
from .work import CHANGED, Work, is_suspect, suspicion_of

Search = Literal["all", "suspects"]
LOOK_SECONDS = 2.0  # between two looks at what other audits have done
NOT_A_SUSPECT = "exposure names no label, and only suspects are searched (--search suspects)"


@dataclass(frozen=True)
class Settings:
    """How an audit goes about it."""

    search: Search = "all"
    retries: int = 1  # of a task whose worker went away
    threads: int | None = None  # of the CPU, a task
    need_of: Callable[[Work], Need] = lambda work: Need()


@dataclass
class State:
    """How far an audit is; whoever shows it reads it."""

    total: int = 0
    ended: int = 0
    from_store: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    running: dict[int, tuple[str, str, float]] = field(default_factory=dict)  # task -> model, tier, since
    waiting: int = 0  # for another audit that scans the same models
    tasks: Counter[str] = field(default_factory=Counter)  # by tier, that have ended
    seconds: dict[str, float] = field(default_factory=dict)  # that they took
    left: Counter[str] = field(default_factory=Counter)  # tasks by tier that are still to be done, as far as is known


OnEntry = Callable[[Entry], None]


class Auditor:
    """Does the work of one audit."""

    def __init__(
        self, store: Store, audit: int, claims: Claims, settings: Settings, state: State, on_entry: OnEntry
    ) -> None:
        self._store, self._audit, self._claims = store, audit, claims
        self._settings, self.state, self._on_entry = settings, state, on_entry
        self._ready: list[tuple[tuple[int, float, int], int, Work]] = []
        self._count = itertools.count()
        self._running: dict[int, Work] = {}
        self._handed: dict[int, list[Handed]] = {}
        self._by_key: dict[str, Work] = {}
        self._waiting: list[Work] = []
        self._looked = 0.0
        self._stop = Stop()

    def run(self, works: list[Work], executor: Callable[[], Executor], stop: Stop) -> None:
        """All of them, until they have ended or `stop` has a reason. An executor is made where there is work for it."""
        for work in works:
            self._begin(work)
        self._stop = stop
        if self._more():
            executor().run(self._next_task, self._hear, self._more, stop)

    # -- what is next --

    def _more(self) -> bool:
        if self._stop.reason:
            return bool(self._running)
        return bool(self._ready or self._running or self._waiting)

    def _begin(self, work: Work) -> None:
        """Answer it from the store where that is possible, else put it where it belongs."""
        seal = work.signature(self._store)
        work.model = self._store.model_at(work.place, seal) if seal else None
        if work.model:
            self._identified(work, work.model)
        elif seal and (error := self._store.refusal(work.refusal_place(seal))):
            self._end(work, error=error)
        else:
            self._push(work)

    def _identified(self, work: Work, model: ModelInfo) -> None:
        """The model is known: on to its first tier that is not done, unless it is another's too."""
        work.key = key_of(work.settings, model)
        first = self._by_key.setdefault(work.key, work)
        if first is not work and not first.ended:
            first.followers.append(work)
            return
        if record.has_errors(self._store, work.key) and self._claims.claim(work.key):
            record.forget_errors(self._store, work.key)  # another try may go better, with more memory say
        self._advance(work)

    def _advance(self, work: Work) -> bool:
        """To the first tier that is not done; whether there is one."""
        assert work.key and work.model
        known = self._store.known(work.key)
        if known and known.finished:
            self._end(work, error=work.named(known.error, known.model.path))
            return False
        if known:
            work.tier, work.suspicion = known.next_tier, suspicion_of(known.findings)
            if work.tier == "search" and self._settings.search == "suspects" and not is_suspect(known.findings):
                self._end(work, unsearched=NOT_A_SUSPECT)
                return False
        else:
            record.begin(self._store, work.key, work.model)
        self._push(work)
        return True

    def _push(self, work: Work) -> None:
        heapq.heappush(self._ready, (work.rank, next(self._count), work))
        self.state.left[work.tier] += 1

    def _next_task(self) -> Task | None:
        self._look_at_others()
        while self._ready:
            _, _, work = heapq.heappop(self._ready)
            self.state.left[work.tier] -= 1
            if work.key and not self._claims.claim(work.key):
                self._waiting.append(work)
                self.state.waiting = len(self._waiting)
                continue
            if work.key and self._store.finished(work.key):  # by another audit, since it was looked at
                if not self._advance(work):
                    self._release(work)
                continue
            if changed := work.changed():
                work.scanned = True  # it is no answer from the store
                self._end(work, error=changed)
                self._release(work)
                continue
            return self._task(work)
        return None

    def _task(self, work: Work) -> Task:
        number, work.started, work.scanned = next(self._count), time.time(), True
        known = self._store.known(work.key) if work.key else None
        request = work.request.model_copy(
            update={"part": work.part(known), "threads": self._settings.threads, "keep_witness": True}
        )
        self._running[number] = work
        self._handed[number] = []
        self.state.running[number] = (work.name, work.tier, time.monotonic())
        need = Need() if work.tier == "static" else self._settings.need_of(work)
        return Task(number, request, need)

    def _look_at_others(self) -> None:
        if not self._waiting or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        waiting, self._waiting = self._waiting, []
        for work in waiting:
            self._advance(work)  # what is still claimed comes back at once
        self.state.waiting = len(self._waiting)

    # -- what is said --

    def _hear(self, task: Task, said: events.Event | Ended) -> None:
        work = self._running[task.id]
        if not isinstance(said, events.ProgressEvent | events.PieceEvent):  # of which there are many
            work.spoilt = work.spoilt or work.changed()
        if isinstance(said, Ended):
            self._ended(task, work, said)
        elif isinstance(said, events.ModelEvent):
            self._read(work, said)
        elif isinstance(said, events.RecoveredEvent):
            self._handed[task.id].append(Handed(said.form))
        elif isinstance(said, events.PieceEvent):
            trigger = self._handed[task.id][-1]
            trigger.add(said.data)
            if work.key and not work.spoilt and not trigger.missing:
                record.put_trigger(self._store, work.key, trigger)
        elif isinstance(said, events.WordsEvent):
            if work.key and not work.spoilt:
                record.put_trigger(self._store, work.key, said.form)
        elif isinstance(said, events.SamplesEvent) and said.samples.sha256 != work.samples:
            work.spoilt = f"{work.request.samples} {CHANGED}"
        elif work.key and not work.spoilt:
            record.take(self._store, work.key, said)

    def _read(self, work: Work, said: events.ModelEvent) -> None:
        """The file has been read; a second time with the architecture that was loaded."""
        if work.model is None:
            work.model = said.model
            seal = work.signature(self._store, work.started)
            if seal:
                self._store.put_model_at(work.place, seal, said.model)
            work.key = key_of(work.settings, said.model)
            record.begin(self._store, work.key, said.model)
            self._claims.claim(work.key)  # if another audit has it, the rest of this cheap tier is done twice
        elif work.key and not work.spoilt:
            record.put_model(self._store, work.key, said.model)

    def _ended(self, task: Task, work: Work, ended: Ended) -> None:
        del self._running[task.id], self._handed[task.id]
        _, tier, _ = self.state.running.pop(task.id)
        self.state.tasks[tier] += 1
        self.state.seconds[tier] = self.state.seconds.get(tier, 0.0) + ended.seconds
        if self._stop.reason and ended.error:  # it was ended by that, and goes on another time
            self._release(work)
        elif work.spoilt:
            self._fail(work, replace(ended, error=work.spoilt, again=True))
        elif ended.error is None and work.key:
            timings = {**(ended.timings or {}), "total": ended.seconds}
            done = TIERS[-1] if work.tier == work.last else work.tier
            record.end_tier(self._store, work.key, done, timings, ended.stopped)
            self._after(work)
        elif ended.lost and work.lost < self._settings.retries:
            work.lost += 1
            self._push(work)
        else:
            self._fail(work, ended)

    def _after(self, work: Work) -> None:
        """A tier is done. Where the file was read just now, its model may be another's too."""
        assert work.key
        first = self._by_key.setdefault(work.key, work)
        if first is not work and not first.ended:
            first.followers.append(work)
        elif not self._advance(work):
            self._claims.release(work.key)

    def _fail(self, work: Work, ended: Ended) -> None:
        error = ended.error or f"{work.request.model}: the worker process did not say what the file is"
        # What the file is and whether it is safe hangs on the file alone; whether a model loads, on what is installed.
        if work.tier == "static" and not ended.again:
            if work.key:
                record.refuse(self._store, work.key, error)
            elif work.alone and (seal := work.signature(self._store, work.started)):
                self._store.put_refusal(work.refusal_place(seal), error)
        self._end(work, error=error)
        self._release(work)

    def _release(self, work: Work) -> None:
        if work.key:
            self._claims.release(work.key)

    def _end(self, work: Work, *, error: str | None = None, unsearched: str | None = None) -> None:
        source = "scanned" if work.scanned else "store"
        entry = Entry(
            work.position, work.name, str(work.request.model), work.request, work.policy, work.key, error, unsearched,
            source, ended=record.now(),
        )  # fmt: skip
        verdict = result_of_entry(self._store, entry, whole=False).verdict
        entry = replace(entry, verdict=verdict)
        end_entry(self._store, self._audit, entry)
        work.ended = True
        self.state.ended += 1
        self.state.from_store += source == "store"
        self.state.verdicts[verdict] += 1
        self._on_entry(entry)
        followers, work.followers = work.followers, []
        for follower in followers:
            follower.scanned |= work.scanned and error is not None
            self._end(follower, error=follower.named(error, str(work.request.model)), unsearched=unsearched)
