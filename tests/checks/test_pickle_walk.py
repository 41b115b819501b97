"""What the symbolic unpickler knows about storages, and that a hostile pickle cannot make it large or slow."""

from __future__ import annotations

import io
import pickle
import zipfile

import pytest
from ebyd_scan.checks import pickle_walk
from ebyd_scan.checks.pickle_walk import Storage, walk_pickle

torch = pytest.importorskip("torch")


def _walk(data: bytes) -> pickle_walk.PickleReport:
    return walk_pickle(io.BytesIO(data), 1 << 28)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_storages_are_told_in_every_protocol(protocol: int) -> None:
    whole = torch.zeros(4, 6)
    buffer = io.BytesIO()
    torch.save({"a": whole, "view": whole[:2], "b": torch.zeros(3).half()}, buffer, pickle_protocol=protocol)
    with zipfile.ZipFile(buffer) as archive:
        report = _walk(archive.read("archive/data.pkl"))
    assert report.complete
    assert report.storages == {"0": Storage("FloatStorage", "0", 24), "1": Storage("HalfStorage", "1", 3)}
    assert report.odd_references == 0


@pytest.mark.parametrize("reference", [("module", "a", "b", "c", 1), ("storage", "no class", "0", "cpu", 4), 7])
def test_other_references_are_told_apart(reference: object) -> None:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return reference if value == "here" else None

    buffer = io.BytesIO()
    Pickler(buffer).dump(["here"])
    report = _walk(buffer.getvalue())
    assert (report.complete, report.storages, report.odd_references) == (True, {}, 1)


def test_a_reference_to_the_mark_is_broken() -> None:
    assert "mark" in str(_walk(b"\x80\x02(Q.").error)


@pytest.mark.parametrize(("body", "held"), [(b"N", "values at once"), (b"N\x940", "values at once")])
def test_a_pickle_that_only_grows_is_given_up(body: bytes, held: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_walk, "_MAX_HELD", 1000)
    fine = _walk(b"\x80\x04" + body * 900 + b"N.")
    assert fine.complete and fine.error is None
    report = _walk(b"\x80\x04" + body * 2000 + b"N.")
    assert not report.complete and held in str(report.error)
    assert report.steps < 4000


def test_too_many_globals_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_walk, "_MAX_GLOBALS", 100)
    report = _walk(b"\x80\x02" + b"".join(b"cm\nn%d\n0" % index for index in range(200)) + b"N.")
    assert "more than 100 things" in str(report.error)
    assert len(report.globals) == 101  # seen before: they count against the file
