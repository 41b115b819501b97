"""What a hostile file could make the walk spend: bounded, and told where the bound is met."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from ebyd_scan.checks import file_walk
from ebyd_scan.checks.file_walk import walk_file

torch = pytest.importorskip("torch")


def _legacy(path: Path, behind: bytes = b"") -> Path:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, buffer, _use_new_zipfile_serialization=False)
    path.write_bytes(buffer.getvalue() + behind)
    return path


def test_weights_full_of_pickles_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_walk, "_HIDDEN_STEPS", 100_000)
    assert walk_file(_legacy(tmp_path / "a.pt", b"\x80\x02.." * 1000), "pytorch-legacy").problems == []
    walk = walk_file(_legacy(tmp_path / "b.pt", b"\x80\x02" * 30_000), "pytorch-legacy")
    assert walk.problems == ["the weights look like pickles in more places than can be looked at"]


def test_a_hidden_pickle_is_found_before_the_bound(tmp_path: Path) -> None:
    hidden = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."
    walk = walk_file(_legacy(tmp_path / "a.pt", b"\x80\x02.." * 1000 + hidden), "pytorch-legacy")
    assert ("posix", "system") in walk.globals


def test_the_second_look_is_for_pickles_of_common_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(file_walk, "picklescan_globals", lambda data: seen.append(len(data)) or [])
    monkeypatch.setattr(file_walk, "_SECOND_LOOK", 1000)
    path = tmp_path / "plain.pkl"
    for count in (400, 600):
        path.write_bytes(b"\x80\x02" + b"N0" * count + b"N.")
        assert walk_file(path, "unknown").problems == []
    assert seen == [2 + 800 + 2]
