"""From what manifests and rules ask for to the models of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...evidence.audit import LeftOut
from .left_out import valid
from .options import files_of, options_for
from .plan import Plan, Planned
from .problems import Exists, first_problem


@dataclass(frozen=True)
class Wanted:
    """A model, and what is said of it."""

    name: str
    path: Path
    said: Mapping[str, Any]  # options of `read_request`, only those that are said
    where: str
    problem: str | None = None


@dataclass
class Asked:
    """All that was asked for."""

    source: Path
    wanted: list[Wanted]
    files: list[Path] = field(default_factory=list)  # that say so
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def plan_of(asked: Asked, defaults: Mapping[str, Any]) -> Plan:
    """The plan, with what can be seen without opening a model: what is missing."""
    exists = Exists()
    planned = []
    for one in asked.wanted:
        options = options_for(one.path, one.said, defaults)
        problem = one.problem or first_problem(options, exists)
        planned.append(Planned(one.name, one.path, options, one.where, problem and valid(problem)))
    files = (path for one in planned for path in files_of(one.options))
    inputs = dict.fromkeys([asked.source, *asked.files, *files])
    return Plan(
        asked.source,
        tuple(planned),
        tuple(asked.left_out),
        tuple(inputs),
        (*asked.notes, *_twice(planned)),
    )


def _twice(planned: Iterable[Planned]) -> list[str]:
    """Models that are listed twice with the same options: no mistake, but twice the work."""
    first: dict[str, Planned] = {}
    notes = []
    for one in planned:
        same = first.setdefault(repr(sorted(one.options.items())), one)
        if same is not one:
            notes.append(f"{one.where}: the same model with the same options as {same.where}")
    return notes
