"""Clean, labelled texts from disk: one format a file, `read_texts` picks the one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...evidence.errors import ScanError, UsageError
from .text_columns import Columns, choose_columns
from .text_delimited import DelimitedRows
from .text_file import read_bytes
from .text_json_lines import JsonLinesRows
from .text_labels import Labels, index_of
from .text_parquet import ParquetRows
from .text_rows import MAX_TEXT, Given, TextRows, shown

MAX_ROWS = 5_000_000
_MAX_CHARACTERS = 2**30  # of all texts: a parquet file may hold a long one once and repeat it
_SURROGATE = re.compile("[\ud800-\udfff]")
_FORMATS: dict[str, Callable[[Path, bytes, Given], TextRows]] = {
    ".csv": DelimitedRows,
    ".tsv": DelimitedRows,
    ".jsonl": JsonLinesRows,
    ".ndjson": JsonLinesRows,
    ".parquet": ParquetRows,
}
SUFFIXES = frozenset(_FORMATS)


@dataclass(frozen=True)
class TextTable:
    """Labelled texts in the file's order, without the rows that have none."""

    texts: tuple[str, ...]  # no blanks, tabs or line breaks around them
    pairs: tuple[str, ...] | None  # the second texts of a sentence-pair task
    labels: NDArray[np.int64]  # [N], class indices
    lines: tuple[int, ...]  # where each text stands in the file, from 1
    unit: str  # what `lines` count, "line" or "row"
    names: dict[int, str]  # of classes, as the model or the labels call them; there may be no text of one
    sha256: str  # of the file
    skipped: int  # rows without a text
    duplicates: int  # different texts (or pairs) that stand there with more than one label

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def note(self) -> str:
        """What a reader of the report should know, empty if nothing."""
        notes = []
        if self.skipped:
            notes.append(f"{self.skipped} rows without a text were left out")
        if self.duplicates:
            notes.append(f"{self.duplicates} texts stand there with different labels")
        return ", ".join(notes)


def read_texts(
    path: Path,
    *,
    class_names: Mapping[int, str] | None = None,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
) -> TextTable:
    """Read a .csv, .tsv, .jsonl (.ndjson) or .parquet file of labelled texts.

    `class_names` are the model's own by index: labels that are names stand for these. Columns that are not given are
    found by their names, see `choose_columns`.
    Raises UsageError if the path does not exist, is of another kind, or a column is missing or not to be told;
    ScanError, which names the line, if the content is unfit; MissingExtra for a .parquet file without pyarrow.
    """
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path}: is not called {', '.join(sorted(SUFFIXES))}; give the texts in such a file")
    data = read_bytes(path)
    digest = hashlib.sha256(data).hexdigest()
    given = Given(text_column, pair_column, label_column)
    rows = kind(path, data, given)
    if not rows.columns:
        raise ScanError(f"{path}: no samples in it; give some labelled clean texts of every class")
    own = class_names or {}
    known = {name.strip().casefold() for name in own.values()}
    columns = choose_columns(
        rows, given, lambda value: index_of(value.strip()) is not None or value.strip().casefold() in known
    )
    return _collected(rows, columns, Labels(rows, columns.label, own), digest)


def _collected(rows: TextRows, columns: Columns, labels: Labels, digest: str) -> TextTable:
    chosen = [columns.text, columns.label] + ([] if columns.pair is None else [columns.pair])
    texts: list[tuple[str, ...]] = []  # one or two a row
    codes: list[int] = []
    lines: list[int] = []
    count = characters = 0
    for place, (text, label, *pair) in rows.read(tuple(chosen)):
        count += 1
        if count > MAX_ROWS:
            raise ScanError(f"{rows.path}: has more than {MAX_ROWS} rows; give a part of it, a few thousand suffice")
        both = tuple(_text(rows, place, value) for value in (text, *pair))
        if not all(part.strip() for part in both):
            continue
        characters += sum(map(len, both))
        if characters > _MAX_CHARACTERS:
            raise ScanError(f"{rows.path}: its texts have more than {_MAX_CHARACTERS} characters; give a part of them")
        texts.append(both)
        codes.append(labels.add(label, place))
        lines.append(place)
    if not count:
        raise ScanError(f"{rows.path}: no samples in it, only a header; give some labelled clean texts of every class")
    skipped = count - len(texts)
    if 2 * skipped > count:
        where = " or ".join(
            shown(rows.columns[place]) if rows.header else str(place + 1)
            for place in (columns.text, columns.pair)
            if place is not None
        )
        raise ScanError(f"{rows.path}: {skipped} of {count} rows have no text in column {where}; give another column")
    indices, names = labels.indices()
    targets = indices[np.array(codes, dtype=np.int64)]
    return TextTable(
        texts=tuple(both[0] for both in texts),
        pairs=None if columns.pair is None else tuple(both[1] for both in texts),
        labels=targets,
        lines=tuple(lines),
        unit=rows.unit,
        names=names,
        sha256=digest,
        skipped=skipped,
        duplicates=_duplicates(texts, targets),
    )


def _text(rows: TextRows, place: int, value: object) -> str:
    """The text without the blanks around it, which formats leave there; empty for none."""
    if value is None:
        return ""
    if not isinstance(value, str):
        problem = f"{shown(value)} is no text; write it as one, or give another --text-column"
    elif len(value) > MAX_TEXT:
        problem = f"a text of {len(value)} characters; shorten it to {MAX_TEXT} at most"
    elif "\0" in value or (not value.isascii() and _SURROGATE.search(value)):
        problem = f"{shown(value)} holds characters that no text has (NUL or half of a pair); remove them"
    else:
        return value.strip(" \t\r\n")
    raise ScanError(f"{rows.path}, {rows.unit} {place}: {problem}")


def _duplicates(texts: list[tuple[str, ...]], targets: NDArray[np.int64]) -> int:
    first: dict[tuple[str, ...], int] = {}
    differing = {
        both for both, label in zip(texts, targets.tolist(), strict=True) if first.setdefault(both, label) != label
    }
    return len(differing)
