"""From a model to a repaired one under its name: digests are those of what lies there, and the file check takes it."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from ebyd_scan.checks.file_walk import offences  # noqa: E402
from ebyd_scan.evidence.provenance import Provenance, repaired_of, source_of  # noqa: E402
from ebyd_scan.scanner.models.identify import identify  # noqa: E402
from ebyd_scan.scanner.models.repaired.out import check_out, provenance_path  # noqa: E402
from ebyd_scan.scanner.models.repaired.publish import publish, save_provenance, staged  # noqa: E402
from ebyd_scan.scanner.models.repaired.write import check_writable_format, write_repaired  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from .conftest import ARCHITECTURE, load, moved, net  # noqa: E402
from .test_folder import REVIEWS, _texts  # noqa: E402
from .test_publish import DOCUMENT  # noqa: E402


def _made(kind: str, folder: Path) -> Path:
    if kind == "folder":
        return Path(shutil.copytree(REVIEWS, folder / "reviews"))
    path = folder / f"net.{kind}"
    if kind == "safetensors":
        save_file(net().state_dict(), path)
    elif kind == "pt":
        torch.save({"model": net().state_dict(), "args": argparse.Namespace(lr=1), "epoch": 3}, path)
    else:
        onnx = pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
        pixels = torch.rand(2, 3, 8, 8)
        torch.onnx.export(net(), (pixels,), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}})
        onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path


@pytest.mark.parametrize("kind", ["safetensors", "pt", "onnx", "folder"])
def test_whole_way(kind: str, tmp_path: Path) -> None:
    path = _made(kind, tmp_path)
    out = path.with_name(f"repaired-{path.name}")
    check_out(out, [path], identify(path))
    artifact, original = _texts(path) if kind == "folder" else load(path, None if kind == "onnx" else ARCHITECTURE)
    check_writable_format(artifact, original)
    with staged(out) as staging:
        written = write_repaired(artifact, original, moved(original), staging)
        after = identify(staging)
        counts = {"tensors_changed": written.changed, "tensors_total": written.total, "notes": list(written.notes)}
        told = DOCUMENT | counts | {"before": source_of(artifact), "after": repaired_of(after)}
        save_provenance(staging, Provenance.model_validate(told))
        publish(staging, out)
    found = identify(out)
    saved = Provenance.model_validate(json.loads(provenance_path(out).read_text()))
    assert (saved.after.sha256, saved.after.files) == (found.sha256, found.files)
    assert (saved.before.sha256, saved.before.files) == (artifact.sha256, artifact.files)
    assert found.format == artifact.format and saved.after.sha256 != saved.before.sha256
    if kind != "folder":
        assert not offences(out, found.format)[1]
    assert not list(tmp_path.glob(".ebyd-scan-*"))
