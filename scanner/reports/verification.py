"""What `verify-report` found, for a person and as JSON."""

from __future__ import annotations

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..verification import Item, Status, Verification
from .json_report import as_json
from .plain_console import plain_console, text_of
from .printable import one_line

_STYLES = {
    Status.SAME: "green",
    Status.CHANGED: "bold red",
    Status.MISSING: "bold red",
    Status.UNREADABLE: "bold magenta",
    Status.UNCHECKED: "yellow",
}
_HEADS = {
    0: ("UNCHANGED", "green", "all is as the {kind} says."),
    1: ("CHANGED", "bold red", "something is not as the {kind} says."),
    3: ("CANNOT TELL", "bold magenta", "something that the {kind} names cannot be read."),
    4: ("NOT ALL CHECKED", "yellow", "nothing has changed, but not all could be checked."),
}
_UNSIGNED = "The {kind} is not signed: that somebody made it up altogether cannot be seen here."


def to_verification_json(verification: Verification) -> str:
    """The whole of it, field by field, ASCII only."""
    return as_json(verification.model_dump(mode="json"))


def to_verification_text(verification: Verification, *, color: bool, width: int) -> str:
    """The answer first, then a line or more for each thing that was looked at."""
    console, output = plain_console(color=color, width=max(40, width))
    word, style, told = _HEADS[verification.exit_code]
    console.print(
        Text.assemble((word, style), f": {one_line(verification.report)}: {told.format(kind=verification.kind)}")
    )
    console.print(Text(f"The verdict in it is {verification.verdict.value!r}."))
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for item in verification.items:
        table.add_row(Text(item.status.value, style=_STYLES[item.status]), item.what, Text(_sentence(item)))
    console.print(Padding(table, (1, 0, 1, 2)))
    console.print(Text(_UNSIGNED.format(kind=verification.kind)))
    return text_of(output)


def _sentence(item: Item) -> str:
    told = one_line(f"{item.path}: {item.message}" if item.path else item.message)
    if item.status is Status.CHANGED and item.expected and item.found and item.what != "verdict":
        told += f" Now {item.found}, then {one_line(item.expected)}."
    return told
