"""Texts from .parquet files; all but the missing extra needs pyarrow."""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.evidence.errors import MissingExtra, ScanError
from ebyd_scan.scanner.samples import text_table
from ebyd_scan.scanner.samples.text_table import TextTable, read_texts

SENTIMENT = {0: "negative", 1: "positive"}
UNNAMED = {0: "LABEL_0", 1: "LABEL_1"}

Read = Callable[..., TextTable]


def parquet_bytes(columns: dict[str, Any], names: list[str] | None = None) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(columns)
    if names is not None:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def test_parquet(read: Read) -> None:
    content = parquet_bytes({"idx": [0, 1, 2], "text": ["good\n", None, "bad"], "label": [1, 0, 0]})
    table = read("a.parquet", content)
    assert (table.texts, table.labels.tolist(), table.skipped) == (("good", "bad"), [1, 0], 1)
    assert table.sha256 == hashlib.sha256(content).hexdigest()
    rows = parquet_bytes({"a.b": ["x"] * 2500, "label": [0.0, 1.0] * 1250})
    assert len(read("a.parquet", rows, text_column="a.b")) == 2500


@pytest.mark.parametrize(
    ("names", "class_names", "indices", "expected"),
    [
        (["neg", "pos"], None, [0, 1], {0: "neg", 1: "pos"}),
        (["neg", "pos"], UNNAMED, [0, 1], {0: "neg", 1: "pos"}),
        (["positive", "negative"], SENTIMENT, [1, 0], SENTIMENT),  # the model counts differently
        (["neg", "pos"], SENTIMENT, [0, 1], SENTIMENT),  # names that the model does not know
        ([], SENTIMENT, [0, 1], SENTIMENT),
    ],
)
def test_parquet_class_labels(
    read: Read, names: list[str], class_names: dict[int, str] | None, indices: list[int], expected: dict[int, str]
) -> None:
    table = read("a.parquet", parquet_bytes({"text": ["a", "b"], "label": [0, 1]}, names), class_names=class_names)
    assert (table.labels.tolist(), table.names) == (indices, expected)


def test_unfit_parquet(read: Read) -> None:
    content = parquet_bytes({"text": ["good", "bad"] * 500, "label": [1, 0] * 500})
    for broken in (b"", b"PAR1", content[:-20], content[: len(content) // 2], b"text,label\na,0\n"):
        with pytest.raises(ScanError, match=r"a\.parquet: is no parquet file that can be read"):
            read("a.parquet", broken)
    with pytest.raises(ScanError, match="row 1: a bytes is no text"):
        read("a.parquet", parquet_bytes({"text": [b"good"], "label": [1]}))
    with pytest.raises(ScanError, match="row 2: the label is missing"):
        read("a.parquet", parquet_bytes({"text": ["good", "bad"], "label": [1, None]}))
    with pytest.raises(ScanError, match="no samples in it"):
        read("a.parquet", parquet_bytes({"text": [], "label": []}))


def test_parquet_without_pyarrow(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pyarrow is not installed: run `pip install \"ebyd-scan\[parquet\]\"`"):
        read("a.parquet", b"PAR1")


def test_mutated_parquet(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(7)
    good = parquet_bytes({"text": ["a", "b"] * 20, "label": [0, 1] * 20})
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        content = bytes(data)
        monkeypatch.setattr(text_table, "read_bytes", lambda path, content=content: content)
        try:
            assert len(read_texts(Path("a.parquet"), class_names=SENTIMENT)) > 0
        except ScanError as error:
            assert str(error).isprintable() and "a.parquet" in str(error)
