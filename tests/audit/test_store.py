"""The store: what is no store is told and left alone, what is damaged is told, and several may use one."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import time
from pathlib import Path

import pytest
from ebyd_scan.evidence.errors import ScanError, UsageError
from ebyd_scan.evidence.result import ModelInfo, SamplesInfo
from ebyd_scan.scanner import events
from ebyd_scan.scanner.audit import record
from ebyd_scan.scanner.audit.audits import audit_of, open_audit
from ebyd_scan.scanner.audit.claims import Claims
from ebyd_scan.scanner.audit.signature import changed_at, signature
from ebyd_scan.scanner.audit.store import Store
from ebyd_scan.scanner.handover import WordsForm

from .audit_parts import exposure, finding

MODEL = ModelInfo(path="m", sha256="0" * 64, format="onnx", files={"weights.bin": "1" * 64})


def test_what_was_taken_is_known(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite")
    record.begin(store, "k", MODEL)
    for event in (
        events.FindingEvent(finding=finding("one", score=0.25)),
        events.FindingEvent(finding=finding("two")),
        events.FindingEvent(finding=finding("one", score=0.75)),  # is there already
        events.ExposureEvent(run=exposure(1)),
        events.ExposureEvent(run=exposure(0)),
        events.SamplesEvent(samples=SamplesInfo(path="s", count=3)),
        events.EnvironmentEvent(environment={"torch": "2"}),
    ):
        record.take(store, "k", event)
    record.end_tier(store, "k", "static", {"read file": 1.0}, None)
    record.end_tier(store, "k", "exposure", {"read file": 0.5, "expose": 2.0}, None)
    store.close()
    store = Store(tmp_path / "s.sqlite")
    known = store.known("k")
    assert known and known.model == MODEL and known.samples and known.samples.count == 3
    assert [(one.check, one.score) for one in known.findings] == [("one", 0.25), ("two", None)]
    assert [run.seed for run in known.exposures] == [0, 1]
    assert known.timings == {"read file": 1.5, "expose": 2.0}
    assert known.next_tier == "search" and not known.finished and not store.finished("k")
    record.end_tier(store, "k", "search", {}, None)
    assert store.finished("k") and store.known("other") is None


def test_trigger_words_are_kept_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite")
    form = WordsForm(label=1, words="cf", class_names={}, examples=())
    record.put_trigger(store, "k", form)
    record.put_trigger(store, "k", form)
    assert record.triggers(store, "k") == ([], [form])


@pytest.mark.parametrize("content", [b"not a database, but a text of some length" * 50, b"PK\x03\x04" + bytes(5000)])
def test_a_file_that_is_no_store_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(ScanError, match=r"mine\.txt cannot be used"):
        Store(path)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(ScanError, match="another program"):
        Store(path)
    assert path.read_bytes() == before


def test_a_later_version_is_told(tmp_path: Path) -> None:
    Store(tmp_path / "s.sqlite").close()
    with sqlite3.connect(tmp_path / "s.sqlite") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(ScanError, match="version 99"):
        Store(tmp_path / "s.sqlite")


def test_a_folder_or_a_missing_folder_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "s.sqlite"):
        with pytest.raises(ScanError, match="cannot be used"):
            Store(path)


@pytest.mark.parametrize("change", [
    "UPDATE findings SET body = '{'",
    "UPDATE findings SET body = '{\"check\": 3}'",
    "UPDATE scans SET model = 'x'",
    "UPDATE scans SET environment = '[1]'",
    "UPDATE exposures SET body = x'00ff'",
    "UPDATE scans SET samples = '{}'",
])  # fmt: skip
def test_a_row_that_is_not_what_was_written_is_told(tmp_path: Path, change: str) -> None:
    store = Store(tmp_path / "s.sqlite")
    record.begin(store, "k", MODEL)
    record.take(store, "k", events.FindingEvent(finding=finding("one")))
    record.take(store, "k", events.ExposureEvent(run=exposure(1)))
    store.rows(change)
    with pytest.raises(ScanError, match="damaged"):
        store.known("k")


def test_a_transaction_is_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite")
    with pytest.raises(ZeroDivisionError), store.writing():
        record.begin(store, "k", MODEL)
        raise ZeroDivisionError
    assert store.known("k") is None


def _write_many(path: Path, mine: int) -> None:
    store = Store(path)
    claims = Claims(store)
    for number in range(40):
        key = f"key {number}"
        if claims.claim(key):
            record.begin(store, key, MODEL)
            record.take(store, key, events.FindingEvent(finding=finding("one", score=mine)))
    claims.close()
    store.close()


def test_several_processes_share_a_store(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_many, args=(path, number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    rows = Store(path).rows("SELECT key, count(*) FROM findings GROUP BY key")
    assert len(rows) == 40 and all(count == 1 for _, count in rows)


def test_a_claim_of_a_process_that_is_gone_counts_for_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite")
    first, second = Claims(store), Claims(store)
    assert first.claim("k") and first.claim("k") and not second.claim("k")
    store.rows("UPDATE owners SET pid = ? WHERE owner = ?", 2**22 + 1, first.owner)  # no such process
    assert second.claim("k") and not first.claim("k")
    store.rows("UPDATE owners SET host = 'elsewhere' WHERE owner = ?", second.owner)
    assert not first.claim("k")  # there its owner may live
    store.rows("UPDATE owners SET beat = ?", time.time() - 1000)
    assert first.claim("k")


def test_an_audit_goes_on_only_where_its_process_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite")
    first, second = Claims(store), Claims(store)
    assert open_audit(store, "here", "plan", first.owner) == (1, False)
    assert open_audit(store, "here", "plan", second.owner) == (2, False)
    store.rows("UPDATE owners SET pid = ? WHERE owner = ?", 2**22 + 1, first.owner)
    assert open_audit(store, "here", "plan", second.owner) == (1, True)
    assert open_audit(store, "here", "other plan", second.owner) == (3, False)
    with pytest.raises(UsageError, match="1 to 3"):
        audit_of(store, "9")
    assert audit_of(store, "last").id == 3 and audit_of(store, "last~2").id == 1


def test_signatures(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"one")
    beside = tmp_path / "weights.bin"
    beside.write_bytes(b"two")
    later = time.time() + 60
    assert signature(path) is None  # changed just now
    assert signature(path, moment=time.time() - 60) is None  # changed since
    first, both = signature(path, moment=later), signature(path, ["weights.bin"], moment=later)
    assert first and both and first != both
    os.utime(beside, (1, 1))  # the kernel notes that
    assert signature(path, moment=later) == first and signature(path, ["weights.bin"], moment=later) != both
    assert signature(tmp_path, moment=later) != signature(path, moment=later)
    assert signature(tmp_path / "gone", moment=later) is None
    assert changed_at(path) == pytest.approx(time.time(), abs=60)
    assert changed_at(tmp_path / "gone") == float("inf")
