"""What every format of labelled texts offers: column names first, then the values of the chosen columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Row = tuple[int, tuple[object, ...]]  # line or row from 1, and a value for each of the chosen columns

MAX_TEXT = 1_000_000  # characters; longer ones are a quote that never closes or an attack on our memory


@dataclass(frozen=True)
class Given:
    """Columns as the user named them; None where they have to be found."""

    text: str | None = None
    pair: str | None = None
    label: str | None = None

    def names(self) -> list[str]:
        return [name for name in (self.text, self.pair, self.label) if name is not None]


class TextRows(Protocol):
    """Rows on disk. Without a header `columns` holds the first row's values, which are then read as a row, too."""

    path: Path
    unit: str  # what a row is counted in, "line" or "row"
    columns: tuple[str, ...]  # empty if there are no rows
    header: bool

    def read(self, chosen: tuple[int, ...]) -> Iterator[Row]:
        """The values of the columns at these positions, row by row; may be called again.

        Raises ScanError naming the line for what cannot be read.
        """
        ...

    def label_names(self, column: int) -> dict[int, str]:
        """The names that the file itself has for the numbers in this column, none for most formats."""
        ...


def shown(value: object, limit: int = 40) -> str:
    """A value for an error message: escaped, on one line, cut; of what is neither text nor number only the type."""
    if isinstance(value, str):
        return repr(value) if len(value) <= limit else f"{value[:limit]!r}..."
    return repr(value)[:limit] if value is None or isinstance(value, int | float) else f"a {type(value).__name__}"
