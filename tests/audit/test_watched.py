"""What an audit notices of files that its models share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ebyd_scan.policies.load import load_policy
from ebyd_scan.scanner.audit.keys import Digests
from ebyd_scan.scanner.audit.watched import Watched
from ebyd_scan.scanner.request import ScanRequest

SAMPLES = Path(__file__).parents[2] / "fixtures" / "models" / "digits-samples.npz"


def watched(tmp_path: Path, architecture: str | None = None, reference: Path | None = None) -> Watched:
    policy = load_policy("quick")
    request = ScanRequest(
        model=tmp_path / "m.safetensors", samples=SAMPLES, policy=policy.policy, architecture=architecture,
        reference=reference,
    )  # fmt: skip
    digests = Digests()
    made = digests.watched(request)
    digests.settings(request, policy)
    return made


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "code" / "nets.py"
    path.parent.mkdir()
    path.write_text("def make(): ...\n")
    (path.parent / "parts.py").write_text("WIDTH = 16\n")
    return path


def test_code(tmp_path: Path, code: Path) -> None:
    seen = watched(tmp_path, f"{code}:make")
    assert seen.changed() is None
    os.utime(code)
    assert seen.changed() is None  # only touched
    (code.parent / "notes.txt").write_text("no code")
    assert seen.changed() is None
    parts = code.parent / "parts.py"
    parts.write_text("WIDTH = 17\n")
    assert seen.changed() == parts
    parts.write_text("WIDTH = 16\n")
    assert seen.changed() is None
    parts.unlink()
    assert seen.changed() == parts


def test_code_that_is_new(tmp_path: Path, code: Path) -> None:
    seen = watched(tmp_path, f"{code}:make")
    helper = code.parent / "helper.py"
    helper.write_text("")
    assert seen.changed() == helper


def test_a_reference_folder_with_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "gone").symlink_to("nowhere")
    seen = watched(tmp_path, reference=folder)
    assert seen.changed() is None
    (folder / "model.safetensors").write_bytes(b"Weights")
    assert seen.changed() == folder


def test_weights_beside_an_onnx_reference(tmp_path: Path) -> None:
    (tmp_path / "release.onnx").write_bytes(b"graph")
    (tmp_path / "release.onnx.data").write_bytes(b"weights")
    seen = watched(tmp_path, reference=tmp_path / "release.onnx")
    assert seen.changed() is None
    (tmp_path / "release.onnx.data").write_bytes(b"Weights")
    assert seen.changed() == tmp_path / "release.onnx.data"
