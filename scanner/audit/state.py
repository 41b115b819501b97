"""What a run would have to do for each model of a plan, without doing it."""

from __future__ import annotations

from collections.abc import Callable

from .keys import key_of
from .plan import Plan, Planned
from .run import works_of
from .store import Store

NEW, CHANGED, PARTLY, STORED = "new", "changed", "partly scanned", "answered from the store"


def states(plan: Plan, store: Store | None) -> Callable[[Planned], str]:
    """A function of a planned model; the plan's samples are read for it, its models are not."""
    if store is None:
        return lambda planned: NEW
    works, _ = works_of(plan)
    by_name = {work.name: work for work in works}

    def state(planned: Planned) -> str:
        work = by_name.get(planned.name)
        if work is None:
            return NEW
        seal = work.signature(store)
        if seal and store.refusal(work.refusal_place(seal)):
            return STORED
        model = store.model_at(work.place, seal) if seal else None
        if model is None:
            return CHANGED if store.rows("SELECT 1 FROM files WHERE path = ?", work.place) else NEW
        known = store.known(key_of(work.settings, model))
        return NEW if known is None else STORED if known.finished else PARTLY

    return state
