"""Reports are written whole or not at all, and never over an input."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ebyd_scan.evidence.errors import ScanError, UsageError
from ebyd_scan.scanner.reports.write import check_writable, write_atomically


def test_good_paths(tmp_path: Path) -> None:
    existing = tmp_path / "old.json"
    existing.write_text("old")
    reports = {
        "--json": existing,
        "--junit": tmp_path / "new.xml",
        "--html": Path("/dev/null"),
        "--md": Path("/dev/null"),
    }
    check_writable(reports, [tmp_path / "model.pt"])
    assert existing.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old.json"]


def test_refused_paths(tmp_path: Path) -> None:
    model, samples = tmp_path / "model.pt", tmp_path / "samples"
    model.touch()
    samples.mkdir()
    (samples / "a.png").touch()
    (tmp_path / "link").symlink_to(model)
    os.link(model, tmp_path / "hard")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, sentence in {
        "no/report.json": "there is no folder",
        "samples": "is a folder; name a file in it",
        "model.pt": "is an input of this scan and will not be overwritten",
        "./samples/../model.pt": "is an input of this scan",
        "link": "is an input of this scan",
        "hard": "is an input of this scan",
        "samples/a.png": "lies in the input",
        "model.pt/report.json": "there is no folder",
        "loop": "cannot be written",
        "x" * 300: "cannot be written",
        "nul\0": "cannot be written",
    }.items():
        with pytest.raises(UsageError, match=sentence) as caught:
            check_writable({"--json": tmp_path / name}, [model, samples])
        assert str(caught.value).startswith(f"--json {tmp_path}")
        assert "\n" not in str(caught.value)


def test_two_reports_to_one_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--junit and --json would both be written to"):
        check_writable({"--json": tmp_path / "a", "--junit": tmp_path / "." / "b" / ".." / "a"})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="is not writable"):
        check_writable({"--json": tmp_path / "a"})


def test_write(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_atomically(path, "caf\u00e9\n")
    assert path.read_bytes() == b"caf\xc3\xa9\n"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    write_atomically(link, "new")
    assert link.is_symlink() and path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "report.json"]


def test_devices_are_not_replaced() -> None:
    write_atomically(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ScanError, match=r"report\.json: the report cannot be written: No space left on device"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
    with pytest.raises(ScanError, match="No such file or directory"):
        write_atomically(tmp_path / "no" / "report.json", "new")
