"""A rich console that writes to a string and takes nothing from the environment."""

from __future__ import annotations

from io import StringIO

from rich.console import Console


def plain_console(*, color: bool, width: int) -> tuple[Console, StringIO]:
    """The console and what it writes to; without `color` no escape sequences. Markup is not interpreted."""
    output = StringIO()
    console = Console(
        file=output,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        width=width,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
        _environ={},  # the caller has decided about colour and width; NO_COLOR and COLUMNS have no say any more
    )
    return console, output


def text_of(output: StringIO) -> str:
    """What was written, without the blanks that rich pads every line with: nobody wants those in a log."""
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines()) + "\n"
