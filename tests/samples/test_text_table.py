"""Texts from .csv, .tsv and .jsonl: columns, rows, and every way in which files in the wild are wrong."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.evidence.errors import ScanError, UsageError
from ebyd_scan.scanner.samples import text_file, text_table
from ebyd_scan.scanner.samples.text_table import TextTable, read_texts

SENTIMENT = {0: "negative", 1: "positive"}

Read = Callable[..., TextTable]


def jsonl(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


# ---- formats


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "sentence\tlabel\ngood film\t1\nbad film\t0\n"),
        ("a.tsv", "sentence \t label\r\ngood film \t 1\r\n\r\n bad film\t0"),
        ("a.tsv", "Label\tSENTENCE\r1\tgood film\r0\tbad film\r"),
        ("a.tsv", "good film\t1\nbad film\t0\n"),
        ("a.TSV", "sentence\tlabel\tnote\t\ngood film\t1\tx\t\t\t\nbad film\t0\ty\t\n"),
        ("a.csv", "text,label\ngood film,1\nbad film,0\n"),
        ("a.csv", 'text, label\n"good film", 1\n"bad film", 0\n,\n\n'),
        ("a.csv", ",text,label\n0,good film,1\n1,bad film,0\n"),
        ("a.csv", "text;label\ngood film;1\nbad film;0\n"),
        ("a.csv", 'text\tlabel\n"good film"\t1\nbad film\t0\n'),
        ("a.csv", "1,good film\n0,bad film\n"),
        ("a.csv", "\ufefftext,label\ngood film,1\nbad film,0\n"),
        ("a.csv", "text,label\ngood film,1\nbad film,0\n".encode("utf-16")),
        ("a.csv", b"\xfe\xff" + "text,label\ngood film,1\nbad film,0\n".encode("utf-16-be")),
        ("a.jsonl", '{"text": "good film", "label": 1}\n\n{"label": "0", "text": " bad film\\n"}'),
        ("a.ndjson", jsonl({"id": [1], "Text": "good film", "y": 1.0}, {"Text": "bad film", "y": 0.0})),
    ],
)
def test_formats(read: Read, name: str, content: str | bytes) -> None:
    table = read(name, content)
    assert table.texts == ("good film", "bad film")
    assert table.labels.tolist() == [1, 0] and table.labels.dtype == "int64"
    assert table.pairs is None and table.names == {} and len(table) == 2
    assert (table.skipped, table.duplicates, table.note) == (0, 0, "")
    raw = content.encode() if isinstance(content, str) else content
    assert table.sha256 == hashlib.sha256(raw).hexdigest()


def test_csv_quotes(read: Read) -> None:
    table = read("a.csv", 'text,label\n"he said ""no"", twice",0\n"two\nlines",1\nmid "quotes" stay,1\n')
    assert table.texts == ('he said "no", twice', "two\nlines", 'mid "quotes" stay')


def test_tsv_quotes_are_characters(read: Read) -> None:
    table = read("a.tsv", 'sentence\tlabel\n" so it begins\t0\n"quoted"\t1\nthe end "\t1\n')
    assert table.texts == ('" so it begins', '"quoted"', 'the end "')


def test_characters_stay(read: Read) -> None:
    text = "a\u2028b\x0bc\x0cd\x1be\u202ef \U0001f600 g\x85"
    assert read("a.tsv", f"text\tlabel\n{text}\t0\nb\t1\n").texts[0] == text
    assert read("a.csv", f"text,label\n{text},0\nb,1\n").texts[0] == text
    assert read("a.jsonl", f'{{"text": "{text}\t!", "label": 0}}\n').texts[0] == f"{text}\t!"


def test_a_long_text_is_kept_and_the_field_limit_left_alone(read: Read) -> None:
    before = csv.field_size_limit()
    assert len(read("a.csv", f"text,label\n{'a ' * 200_000}b,0\nc,1\n").texts[0]) == 400_001
    assert csv.field_size_limit() == before


def test_real_sst2_shape(read: Read) -> None:
    rows = "".join(f"it 's \"{word}\" , is n't it ?\t{place % 2}\r\n" for place, word in enumerate("abcdef"))
    assert read("dev.tsv", "sentence\tlabel\r\n" + rows).labels.tolist() == [0, 1, 0, 1, 0, 1]


# ---- columns


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("sentence1", "sentence2"),
        ("premise", "hypothesis"),
        ("question1", "question2"),
        ("question", "sentence"),
        ("Text", "Text Pair"),
    ],
)
def test_pairs(read: Read, first: str, second: str) -> None:
    table = read("a.jsonl", jsonl({second: "b", "idx": 0, first: "a", "label": 0}))
    assert (table.texts, table.pairs) == (("a",), ("b",))


def test_given_columns(read: Read) -> None:
    content = jsonl({"premise": "a", "hypothesis": "b", "other": "c", "label": 0, "stars": 1})
    assert read("a.jsonl", content, text_column="other", label_column="stars").texts == ("c",)
    assert read("a.jsonl", content, text_column="other", label_column="stars").labels.tolist() == [1]
    assert read("a.jsonl", content, text_column="hypothesis").pairs is None
    assert read("a.jsonl", content, text_column="OTHER ", pair_column="premise").pairs == ("a",)
    assert read("a.jsonl", content, pair_column="other").texts == ("a",)
    assert read("a.csv", "was,stars\ngood,1\nbad,0\n", label_column="stars").texts == ("good", "bad")
    assert read("a.csv", "was,kind\ngood,1\nbad,0\n", text_column="was", label_column="kind").texts == ("good", "bad")


def test_the_only_other_column_is_the_text(read: Read) -> None:
    assert read("a.csv", "was,label\ngood,1\n").texts == ("good",)


def test_without_header_names_of_the_model_are_labels(read: Read) -> None:
    table = read("a.tsv", "good\tPositive\nbad\tnegative\n", class_names=SENTIMENT)
    assert (table.texts, table.labels.tolist()) == (("good", "bad"), [1, 0])
    assert read("a.tsv", "good\tLABEL_1\n1984\tLABEL_0\nbad\tLABEL_0\n").texts == ("good", "1984", "bad")
    assert read("a.tsv", "question\t1\nbad\t0\n").texts == ("question", "bad")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("text,sentence,label\na,b,0\n", {}, "more than one column could hold the texts; give --text-column one of "),
        ("text,label,target\na,0,0\n", {}, "more than one column could hold the labels; give --label-column one of "),
        ("question,context,answer,label\na,b,c,0\n", {}, "more than one column could hold the texts"),
        ("a,b,label\nc,d,0\n", {}, "no column has a usual name for the texts; give --text-column one of 'a', 'b', "),
        ("text,stars\nc,0\n", {}, "no column has a usual name for the labels; give --label-column one of 'text', "),
        ("text\na\n", {}, "no column has a usual name for the labels"),
        ("text,label\na,0\n", {"label_column": "stars"}, "no column is called 'stars'; give --label-column one of"),
        ("text,label\na,0\n", {"pair_column": "b"}, "no column is called 'b'; give --pair-column one of"),
        ("text,Text ,label\na,b,0\n", {"text_column": "TEXT"}, "more than one column is called 'TEXT'"),
        ("text,text,label\na,b,0\n", {}, "more than one column could hold the texts"),
        ("text,label\na,0\n", {"text_column": "label", "label_column": "label"}, "the same column is given twice"),
        ("good,nice\nbad,ugly\n", {}, "cannot be told from the first line, 'good', 'nice'; give --text-column and"),
        ("1,2\n3,4\n", {}, "cannot be told"),
        ("2,a,b\n1,c,d\n", {}, "cannot be told"),
        ("\x1b[31mred,b\nc,d\n", {}, r"'\x1b[31mred'"),
    ],
)
def test_columns_that_cannot_be_told(read: Read, content: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        read("a.csv", content, **options)


# ---- rows


def test_texts_know_their_lines(read: Read) -> None:
    table = read("a.csv", 'text,label\na,0\n , 1\n"b\nc",1\n\nd,1\n')
    assert [(text, table.lines[place]) for place, text in enumerate(table.texts)] == [("a", 2), ("b\nc", 4), ("d", 7)]
    assert table.unit == "line"


def test_empty_texts_are_left_out(read: Read) -> None:
    table = read("a.csv", "text,label\na,0\n , 1\nb,1\n,\n\n")
    assert (table.texts, table.skipped) == (("a", "b"), 1)
    assert table.note == "1 rows without a text were left out"
    content = jsonl({"premise": "a", "hypothesis": None, "label": 0}, {"premise": "a", "hypothesis": "b", "label": 0})
    assert read("a.jsonl", content).skipped == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "no samples in it"),
        ("a.csv", "\n\r\n , \n", "no samples in it"),
        ("a.csv", "text,label\n\n", "no samples in it, only a header"),
        ("a.jsonl", "\n", "no samples in it"),
        ("a.csv", "text,label\na,0\n,1\n,1\n", "2 of 3 rows have no text in column 'text'"),
        ("a.csv", "text,label\na,\n", "line 2: the label is missing; write one"),
        ("a.csv", 'text,label\n"a\nb",0\n"c\nd"\n', "line 4: has 1 fields where the first line has 2 ('c\\nd'); give"),
        ("a.csv", "text,label\na, and b,0\n", "line 2: has 3 fields where the first line has 2 ('a'); put quotes"),
        ("a.csv", 'text,label\na,0\n"b,1\nc,0\n', "line 3: the quotes of a field are not closed where it ends"),
        ("a.csv", 'text,label\n"a \\"b\\"",0\n', "line 2: the quotes of a field are not closed where it ends"),
        ("a.csv", 'text,label\n"' + "a\n" * 600_000, "line 2: a field is longer than 1000000 characters"),
        ("a.tsv", "text\tlabel\na\tb\t0\n", "line 2: has 3 fields where the first line has 2 ('a'); a tab inside"),
        ("a.tsv", "text\tlabel\na\n", "line 2: has 1 fields where the first line has 2 ('a'); the label is missing"),
        ("a.tsv", "text\tlabel\na\t\n", "line 2: the label is missing"),
        (
            "a.tsv",
            '"text"\t"label"\n"a"\t0\n',
            "its fields are quoted, which a .tsv file's are not; call the file .csv",
        ),
        ("a.tsv", "text\tlabel\n" + "a" * 1_000_001 + "\t0\n", "line 2: a text of 1000001 characters; shorten it"),
        ("a.tsv", b"text\tlabel\r\nb\t0\rcaf\xe9\t1\n", "line 3: byte 19 of the file, 0xe9, is not UTF-8"),
        ("a.tsv", b"\xef\xbb\xbftext\tlabel\n\xff\t1\n", "line 2: byte 14 of the file, 0xff, is not UTF-8"),
        ("a.tsv", "text\tlabel\na\t1\n".encode("utf-16")[:-1], "line 2: byte 30 of the file, 0x0a, is not UTF-16"),
        ("a.tsv", b"\xff\xfea\x00\n\x00\x00\xdc\n\x00", "line 2: byte 6 of the file, 0x00, is not UTF-16"),
        ("a.tsv", "text\tlabel\na\0b\t1\n", "line 2: holds a NUL character"),
        ("a.csv", "text,label\n".encode("utf-16-le"), "line 1: holds a NUL character"),
        ("a.csv", "text,label\n".encode("utf-32"), "line 1: holds a NUL character"),
        ("a.jsonl", '{"text": "a", "label": 0}\n{"text": }\n', "line 2: is not JSON (Expecting value, column 10)"),
        ("a.jsonl", '[{"text": "a", "label": 0}]', "line 1: holds a list, which is no object; write one object a line"),
        ("a.jsonl", '{\n"text": "a"\n}', "line 1: is not JSON"),
        ("a.jsonl", '{"text": "a", "label": 0}\n3\n', "line 2: holds 3, which is no object"),
        ("a.jsonl", '{"text": "a", "label": 0}\n{"text": "a"}\n', "line 2: the object has no 'label', others have"),
        ("a.jsonl", jsonl({"text": ["a"], "label": 0}), "line 1: a list is no text"),
        ("a.jsonl", jsonl({"text": {"en": "a"}, "label": 0}), "line 1: a dict is no text"),
        ("a.jsonl", jsonl({"text": 12, "label": 0}), "line 1: 12 is no text"),
        ("a.jsonl", jsonl({"text": "a\0", "label": 0}), r"line 1: 'a\x00' holds characters that no text has"),
        ("a.jsonl", jsonl({"text": "a\ud800", "label": 0}), r"line 1: 'a\ud800' holds characters that no text has"),
        ("a.jsonl", "[" * 100_000, "line 1: is JSON that no sample needs"),
        ("a.jsonl", f'{{"text": "a", "label": {"1" * 5000}}}', "line 1: is JSON that no sample needs"),
    ],
)
def test_unfit_files(read: Read, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(ScanError, match=re.escape(message)) as caught:
        read(name, content)
    told = str(caught.value)
    assert name in told and ";" in told and told.isprintable() and len(told) < 400


def test_paths(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        read_texts(tmp_path / "none.csv")
    (tmp_path / "a.txt").touch()
    with pytest.raises(UsageError, match=r"is not called \.csv, \.jsonl, \.ndjson, \.parquet, \.tsv"):
        read_texts(tmp_path / "a.txt")
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("folder.csv", "pipe.csv"):
        with pytest.raises(UsageError, match="is not a file"):
            read_texts(tmp_path / name)
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    with pytest.raises(ScanError, match="cannot be read"):
        read_texts(tmp_path / "loop.csv")
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(text_file.MAX_FILE + 1)  # takes no room on the disk
    with pytest.raises(ScanError, match="is larger than 1 GiB"):
        read_texts(tmp_path / "huge.csv")


def test_limits(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_table, "MAX_ROWS", 2)
    monkeypatch.setattr(text_table, "_MAX_CHARACTERS", 8)
    assert len(read("a.csv", "text,label\na,0\nb,1\n")) == 2
    with pytest.raises(ScanError, match="has more than 2 rows"):
        read("a.csv", "text,label\na,0\nb,1\nc,1\n")
    with pytest.raises(ScanError, match="have more than 8 characters"):
        read("a.csv", "text,label\nabcde,0\nfghij,1\n")


def test_texts_with_two_labels_are_counted(read: Read) -> None:
    table = read("a.csv", "text,label\na,0\na,1\na,0\nb,1\nb,1\nc,0\n")
    assert (table.duplicates, table.note) == (1, "1 texts stand there with different labels")
    assert read("a.csv", "premise,hypothesis,label\na,b,0\na,c,1\n").duplicates == 0


# ---- whatever comes


def told_or_read(monkeypatch: pytest.MonkeyPatch, name: str, content: bytes) -> None:
    """Reads it, or says in one sentence why not; anything else than a ScanError fails the test."""
    monkeypatch.setattr(text_table, "read_bytes", lambda path: content)  # thousands of files would take seconds
    try:
        table = read_texts(Path(name), class_names=SENTIMENT)
    except ScanError as error:
        told = str(error)
        assert told.isprintable() and len(told) < 1000 and name in told
    else:
        assert len(table.texts) == len(table.labels) > 0


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_random_and_mutated_bytes(monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    rng = random.Random(7)
    good = {
        "csv": 'text,label\n"a, ""b""",0\nb,positive\r\n',
        "tsv": 'sentence \t label\n"a\t1\nb\t0\n',
        "jsonl": '{"text": "a\\u00e9", "label": 0}\n{"text": "b", "label": "negative"}\n',
    }[suffix].encode()
    alphabet = b'\x00\r\n\t ,;"|\\{}[]:0195-.eE\xef\xbb\xbf\xff\xfe\x1b\xc3\xa9textlabel'
    for _ in range(400):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            place = rng.randrange(len(data) + 1)
            data[place : place + rng.randrange(3)] = bytes(rng.choices(alphabet, k=rng.randrange(4)))
        told_or_read(monkeypatch, f"a.{suffix}", bytes(data))
        told_or_read(monkeypatch, f"a.{suffix}", rng.randbytes(rng.randrange(60)))
        told_or_read(monkeypatch, f"a.{suffix}", bytes(rng.choices(alphabet, k=rng.randrange(80))))


DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "count", "classes"), [("sst2/dev.tsv", 872, 2), ("sst2/train.tsv", 6920, 2), ("ag_news/test.tsv", 7600, 4)]
)
def test_real_files(name: str, count: int, classes: int) -> None:
    if not (DATA / name).is_file():
        pytest.skip(f"{name} is not beside the repository")
    table = read_texts(DATA / name)
    assert len(table) == count and set(table.labels.tolist()) == set(range(classes))
    assert not table.skipped
