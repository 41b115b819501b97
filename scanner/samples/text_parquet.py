"""Labelled texts in .parquet files, as data sets on the Hugging Face Hub are stored."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...evidence.errors import MissingExtra, ScanError
from .text_rows import Given, Row

_BATCH = 1000  # rows unpacked at a time: one text that is stored once and repeated takes its length in each of them


class ParquetRows:
    """A table of which only the chosen columns are ever unpacked."""

    unit = "row"
    header = True

    def __init__(self, path: Path, data: bytes, given: Given) -> None:
        """Read the schema. Raises MissingExtra without pyarrow, ScanError if it is no parquet file."""
        try:
            pyarrow = importlib.import_module("pyarrow")
            parquet = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise MissingExtra("pyarrow", "parquet") from None
        self.path = path
        try:
            self._file: Any = parquet.ParquetFile(pyarrow.BufferReader(data))
            self._schema: Any = self._file.schema_arrow
            self.columns: tuple[str, ...] = tuple(self._schema.names) if self._file.metadata.num_rows else ()
        except Exception as error:  # of many kinds, from the C++ below; all of them mean the same
            raise self._broken(error) from error

    def read(self, chosen: tuple[int, ...]) -> Iterator[Row]:
        """See `TextRows.read`. Raises ScanError if a page cannot be unpacked or a text is no UTF-8."""
        names = [self.columns[place] for place in chosen]
        row = 0
        try:
            for batch in self._file.iter_batches(_BATCH, columns=names):
                for values in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
                    row += 1
                    yield row, values
        except Exception as error:
            raise self._broken(error) from error

    def label_names(self, column: int) -> dict[int, str]:
        """The names that `datasets` writes into the schema for a ClassLabel column."""
        try:
            features = json.loads(self._schema.metadata[b"huggingface"])["info"]["features"]
            names = features[self.columns[column]]["names"]
        except (TypeError, LookupError, ValueError, RecursionError):  # none there, or not as datasets writes them
            return {}
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return {}
        return dict(enumerate(names))

    def _broken(self, error: Exception) -> ScanError:
        return ScanError(
            f"{self.path}: is no parquet file that can be read ({type(error).__name__}: {str(error)[:120]!r}); "
            "write it again, or save it as .jsonl"
        )
