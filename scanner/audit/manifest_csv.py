"""A manifest as a table: a row a model, a column an option; every mistake with its line."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from ...evidence.errors import UsageError
from ...policies.explain import explain
from ...policies.parse import Document, Problem
from ...policies.plugins import suggest
from ...policies.yaml_file import mistakes, read_bytes, text_of
from ..models.arch_args import parse_arch_args
from ..project.load import options_of, path_of, said_by
from ..project.model import ONLY_ON_COMMAND_LINE, ModelEntry, Options
from .names import named
from .plan import MAX_MODELS, Plan
from .wanted import Asked, Wanted, plan_of

KIND: Final = "manifest"
MAX_BYTES: Final = 32 << 20
COLUMNS: Final = ("model", "name", *(field.alias or name for name, field in Options.model_fields.items()))
_MOST_COLUMNS: Final = 100
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_WHOLE: Final = ("seed", "max-length")
_NUMBERS: Final = ("timeout", "memory")


@dataclass(frozen=True)
class _Row:
    line: int
    cells: Mapping[str, str]  # by column, without empty ones


@dataclass(frozen=True)
class _Mark:
    line: int  # from 0
    column: int = -1  # a Problem counts from 1, and 0 is none


def read_table(path: Path, defaults: Mapping[str, Any]) -> Plan:
    """The plan of a .csv or .tsv file.

    Raises:
        UsageError: it cannot be read or is wrong: one line a mistake, `FILE:LINE: sentence`.
    """
    return plan_of(table_of(read_bytes(str(path), KIND, limit=MAX_BYTES), path), defaults)


def table_of(data: bytes, path: Path) -> Asked:
    """What the bytes ask for that `path` holds."""
    problems: list[Problem] = []
    rows = _rows(_text(data, path), path, problems)
    checked = list(_checked(rows, problems))
    problems += _repeated(checked)
    if not rows and not problems:
        problems.append(Problem("lists no models: give each a row below the header"))
    if problems:
        raise mistakes(str(path), problems)
    given = [row.cells.get("name") for row, _ in checked]
    made = iter(
        named([row.cells["model"] for row, _ in checked if "name" not in row.cells], [name for name in given if name])
    )
    wanted = []
    for (row, entry), name in zip(checked, given, strict=True):
        model_name = name or next(made)
        model = path_of(path.parent, entry.model, model_name)
        assert model is not None
        said = options_of(said_by(entry), path.parent, model_name)
        wanted.append(Wanted(model_name, model, said, f"{path.name}:{row.line}"))
    return Asked(path, wanted)


def _text(data: bytes, path: Path) -> str:
    if data.startswith(_UTF_16):
        raise UsageError(f"{path}: is UTF-16, as some spreadsheets save text: save it as CSV in UTF-8")
    return text_of(data, str(path), "CSV")


def _rows(text: str, path: Path, problems: list[Problem]) -> list[_Row]:
    """The rows that are as long as the header, with the line they begin on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text, path), strict=True)
    header: list[str] | None = None
    rows: list[_Row] = []
    line = 1
    try:
        for cells in reader:
            begin, line = line, reader.line_num + 1
            stripped = [cell.strip() for cell in cells]
            if not any(stripped):
                continue
            if header is None:
                header = stripped
                problems += _header_problems(header, begin)
                continue
            if len(rows) == MAX_MODELS:
                problems.append(Problem(f"lists more than {MAX_MODELS:,} models: split it", begin))
                break
            if any(stripped[len(header) :]) or len(stripped) < len(header):
                told = (
                    f"has {len(stripped)} cells where the header has {len(header)}: put commas within a cell in quotes"
                )
                problems.append(Problem(told, begin))
                continue
            rows.append(_Row(begin, {key: cell for key, cell in zip(header, stripped, strict=False) if cell}))
    except csv.Error as error:
        told = {"unexpected end of data": "opens a quote that is not closed"}.get(str(error), f"is no CSV: {error}")
        problems.append(Problem(told, line))
    if header is None and not problems:
        problems.append(Problem(f"is empty: give a header ({', '.join(COLUMNS[:4])}, ...) and a row a model"))
    return rows


def _delimiter(text: str, path: Path) -> str:
    """Tabs in a .tsv; else what the header has, since some spreadsheets write semicolons."""
    header = text.lstrip().partition("\n")[0]
    if path.suffix.lower() == ".tsv" or ("\t" in header and "," not in header):
        return "\t"
    return ";" if ";" in header and "," not in header else ","


def _header_problems(header: list[str], line: int) -> Iterator[Problem]:
    if len(header) > _MOST_COLUMNS:
        yield Problem(f"has {len(header):,} columns: known are {', '.join(COLUMNS)}", line)
        return
    for index, column in enumerate(header):
        if column in header[:index]:
            yield Problem(f"column {column!r} stands here twice", line)
        elif column.replace("_", "-") in ONLY_ON_COMMAND_LINE:
            option = column.replace("_", "-")
            yield Problem(f"{column!r} cannot be set in a {KIND}: give --{option} to the run that needs it", line)
        elif not column:
            yield Problem(f"column {index + 1} has no name in the header", line)
        elif column not in COLUMNS:
            yield Problem(f"unknown column {column[:60]!r}; {suggest(column[:60], COLUMNS)}", line)
    if "model" not in header:
        yield Problem("the header has no column 'model', the file or folder of each model", line)


def _checked(rows: list[_Row], problems: list[Problem]) -> Iterator[tuple[_Row, ModelEntry]]:
    for row in rows:
        known = {key: cell for key, cell in row.cells.items() if key in COLUMNS}
        if "model" not in known:
            problems.append(Problem("has no model", row.line))
            continue
        try:
            values = {key: _value(key, cell) for key, cell in known.items()}
            yield row, ModelEntry.model_validate_json(json.dumps({"name": "model", **values}))
        except UsageError as error:
            problems.append(Problem(str(error), row.line))
        except ValidationError as error:
            marks: dict[Any, Any] = {(): _Mark(row.line - 1), **{(key,): _Mark(row.line - 1) for key in known}}
            document = Document(values=marks, written={(key,): cell for key, cell in known.items()})
            problems += explain(error, document, {})


def _value(column: str, cell: str) -> object:
    """A cell as YAML would have it; text where it cannot be read so, which is then told as what it is."""
    try:
        if column in _WHOLE:
            return _whole(cell)
        if column in _NUMBERS:
            return _number(cell)
        if column in ("mean", "std"):
            numbers = [_number(part) for part in re.split(r"[\s,;]+", cell.strip("[]() "))]
            return numbers if len(numbers) > 1 else numbers[0]
        if column == "size":
            sizes = [_whole(part) for part in re.split(r"\s*[x,;]\s*|\s+", cell.strip("[]() "))]
            return sizes if len(sizes) > 1 else sizes[0]
    except ValueError:
        return cell
    return _arguments(cell) if column == "arch-args" else cell


def _whole(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text):  # Python would take 1_000 as well, and digits of other scripts
        raise ValueError("no whole number")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or "_" in text:
        raise ValueError("no finite number")
    return number


def _arguments(cell: str) -> object:
    """`{"num_classes": 10}` or `num_classes=10;wide=true`. Raises UsageError where it is neither."""
    if cell.startswith("{"):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            raise UsageError(f"arch-args is no JSON object: {cell[:60]!r}") from None
    try:
        found = parse_arch_args([part.strip() for part in cell.split(";") if part.strip()])
        json.dumps(found)
    except UsageError as error:
        raise UsageError(str(error).replace("--arch-arg", "arch-args:").replace("KEY=VALUE", "KEY=VALUE;...")) from None
    except TypeError:
        raise UsageError(f"arch-args holds a value that JSON has not, perhaps a date: {cell[:60]!r}") from None
    return found


def _repeated(checked: list[tuple[_Row, ModelEntry]]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for row, _ in checked:
        if name := row.cells.get("name"):
            if name.casefold() in first:
                yield Problem(f"{name!r} is the name of the model on line {first[name.casefold()]} too", row.line)
            first.setdefault(name.casefold(), row.line)
