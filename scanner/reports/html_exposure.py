"""The exposure as the HTML page shows it: two plots along the steps, the classes before and after, and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...evidence.exposure import ExposureRun
from .figures import percent, top_class
from .html_names import Names
from .html_plots import STYLES, Bar, Line, bar_plot, key, line_plot

if TYPE_CHECKING:
    from ...evidence.result import ExposureInfo

_CLASSES = 10  # that have a bar of their own


def exposure_of(exposure: ExposureInfo, names: Names, rows: int) -> dict[str, Any]:
    """What the template needs: plots as SVG, legend, rows of the tables.

    Args:
        exposure: runs that broke or do not apply are in the table and have no plot.
        names: of the classes, as far as they are known.
        rows: of the tables, at most; every run has its line in the plots.
    """
    runs = exposure.runs
    drawn = [run for run in runs if run.trajectory]
    led = [(run, top[0]) for run in drawn if (top := top_class(run))]
    shares = _mean_shares(runs)
    return {
        "method": exposure.method,
        "runs": [_row(run, names) for run in runs[:rows]],
        "runs_left": max(0, len(runs) - rows),
        "accuracy": line_plot("accuracy", "Accuracy on the clean samples along the exposure", _accuracies(drawn))
        if drawn
        else None,
        "leading": line_plot("leading", "Share of predictions on the class that leads at the end", _leads(led))
        if led
        else None,
        "legend": _legend(drawn, names),
        "classes": _class_plot(shares, names) if shares else None,
        "class_rows": _class_rows(shares, names),
        "compared": sum(run.after is not None for run in runs),
    }


def _accuracies(runs: Sequence[ExposureRun]) -> list[Line]:
    return [Line(f"seed {run.seed}", [(one.step, one.accuracy) for one in run.trajectory]) for run in runs]


def _leads(led: Sequence[tuple[ExposureRun, int]]) -> list[Line]:
    return [
        Line(f"seed {run.seed}, class {label}", [(one.step, share(one.histogram, label)) for one in run.trajectory])
        for run, label in led
    ]


def share(histogram: Sequence[int], label: int) -> float:
    """Of the predictions, in 0..1; 0 where there are none."""
    whole = sum(histogram)
    return min(1.0, max(0.0, histogram[label] / whole)) if whole > 0 and label < len(histogram) else 0.0


def _legend(runs: Sequence[ExposureRun], names: Names) -> list[dict[str, Any]]:
    """One entry a line; of many one for their median."""
    if len(runs) > STYLES:
        return [{"key": key(0), "text": f"median of {len(runs)} runs; each run is a thin line"}]
    entries = []
    for index, run in enumerate(runs):
        top = top_class(run)
        leads = f": class {names.short(top[0])} leads at the end" if top else ""
        entries.append({"key": key(index), "text": f"seed {run.seed}{leads}"})
    return entries


def _mean_shares(runs: Sequence[ExposureRun]) -> list[tuple[int, float, float]]:
    """Class, mean share of predictions before and after, of the runs that came to an end; the largest after first."""
    ended = [(run.before.histogram, run.after.histogram) for run in runs if run.after is not None]
    ended = [(before, after) for before, after in ended if sum(before) > 0 and sum(after) > 0]
    count = max((len(after) for _, after in ended), default=0)
    means = []
    for label in range(count):
        before = sum(share(histogram, label) for histogram, _ in ended) / len(ended)
        after = sum(share(histogram, label) for _, histogram in ended) / len(ended)
        means.append((label, before, after))
    return sorted(means, key=lambda mean: (-mean[2], -mean[1], mean[0]))


def _class_plot(shares: Sequence[tuple[int, float, float]], names: Names) -> object:
    bars = [
        Bar(names.short(label, 14), after, percent(after), before, percent(before), marked=index == 0)
        for index, (label, before, after) in enumerate(shares[:_CLASSES])
    ]
    if rest := shares[_CLASSES:]:
        before, after = (sum(row[column] for row in rest) for column in (1, 2))
        bars.append(Bar(f"{len(rest)} others", after, percent(after), before, percent(before)))
    return bar_plot("classes", "Share of predictions by class, before and after the exposure", bars)


def _class_rows(shares: Sequence[tuple[int, float, float]], names: Names) -> list[tuple[str, str, str]]:
    rows = [(names.short(label), percent(before), percent(after)) for label, before, after in shares[: 2 * _CLASSES]]
    if rest := shares[2 * _CLASSES :]:
        before, after = (percent(min(1.0, sum(row[column] for row in rest))) for column in (1, 2))
        rows.append((f"the {len(rest)} others together", before, after))
    return rows


def _row(run: ExposureRun, names: Names) -> dict[str, str]:
    top = top_class(run)
    before = share(run.before.histogram, top[0]) if top else 0.0
    ended = "" if run.converged else "did not converge: " if run.applicable else "does not apply: "
    return {
        "seed": str(run.seed),
        "steps": str(len(run.trajectory)),
        "before": percent(run.before.accuracy),
        "after": "-" if not run.applicable else "broke" if run.after is None else percent(run.after.accuracy),
        "leading": names.short(top[0]) if top else "-",
        "share": f"{percent(before)} → {percent(top[1])}" if top else "-",
        "ended": ended + run.reason,
    }
