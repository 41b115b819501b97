"""Labelled texts in .csv files, whose fields may be quoted, and in .tsv files, whose fields are not."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...evidence.errors import ScanError
from .text_columns import is_header, known_names
from .text_file import decoded, lines
from .text_rows import MAX_TEXT, Given, Row, shown

_DELIMITERS = ",;\t|"
_Record = tuple[int, list[str]]  # the line it begins on, its fields


class DelimitedRows:
    """A header, if there is one, and rows of as many fields."""

    unit = "line"

    def __init__(self, path: Path, data: bytes, given: Given) -> None:
        """Decode the file, find the delimiter and the header. Raises ScanError if it is no text, or quoted wrongly."""
        self.path = path
        self._text = decoded(path, data)
        self._delimiter = None if path.suffix.lower() == ".tsv" else self._sniffed(given)
        first = next(self._records(self._delimiter), (0, []))[1]
        self.columns = tuple(field.strip() for field in first)
        self.header = is_header(first, given)
        if self._delimiter is None and not self.header and is_header([name.strip('"') for name in self.columns], given):
            raise ScanError(f"{path}: its fields are quoted, which a .tsv file's are not; call the file .csv")

    def _sniffed(self, given: Given) -> str:
        """The delimiter that makes most column names in the first line, else the first that makes two fields at all."""
        best = ","
        score = (-1, False)
        for delimiter in _DELIMITERS:
            fields = next(self._records(delimiter, strict=False), (0, []))[1]
            if (known_names(fields, given), len(fields) > 1) > score:
                best, score = delimiter, (known_names(fields, given), len(fields) > 1)
        return best

    def read(self, chosen: tuple[int, ...]) -> Iterator[Row]:
        """See `TextRows.read`. Fields beyond the header's are left out if they are empty, else refused."""
        records = self._records(self._delimiter)
        if self.header:
            next(records)
        width = len(self.columns)
        for line, fields in records:
            if len(fields) < width or any(field.strip() for field in fields[width:]):
                raise self._wrong_width(line, fields)
            yield line, tuple(fields[place] for place in chosen)

    def label_names(self, column: int) -> dict[int, str]:
        return {}

    def _records(self, delimiter: str | None, *, strict: bool = True) -> Iterator[_Record]:
        """Rows in which anything stands at all."""
        records = self._unquoted() if delimiter is None else self._quoted(delimiter, strict)
        return (record for record in records if any(field.strip() for field in record[1]))

    def _unquoted(self) -> Iterator[_Record]:
        for number, line in enumerate(lines(self._text), 1):
            yield number, line.rstrip("\r\n").split("\t")

    def _quoted(self, delimiter: str, strict: bool) -> Iterator[_Record]:
        reader = csv.reader(lines(self._text), delimiter=delimiter, strict=strict, skipinitialspace=True)
        while True:
            begin = reader.line_num + 1
            before = csv.field_size_limit(MAX_TEXT)  # is the whole process's: only ours while we read a row
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise ScanError(f"{self.path}, line {begin}: {_problem(error)}") from error
            finally:
                csv.field_size_limit(before)
            if fields is None:
                return
            yield begin, fields

    def _wrong_width(self, line: int, fields: Sequence[str]) -> ScanError:
        many = len(fields) > len(self.columns)
        if self._delimiter is None:
            cause = "a tab inside of a text has" if many else "the label is missing, or a line break in a text has"
            hint = f"{cause} to become a blank, or to stand in quotes in a .csv file"
        elif many:
            hint = f"put quotes around a text with {self._delimiter!r} in it"
        else:
            hint = "give every row its label, and put quotes around a text with a line break in it"
        return ScanError(
            f"{self.path}, line {line}: has {len(fields)} fields where the first line has {len(self.columns)} "
            f"({shown(fields[0])}); {hint}"
        )


def _problem(error: csv.Error) -> str:
    if "field limit" in str(error):
        return f"a field is longer than {MAX_TEXT} characters, or its quotes never close; shorten it, or close them"
    return "the quotes of a field are not closed where it ends; close them, and double a quote inside of a field"
