"""One run of an audit: from the plan to entries in the store, each ended or left for the next run."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache

from ...evidence.errors import ScanError
from ...evidence.verdict import Verdict
from ...policies.load import LoadedPolicy, load_policy
from ...policies.plugins import build_checks
from ..read_request import check_names, read_request
from ..request import ScanRequest
from ..supervisor import Stop
from ..tiers import Tier, last_tier
from .auditor import Auditor, OnEntry, Settings, State
from .audits import Entry, add_seconds, end_audit, end_entry, entries_of, open_audit, put_entries
from .claims import Claims
from .executors.interface import Executor
from .keys import Digests, key_of
from .plan import Plan, Planned
from .record import now
from .store import Store
from .work import CHANGED, Work


@dataclass
class Run:
    """What came of a run."""

    audit: int
    resumed: bool
    finished: bool
    state: State = field(default_factory=State)


def run_audit(
    plan: Plan,
    store: Store,
    executor: Callable[[], Executor],
    settings: Settings,
    *,
    state: State,
    on_start: Callable[[int, bool], None] = lambda number, resumed: None,
    on_entry: OnEntry = lambda entry: None,
    stop: Stop | None = None,
) -> Run:
    """Audit the plan's models; an audit of the same plan that was killed goes on.

    Args:
        executor: makes one, where there is anything to be done.
        state: is kept up to date for whoever shows it.
        on_start: gets the audit's number and whether it goes on.
        on_entry: gets each model's entry when its scan has ended.

    Raises:
        ScanError: the store cannot be used.
    """
    stop, clock = stop or Stop(), time.monotonic()
    claims = Claims(store)
    try:
        number, resumed = open_audit(store, source_of(plan), _identity(plan, settings), claims.owner)
        on_start(number, resumed)
        works, wrong = works_of(plan)
        earlier = {entry.name: entry for entry in entries_of(store, number) if entry.ended}
        done = {work.name: earlier[work.name] for work in works if _stands(store, work, earlier.get(work.name))}
        entries = [*(_entry(work) for work in works), *wrong]
        put_entries(store, number, sorted(entries, key=lambda entry: entry.position), list(plan.left_out), keep=done)
        state.total = len(entries)
        _tell_earlier(state, done)
        for entry in wrong:
            end_entry(store, number, entry)
            state.ended += 1
            state.verdicts[Verdict.ERROR] += 1
            on_entry(entry)
        auditor = Auditor(store, number, claims, settings, state, on_entry)
        try:
            auditor.run([work for work in works if work.name not in done], executor, stop)
        finally:
            add_seconds(store, number, time.monotonic() - clock)
        finished = state.ended == state.total
        if finished:
            end_audit(store, number)
        return Run(number, resumed, finished, state)
    finally:
        with suppress(ScanError):  # the store is what may have broken
            claims.close()


def works_of(plan: Plan) -> tuple[list[Work], list[Entry]]:
    """What can be scanned, and the entries of what cannot be, each with its reason."""
    digests = Digests()
    load = cache(load_policy)
    tiers: dict[str, Tier] = {}
    works: list[Work] = []
    wrong: list[Entry] = []
    for position, planned in enumerate(plan.planned):
        request: ScanRequest | None = None
        policy: LoadedPolicy | None = None
        try:
            if planned.problem:
                raise ScanError(planned.problem)
            policy, request = read_request(**planned.options, load=load)
            check_names(request)
            last = tiers.get(policy.sha256) or last_tier(build_checks(policy.policy))
            tiers[policy.sha256] = last
            watched = digests.watched(request)
            settings, samples = digests.settings(request, policy), digests.samples(request)
            works.append(Work(position, planned.name, request, policy, settings, samples, watched, last))
        except ScanError as problem:
            wrong.append(_wrong(position, planned, request, policy, str(problem)))
    return works, wrong


def _wrong(
    position: int, planned: Planned, request: ScanRequest | None, policy: LoadedPolicy | None, error: str
) -> Entry:
    path = str(planned.path).encode(errors="backslashreplace").decode()
    if request is not None and policy is not None:
        try:
            request.model_dump_json()
        except ValueError:  # a name that is no text
            request = policy = None
    return Entry(
        position, planned.name, path, request, policy, error=error, source="scanned", verdict=Verdict.ERROR, ended=now()
    )


def source_of(plan: Plan) -> str:
    """Of an audit, as the store calls it: the same from whichever folder it is run."""
    return str(plan.source.absolute())


def _stands(store: Store, work: Work, entry: Entry | None) -> bool:
    """Whether what has ended before the audit was killed is still the answer to the same question."""
    if entry is None or entry.key is None:  # of a new audit every one; its files are looked at once, by the auditor
        return False
    if entry.error and entry.error.endswith(CHANGED):
        return False
    seal = work.signature(store)
    model = store.model_at(work.place, seal) if seal else None
    return model is not None and key_of(work.settings, model) == entry.key


def _entry(work: Work) -> Entry:
    return Entry(work.position, work.name, str(work.request.model), work.request, work.policy)


def _tell_earlier(state: State, done: dict[str, Entry]) -> None:
    state.ended = len(done)
    for entry in done.values():
        state.verdicts[entry.verdict or Verdict.ERROR] += 1


def _identity(plan: Plan, settings: Settings) -> str:
    """Two runs with the same are the same audit: what it looks at and how, not what it finds there."""
    options = [(one.name, str(one.path), sorted((key, repr(value)) for key, value in one.options.items()))
               for one in plan.planned]  # fmt: skip
    text = json.dumps([source_of(plan), settings.search, options])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
