"""Plots as inline SVG: drawn here, coloured by the page's style sheet, in light and dark.

Each has a title and a description for screen readers. Lines differ in their dashes and in the mark at their end, bars
in hatching: nothing is told by colour alone. A plot is 340 units wide, so that its text can be read on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .figures import percent
from .html_names import clip
from .printable import one_line

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH = 340
STYLES = 6  # lines that can be told from each other
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4", "12 4")
_POINTS = 80  # of a line
_LEFT, _RIGHT, _TOP, _HEIGHT = 42, 14, 12, 150
_VALUES, _ROW, _LETTER = 62, 34, 7  # room for figures of bars, height of a row, width of a letter


@dataclass(frozen=True)
class Line:
    """Shares in 0..1 by step."""

    name: str
    points: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Bar:
    """Shares in 0..1 before and after, or one value where there is no before."""

    name: str
    after: float
    text: str
    before: float | None = None
    before_text: str = ""
    marked: bool = False  # the one that the plot is about


def _markup(template: str, **values: object) -> Markup:
    """`template` with values filled in, each made printable and escaped."""
    from markupsafe import Markup

    return Markup(template).format(**{k: one_line(v) if type(v) is str else v for k, v in values.items()})


def _join(parts: Sequence[Markup]) -> Markup:
    from markupsafe import Markup

    return Markup("").join(parts)


def _svg(identity: str, height: float, title: str, description: str, body: Sequence[Markup]) -> Markup:
    return _markup(
        '<svg class="plot" role="img" viewBox="0 0 {width} {height:.0f}" aria-labelledby="{id}-t {id}-d">'
        '<title id="{id}-t">{title}</title><desc id="{id}-d">{description}</desc>{body}</svg>',
        **{"width": WIDTH, "height": height, "id": identity, "title": title},
        **{"description": description, "body": _join(body)},
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", style: str = "") -> Markup:
    template = '<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
    return _markup(template, x=x, y=y, text=text, anchor=anchor, style=style)


def line_plot(identity: str, title: str, lines: Sequence[Line]) -> Markup:
    """Shares along the steps. Of more lines than can be told apart all are thin, and their median is drawn over them.

    Args:
        identity: of the plot in its page; ours, never text of a result.
        title: for screen readers; the page shows it too.
        lines: each with at least one point.
    """
    last = max((step for line in lines for step, _ in line.points), default=0)
    first = min((step for line in lines for step, _ in line.points), default=0)
    body = [*_shares_axis(), *_steps_axis(first, last)]
    many = len(lines) > STYLES
    for index, line in enumerate(lines):
        style = "many" if many else f"line s{index}"
        body.append(_line(style, "" if many else _DASHES[index], _placed(_thinned(line.points), first, last)))
        if not many:
            body.append(mark(index, *_placed(line.points[-1:], first, last)[0]))
    if many:
        middle = _placed(_thinned(median(lines)), first, last)
        body += [_line("line s0 strong", "", middle), mark(0, *middle[-1])]
    return _svg(identity, _TOP + _HEIGHT + 40, title, _told(lines), body)


def median(lines: Sequence[Line]) -> list[tuple[int, float]]:
    """Of the lines that reach a step, at every step."""
    by_step: dict[int, list[float]] = {}
    for line in lines:
        for step, share in line.points:
            by_step.setdefault(step, []).append(share)
    return [(step, sorted(shares)[len(shares) // 2]) for step, shares in sorted(by_step.items())]


def _told(lines: Sequence[Line]) -> str:
    if len(lines) > STYLES:
        starts, ends = ([line.points[end][1] for line in lines] for end in (0, -1))
        return (
            f"{len(lines)} runs, from {percent(min(starts))} to {percent(max(starts))} at the start, "
            f"from {percent(min(ends))} to {percent(max(ends))} at the end."
        )
    return " ".join(
        f"{clip(line.name, 60)}: {percent(line.points[0][1])} at step {line.points[0][0]}, "
        f"{percent(line.points[-1][1])} at step {line.points[-1][0]}."
        for line in lines
    )


def _shares_axis() -> list[Markup]:
    parts = []
    for share in (0, 25, 50, 75, 100):
        y = _TOP + _HEIGHT * (1 - share / 100)
        parts.append(_markup('<path class="grid" d="M{x} {y:.1f}H{end}"/>', x=_LEFT, end=WIDTH - _RIGHT, y=y))
        parts.append(_text(_LEFT - 6, y + 4, f"{share} %", anchor="end"))
    return parts


def _steps_axis(first: int, last: int) -> list[Markup]:
    y = _TOP + _HEIGHT + 16
    parts = []
    for tick in sorted({first, (first + last) // 2, last}):
        anchor = "end" if tick == last != first else "middle"
        parts.append(_text(_place(tick, first, last), y, clip(str(tick), 9), anchor=anchor))
    return [*parts, _text((_LEFT + WIDTH - _RIGHT) / 2, y + 17, "step", anchor="middle")]


def _place(step: int, first: int, last: int) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * ((step - first) / (last - first) if last > first else 0)


def _placed(points: Sequence[tuple[int, float]], first: int, last: int) -> list[tuple[float, float]]:
    return [(_place(step, first, last), _TOP + _HEIGHT * (1 - _bounded(share))) for step, share in points]


def _bounded(share: float) -> float:
    return min(1.0, max(0.0, share))


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most `_POINTS`, with the first and the last."""
    if len(points) <= _POINTS:
        return list(points)
    return [points[round(index * (len(points) - 1) / (_POINTS - 1))] for index in range(_POINTS)]


def _line(style: str, dashes: str, places: Sequence[tuple[float, float]]) -> Markup:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    template = '<polyline class="{style}" stroke-dasharray="{dashes}" points="{points}"/>'
    return _markup(template, style=style, dashes=dashes or "none", points=points)


def mark(style: int, x: float, y: float) -> Markup:
    """The shape at the end of a line: circle, square, triangle, diamond, ring, cross."""
    circle, at = 'cx="{x:.1f}" cy="{y:.1f}" r="4"/>', "M{x:.1f} {y:.1f}"
    shapes = (
        '<circle class="mark s{style}" ' + circle,
        '<path class="mark s{style}" d="' + at + 'm-4 -4h8v8h-8z"/>',
        '<path class="mark s{style}" d="' + at + 'm0 -5l5 9h-10z"/>',
        '<path class="mark s{style}" d="' + at + 'm0 -5l5 5l-5 5l-5 -5z"/>',
        '<circle class="line s{style}" ' + circle,
        '<path class="line s{style}" d="' + at + 'm-4 -4l8 8m0 -8l-8 8"/>',
    )
    return _markup(shapes[style], style=style, x=x, y=y)


def key(style: int) -> Markup:
    """A line and its mark, for a legend."""
    return _markup(
        '<svg class="key" aria-hidden="true" viewBox="0 0 44 12">'
        '<path class="line s{style}" stroke-dasharray="{dashes}" d="M2 6h34"/>{mark}</svg>',
        **{"style": style, "dashes": _DASHES[style] or "none", "mark": mark(style, 37, 6)},
    )


def bar_plot(identity: str, title: str, bars: Sequence[Bar]) -> Markup:
    """A row a bar, `before` above `after` where there is one. The longest fills the room."""
    longest = max([_bounded(max(bar.after, bar.before or 0)) for bar in bars] + [1e-9])
    left = 12 + _LETTER * max((len(clip(bar.name, 14)) for bar in bars), default=0)
    unit = (WIDTH - left - _VALUES) / longest
    paired = any(bar.before is not None for bar in bars)
    height = _ROW if paired else 24
    body: list[Markup] = []
    told = []
    for index, bar in enumerate(bars):
        top = index * height
        style = "strong" if bar.marked else ""
        body.append(_text(left - 8, top + height / 2 + 2, clip(bar.name, 14), anchor="end", style=style))
        if bar.before is not None:
            body += _bar("before", left, top + 1, unit * _bounded(bar.before), bar.before_text)
        style = "after marked" if bar.marked else "after"
        body += _bar(style, left, top + (15 if paired else 3), unit * _bounded(bar.after), bar.text)
        told.append(f"{bar.name}: " + (f"{bar.before_text} before, {bar.text} after" if paired else bar.text))
    return _svg(identity, len(bars) * height, title, "; ".join(told) + ".", body)


def _bar(style: str, left: float, top: float, length: float, text: str) -> list[Markup]:
    length = max(1.0, length)
    template = '<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="12" rx="1.5"/>'
    bar = _markup(template, style=style, x=left, y=top, width=length)
    return [bar, _text(left + length + 6, top + 10, text)]


def score_bar(score: float | None, threshold: float | None) -> Markup | None:
    """The score as a bar with a mark at the threshold; None where there is nothing to compare.

    Hidden from screen readers: the figures stand beside it.
    """
    if score is None or threshold is None or score == threshold == 0:
        return None
    low, high = min(0.0, score, threshold), max(0.0, score, threshold)
    unit = 190 / ((high / 2 - low / 2) or 1)  # halves: the difference of two large figures may not be one

    def at(value: float) -> float:
        return 5 + unit * (value / 2 - low / 2)

    start, end = sorted((at(0.0), at(score)))
    return _markup(
        '<svg class="score" aria-hidden="true" viewBox="0 0 200 18"><rect class="track" x="5" y="5" width="190" '
        'height="8" rx="2"/><rect class="fill" x="{start:.1f}" y="5" width="{width:.1f}" height="8" rx="2"/>'
        '<path class="threshold" d="M{mark:.1f} 1v16"/></svg>',
        **{"start": start, "width": max(1.0, end - start), "mark": at(threshold)},
    )
