"""The whole model with its provenance, or nothing, and never over something else."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ebyd_scan.evidence.artifact import Artifact
from ebyd_scan.evidence.errors import ScanError, UsageError
from ebyd_scan.evidence.provenance import Provenance
from ebyd_scan.scanner.models.repaired import publish as publishing
from ebyd_scan.scanner.models.repaired.out import IN_FOLDER, check_out, provenance_path
from ebyd_scan.scanner.models.repaired.publish import publish, save_provenance, staged

DOCUMENT = {
    "tool": {"version": "0"},
    "created": "2026-01-01T00:00:00+00:00",
    "before": {"path": "a\udcff", "sha256": "0", "format": "onnx"},
    "after": {"sha256": "1"},
    "method": "fine-tuning",
    "reason": "10 epochs.",
    "policy": {"name": "default", "sha256": "2"},
    "seed": 0,
    "samples_sha256": "3",
    "figures": {"accuracy_before": 0.9, "accuracy_after": 0.8, "accepted": True, "why": "The trigger is gone."},
    "tensors_changed": 1,
    "tensors_total": 2,
}
PROVENANCE = Provenance.model_validate(DOCUMENT)


def _file(out: Path, data: bytes = b"model", weights: bytes | None = None) -> None:
    with staged(out) as staging:
        staging.write_bytes(data)
        if weights is not None:
            staging.with_name(f"{staging.name}.data").write_bytes(weights)
        save_provenance(staging, PROVENANCE)
        publish(staging, out)


def _folder(out: Path) -> None:
    with staged(out) as staging:
        staging.mkdir()
        (staging / "config.json").write_text("{}")
        (staging / "model.safetensors").write_bytes(b"weights")
        save_provenance(staging, PROVENANCE)
        publish(staging, out)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_and_its_companions(tmp_path: Path) -> None:
    out = tmp_path / "net.onnx"
    _file(out, weights=b"weights")
    assert _names(tmp_path) == {"net.onnx", "net.onnx.data", "net.onnx.provenance.json"}
    told = json.loads(provenance_path(out).read_text())
    assert told["schema_version"] == "1" and told["before"]["path"] == "a\N{REPLACEMENT CHARACTER}"
    assert Provenance.model_validate(told).figures == PROVENANCE.figures
    assert out.stat().st_nlink == 1 and out.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_folder(tmp_path: Path) -> None:
    _folder(tmp_path / "net")
    assert _names(tmp_path) == {"net"}
    assert _names(tmp_path / "net") == {"config.json", "model.safetensors", IN_FOLDER}
    with pytest.raises(ScanError, match="is there already"):
        _folder(tmp_path / "net")
    assert _names(tmp_path) == {"net"}


@pytest.mark.parametrize("name", ["net.pt", "net.pt.data", "net.pt.provenance.json"])
@pytest.mark.parametrize("kind", ["file", "folder", "dangling"])
def test_nothing_is_overwritten(name: str, kind: str, tmp_path: Path) -> None:
    there = tmp_path / name
    if kind == "file":
        there.write_bytes(b"mine")
    elif kind == "folder":
        there.mkdir()
    else:
        there.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ScanError, match="is there already"):
        _file(tmp_path / "net.pt", weights=b"weights")
    assert _names(tmp_path) == {name}
    assert kind != "file" or there.read_bytes() == b"mine"


def test_without_provenance_nothing_is_published(tmp_path: Path) -> None:
    with staged(tmp_path / "net.pt") as staging:
        staging.write_bytes(b"model")
        with pytest.raises(AssertionError):
            publish(staging, tmp_path / "net.pt")
    assert not _names(tmp_path)


@pytest.mark.parametrize("step", range(3))
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "interrupt"]
)
def test_a_failure_leaves_nothing(
    error: BaseException, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, calls = publishing._name, []

    def failing(part: Path, place: Path) -> None:
        calls.append(place)
        if len(calls) <= step:
            name(part, place)
        else:
            raise error

    monkeypatch.setattr(publishing, "_name", failing)
    with pytest.raises((ScanError, KeyboardInterrupt)):
        _file(tmp_path / "net.pt", weights=b"weights")
    assert not _names(tmp_path)


def test_an_interrupt_after_the_last_step_leaves_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = publishing._name

    def late(part: Path, place: Path) -> None:
        name(part, place)
        if place.name == "net.pt":
            raise KeyboardInterrupt

    monkeypatch.setattr(publishing, "_name", late)
    with pytest.raises(KeyboardInterrupt):
        _file(tmp_path / "net.pt")
    assert _names(tmp_path) == {"net.pt", "net.pt.provenance.json"}


def test_where_the_file_system_has_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", link)
    _file(tmp_path / "net.pt")
    assert _names(tmp_path) == {"net.pt", "net.pt.provenance.json"}
    with pytest.raises(ScanError, match="is there already"):
        _file(tmp_path / "net.pt")


def _killed(out: Path) -> Path:
    """What a run leaves that is killed between the provenance and the model."""
    stage = out.parent / ".ebyd-scan-0123456789abcdef.part"
    stage.mkdir()
    for name in (f"{out.name}.provenance.json", f"{out.name}.data", out.name):
        (stage / name).write_text("of the killed run")
    for name in (f"{out.name}.provenance.json", f"{out.name}.data"):
        os.link(stage / name, out.parent / name)
    return stage


def test_what_a_killed_run_left_does_not_stop_the_next(tmp_path: Path) -> None:
    out = tmp_path / "net.onnx"
    _killed(out)
    artifact = Artifact(path=tmp_path / "old.onnx", format="onnx", sha256="", size=0)
    check_out(out, [], artifact)
    _file(out, weights=b"weights")
    assert _names(tmp_path) == {"net.onnx", "net.onnx.data", "net.onnx.provenance.json"}
    assert out.with_name("net.onnx.data").read_bytes() == b"weights"
    assert "fine-tuning" in provenance_path(out).read_text()


def test_provenance_of_a_model_that_was_moved_away_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "net.pt"
    _file(out)
    out.rename(tmp_path / "deployed.pt")
    with pytest.raises(UsageError, match=r"provenance.json is there already"):
        check_out(out)
    with pytest.raises(ScanError, match=r"provenance.json is there already"):
        _file(out)


def _publish_for_ever(folder: Path, gone: Path) -> None:
    for turn in range(10**6):
        for kind in ("file", "folder"):
            out = folder / f"{kind}-{turn % 5}"
            if not out.exists():
                check_out(out)
                _file(out, b"model" * 20000, b"weights") if kind == "file" else _folder(out)
        if turn % 5 == 4:
            _clear(folder, gone)


def _clear(folder: Path, gone: Path) -> None:
    """Models are moved away, then what belongs to them is removed; what killed runs have left stays."""
    for out in [*folder.glob("file-?"), *folder.glob("folder-?")]:
        out.rename(gone / f"{out.name}-{time.monotonic_ns()}")
    for out in folder.glob("file-*"):
        if out.stat().st_nlink == 1:
            out.unlink()


def kill_runs(folder: Path, gone: Path, times: int) -> None:
    """Start runs and kill them at random moments; prints how many models and hidden folders there were, all whole."""
    draw, models, hidden, orphans = random.Random(0), 0, 0, 0
    for _ in range(times):
        child = os.fork()
        if not child:
            try:
                _publish_for_ever(folder, gone)
            finally:
                os._exit(1)
        time.sleep(draw.uniform(0.001, 0.05))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, "it ended by itself"
        hidden += len(list(folder.glob(".ebyd-scan-*.part")))
        for out in folder.glob("file-?"):
            assert out.stat().st_size == 100000 and out.with_name(f"{out.name}.data").read_bytes() == b"weights"
            Provenance.model_validate_json(provenance_path(out).read_bytes())
            models += 1
        for out in folder.glob("folder-?"):
            assert _names(out) == {"config.json", "model.safetensors", IN_FOLDER}, out
            models += 1
        orphans += sum(not out.with_name(out.name[:6]).exists() for out in folder.glob("file-?.*"))
        _clear(folder, gone)
    print(models, hidden, orphans)


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """In a process without torch and its threads, which forks."""
    (tmp_path / "models").mkdir()
    (tmp_path / "gone").mkdir()
    code = f"import sys, pathlib; from {__name__} import kill_runs; kill_runs(*map(pathlib.Path, sys.argv[1:]), 100)"
    command = [sys.executable, "-c", code, str(tmp_path / "models"), str(tmp_path / "gone")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert not done.returncode, done.stderr
    models, hidden, _ = map(int, done.stdout.split())
    assert models and hidden, "nothing was published, or no run was killed at work"


def test_out_is_checked_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, samples = tmp_path / "model", tmp_path / "samples.npz"
    model.mkdir()
    (model / "sub").mkdir()
    samples.write_bytes(b"")
    (tmp_path / "soft").symlink_to(model)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.link(samples, tmp_path / "hard.npz")
    report = tmp_path / "new.pt.provenance.json"
    for out, says in {
        "model": "would overwrite",
        "./soft/../model": "would overwrite",
        "soft": "would overwrite",
        "model/new.pt": "lies in the input",
        "soft/sub/new.pt": "lies in the input",
        "model/../model/sub/new": "lies in the input",
        "samples.npz": "would overwrite",
        "hard.npz": "would overwrite",
        "new.pt": "would overwrite",
        ".": "is no name|would overwrite",
        "..": "is no name",
        "missing/new.pt": "there is no folder",
        "samples.npz/new.pt": "there is no folder",
        "loop": "is there already",
        "loop/new.pt": "cannot be written|there is no folder",
        "n" * 300: "cannot be written",
        "a\0b": "cannot be written",
    }.items():
        with pytest.raises(UsageError, match=f"--out .*({says})"):
            check_out(Path(out), [model, samples, report])
    check_out(Path("other.pt"), [model, samples, report, tmp_path / "not there"])
    assert _names(tmp_path) == {"model", "samples.npz", "soft", "loop", "hard.npz"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="is not writable"):
        check_out(tmp_path / "net.pt")


@pytest.mark.parametrize(
    ("format_", "source", "out", "better"),
    [
        ("pytorch-zip", "a.pt", "b.safetensors", "b.pt"),
        ("safetensors", "a.safetensors", "b.pt", "b.safetensors"),
        ("safetensors", "a.safetensors", "b", "b.safetensors"),
        ("onnx", "a.onnx", "b.pb", "b.onnx"),
        ("torchscript", "a.pt", "b.pt2", "b.pt"),
        ("torch-export", "a.pt2", "b.pt", "b.pt2"),
        ("pytorch-zip", "a.pt", "b.h5", "b.pt"),
        ("pytorch-zip", "a.pt", "b", None),
        ("pytorch-zip", "a.pt", "b.bin", None),
        ("pytorch-legacy", "a.model", "b.model", None),
        ("pytorch-zip", "a.weights", "b.PTH", None),
        ("safetensors", "a.pt", "b.pt", None),
        ("huggingface", "a", "b.safetensors", None),
    ],
)
def test_the_suffix_goes_with_the_format(
    format_: str, source: str, out: str, better: str | None, tmp_path: Path
) -> None:
    artifact = Artifact(path=tmp_path / source, format=format_, sha256="", size=0)  # type: ignore[arg-type]
    if better is None:
        check_out(tmp_path / out, [], artifact)
        return
    with pytest.raises(UsageError, match=f"call it {better}$"):
        check_out(tmp_path / out, [], artifact)
