"""What happens to a report's path while a scan runs: no file of the user's is ever written over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ebyd_scan.evidence.errors import ScanError, UsageError
from ebyd_scan.scanner.reports.write import check_writable, write_atomically


def test_a_link_that_was_put_there_meanwhile(tmp_path: Path) -> None:
    report, mine = tmp_path / "report.json", tmp_path / "mine.txt"
    mine.write_text("mine")
    check_writable({"--json": report})
    report.symlink_to(mine)
    with pytest.raises(ScanError, match="was replaced while the work went on"):
        write_atomically(report, "{}")
    assert mine.read_text() == "mine"


def test_a_folder_that_became_a_link_meanwhile(tmp_path: Path) -> None:
    out, theirs = tmp_path / "out", tmp_path / "theirs"
    out.mkdir()
    theirs.mkdir()
    (theirs / "report.json").write_text("mine")
    check_writable({"--json": out / "report.json"})
    out.rmdir()
    out.symlink_to(theirs)
    with pytest.raises(ScanError, match="was replaced"):
        write_atomically(out / "report.json", "{}")
    assert (theirs / "report.json").read_text() == "mine"


def test_a_pipe_that_was_put_there_meanwhile(tmp_path: Path) -> None:
    """Writing to a pipe without a reader would wait for ever."""
    report = tmp_path / "report.json"
    check_writable({"--json": report})
    os.mkfifo(report)
    with pytest.raises(ScanError, match="was replaced"):
        write_atomically(report, "{}")


def test_a_link_that_was_one_before_is_followed(tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    link.symlink_to(real)
    check_writable({"--json": link})
    write_atomically(link, "{}")
    assert real.read_text() == "{}" and link.is_symlink()


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    check_writable({"--json": out / "report.json"})
    out.rmdir()
    with pytest.raises(ScanError, match="cannot be written"):
        write_atomically(out / "report.json", "{}")
    assert not out.exists()


def test_a_folder_that_became_a_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    check_writable({"--json": out / "report.json"})
    out.rmdir()
    out.write_text("mine")
    with pytest.raises(ScanError):
        write_atomically(out / "report.json", "{}")
    assert out.read_text() == "mine"


@pytest.mark.parametrize("way", ["itself", "link", "hard link", "other spelling"])
def test_an_input_is_no_output(way: str, tmp_path: Path) -> None:
    model = tmp_path / "model.pt"
    model.write_bytes(b"weights")
    report = {"itself": model, "other spelling": tmp_path / "." / "x" / ".." / "model.pt"}.get(way, tmp_path / "report")
    (tmp_path / "x").mkdir()
    if way == "link":
        report.symlink_to(model)
    if way == "hard link":
        os.link(model, report)
    with pytest.raises(UsageError, match="will not be overwritten"):
        check_writable({"--json": report}, inputs=[model])
