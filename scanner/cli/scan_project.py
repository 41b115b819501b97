"""`ebyd-scan scan` without MODEL: the models of a project file, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from click.core import ParameterSource

from ...evidence.errors import ScanError, UsageError
from ...policies.load import LoadedPolicy
from ..project.load import ScanEntry, load_project, pick
from ..project.model import PROJECT_FILE
from ..read_request import check_names, read_request
from ..removal import Removal, check_removal, with_method
from ..reports.printable import one_line
from ..reports.write import check_folder, check_writable
from ..request import ScanRequest
from ..supervisor import Stop
from .progress import log
from .run import (
    Failure,
    Reports,
    UnwrittenReport,
    as_failure,
    check_reports,
    echo,
    inputs_of_scan,
    run_scan,
    stopped_by_sigterm,
)

# Worst first: a model that failed is told before one that could not be scanned, which is told before one that may pass.
WORST_FIRST = (1, 3, 2, 4, 0)
WORDS = {0: "passed", 1: "FAILED", 2: "not scanned", 3: "could not be scanned", 4: "inconclusive"}
# What a run may change for all models; the rest is about one model and stands in the file.
FOR_ALL = ("policy_name", "device", "seed", "timeout", "memory", "allow_pickle", "trust_remote_code")
_OWN = (*FOR_ALL, "model", "project", "only", "quiet", "verbose")


@dataclass(frozen=True)
class _Order:
    name: str
    request: ScanRequest
    policy: LoadedPolicy
    reports: Reports
    removal: Removal | None = None


def scan_project(ctx: click.Context, project: Path | None, only: tuple[str, ...], *, quiet: bool, verbose: bool) -> int:
    """Scan the models, print each verdict and a summary; the exit code is the worst one.

    All that the file says is looked at before the first scan starts. A model that cannot be scanned does not stop the
    others; SIGTERM and an interrupt do.

    Raises:
        Failure: the project, a policy or a place for a report is wrong; nothing was scanned.
    """
    file = project or Path(PROJECT_FILE)
    if project is None and not file.exists():
        raise click.UsageError(
            f"Missing argument 'MODEL', and there is no {PROJECT_FILE} here: name a model, or write the file with "
            "`ebyd-scan init`."
        )
    overrides = _overrides(ctx)
    try:
        orders = [order_of(entry, overrides, file) for entry in pick(load_project(file), only, file)]
        _check_places(orders, file)
    except ScanError as problem:
        raise as_failure(problem) from problem
    codes: dict[str, int] = {}
    with stopped_by_sigterm() as stop:
        for number, order in enumerate(orders, 1):
            if not quiet and not stop.reason:  # then no scan begins, and its reports say so
                log(f"{number} of {len(orders)}: {order.name}")
            codes[order.name] = _scan(order, stop, quiet=quiet, verbose=verbose)
            echo("\n")
    echo(_summary(orders, codes))
    return worst(codes.values())


def worst(codes: Iterable[int]) -> int:
    """The exit code over all models; 3 where there is none, since nothing scanned is never a pass."""
    found = set(codes)
    return next((code for code in WORST_FIRST if code in found), 3)


def _overrides(ctx: click.Context) -> dict[str, object]:
    """Options of the command line that hold for every model. Raises click.UsageError for those of a single one."""
    given = {
        parameter.name: parameter
        for parameter in ctx.command.params
        if parameter.name and ctx.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    }
    for name, parameter in given.items():
        if name not in _OWN:
            raise click.UsageError(
                f"{parameter.opts[0]} is about one model and goes with MODEL; for the models of a project it stands in "
                "the project file."
            )
    return {name: ctx.params[name] for name in FOR_ALL if name in given}


def order_of(entry: ScanEntry, overrides: dict[str, object], file: Path) -> _Order:
    """One model's scan, with its policy read. Raises UsageError, which names file and model."""
    options = {**entry.options, "allow_pickle": False, "trust_remote_code": False, **overrides}
    try:
        policy, request = read_request(reference=entry.reference, **options)
        removal = Removal(entry.remove_to, option="remove-to") if entry.remove_to else None
        if removal:
            policy = with_method(policy, removal)
        check_names(request, entry.remove_to)
    except ScanError as problem:
        raise UsageError(f"{file}: model {entry.name!r}: {problem}") from problem
    return _Order(entry.name, request, policy, Reports(entry.reports, entry.witness_dir), removal)


def _check_places(orders: Sequence[_Order], file: Path) -> None:
    """See that all reports can be written, none over an input of any of the scans; make folders that are missing."""
    inputs = [file, *(path for order in orders for path in inputs_of_scan(order.request, order.policy))]
    for one in inputs:
        try:
            one.is_dir()
        except OSError as problem:
            raise UsageError(f"{file}: {str(one)[:200]} cannot be read: {problem.strerror}") from problem
    places = {f"{order.name}: {option}": path for order in orders for option, path in order.reports.paths().items()}
    for option, path in places.items():
        check_folder(option, path.parent, [one for one in inputs if one.is_dir() and not _around(one, path)])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise UsageError(f"{option} {path}: cannot make its folder: {problem.strerror}") from problem
    check_writable(places, inputs=inputs)
    witnesses: dict[tuple[Path, str], str] = {}
    for order in orders:
        if order.reports.witness_dir:
            place = order.reports.witness_dir.resolve(), order.request.model.stem
            if place in witnesses:
                raise UsageError(
                    f"{file}: models {witnesses[place]!r} and {order.name!r} would write witnesses of one name into "
                    f"{order.reports.witness_dir}: put {{name}} into witness-dir"
                )
            witnesses[place] = order.name
        check_reports(order.request, order.policy, order.reports)
    _check_removals(orders, [*inputs, *places.values()])


def _check_removals(orders: Sequence[_Order], others: list[Path]) -> None:
    """See that every repaired model can be written, to a place of its own."""
    taken: dict[Path, str] = {}
    for order in orders:
        if order.removal is None:
            continue
        check_removal(order.request, order.removal, others)
        place = order.removal.out.parent.resolve() / order.removal.out.name
        if place in taken:
            raise UsageError(
                f"remove-to {order.removal.out}: models {taken[place]!r} and {order.name!r} would both be written "
                "there: put {name} into remove-to"
            )
        taken[place] = order.name


def _around(folder: Path, report: Path) -> bool:
    """Whether a report goes right into an existing folder of inputs, which `check_writable` judges."""
    return report.parent.is_dir() and report.resolve().is_relative_to(folder.resolve())


def _scan(order: _Order, stop: Stop, *, quiet: bool, verbose: bool) -> int:
    """One model's exit code; what went wrong is told here, and the others are scanned all the same."""
    try:
        verdict = run_scan(
            order.request, order.policy, order.reports, quiet=quiet, verbose=verbose, stop=stop, removal=order.removal
        ).verdict
    except UnwrittenReport as problem:
        problem.show()
        return worst([problem.exit_code, problem.result.verdict.exit_code])
    except Failure as problem:
        problem.show()
        return problem.exit_code
    return verdict.exit_code


def _summary(orders: Sequence[_Order], codes: dict[str, int]) -> str:
    """A line a model, and how many there are of each kind."""
    width = max(len(WORDS[code]) for code in codes.values())
    lines = [
        f"{WORDS[codes[order.name]]:{width}}  {order.name}  {one_line(str(order.request.model))}" for order in orders
    ]
    counts = [
        f"{sum(one == code for one in codes.values())} {WORDS[code].lower()}"
        for code in WORST_FIRST
        if code in codes.values()
    ]
    return "\n".join([*lines, f"{len(codes)} model{'s' * (len(codes) != 1)}: {', '.join(counts)}."]) + "\n"
