"""Labelled texts in .jsonl files: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ...evidence.errors import ScanError
from .text_file import decoded, lines
from .text_rows import Given, Row, shown


class JsonLinesRows:
    """Objects whose columns are the keys of the first one."""

    unit = "line"
    header = True

    def __init__(self, path: Path, data: bytes, given: Given) -> None:
        """Decode the file, read the first object. Raises ScanError if it is no text or no object."""
        self.path = path
        self._text = decoded(path, data)
        self.columns = tuple(next(self._objects(), (0, dict[str, object]()))[1])

    def read(self, chosen: tuple[int, ...]) -> Iterator[Row]:
        """See `TextRows.read`. Raises ScanError naming the line for broken JSON, no object, or a missing key."""
        keys = [self.columns[place] for place in chosen]
        for line, found in self._objects():
            missing = next((key for key in keys if key not in found), None)
            if missing is not None:
                raise ScanError(
                    f"{self.path}, line {line}: the object has no {shown(missing)}, others have; write it on every line"
                )
            yield line, tuple(found[key] for key in keys)

    def label_names(self, column: int) -> dict[int, str]:
        return {}

    def _objects(self) -> Iterator[tuple[int, dict[str, object]]]:
        for number, line in enumerate(lines(self._text), 1):
            if not line.strip():
                continue
            try:
                found = json.loads(line, strict=False)  # control characters may stand in texts
            except json.JSONDecodeError as error:
                raise self._broken(number, f"is not JSON ({error.msg}, column {error.colno})") from None
            except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
                raise self._broken(number, "is JSON that no sample needs") from None
            if not isinstance(found, dict):
                raise self._broken(number, f"holds {shown(found)}, which is no object")
            yield number, found

    def _broken(self, line: int, problem: str) -> ScanError:
        return ScanError(
            f'{self.path}, line {line}: {problem}; write one object a line, as in {{"text": "...", "label": 0}}'
        )
