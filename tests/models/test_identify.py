"""What a file is, and the sentence for what it is not."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from ebyd_scan.evidence.errors import ScanError, UsageError
from ebyd_scan.scanner.models.arch_args import parse_arch_args, parse_architecture, trusted_modules
from ebyd_scan.scanner.models.identify import identify


def test_sentences_for_no_model_file(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").touch()
    (tmp_path / "random.pt").write_bytes(bytes(range(7, 256)) * 40)
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04" + bytes(500))
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "lfs.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "config.json").write_text("{}")
    os.mkfifo(tmp_path / "pipe")
    words = {
        "missing.pt": "does not exist",
        "empty.pt": "is empty",
        "random.pt": "not a model file",
        "cut.pt": "damaged",
        "model.h5": "Keras",
        "lfs.pt": "git lfs pull",
        "folder": "folder without a config.json",
        "hf": "has no weights",
        "pipe": "not a regular file",
    }
    for name, word in words.items():
        with pytest.raises(ScanError, match=word) as caught:
            identify(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ScanError, match="not a regular file"):
        identify(Path("/dev/null"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(ScanError, match="permissions"):
        identify(path)


def test_onnx_has_no_mark_but_its_name(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0a")
    with pytest.raises(ScanError, match="no ONNX graph"):
        identify(path)


def test_onnx_with_weights_beside_it(tmp_path: Path) -> None:
    """They are part of the model: their digest is told, and another file of weights is another model."""
    helper = pytest.importorskip("onnx.helper")
    floats, outside = helper.onnx.TensorProto.FLOAT, helper.onnx.TensorProto.EXTERNAL
    tensor = helper.onnx.TensorProto(name="w", dims=[2, 2], data_type=floats, data_location=outside)
    tensor.external_data.add(key="location", value="w.bin")
    ends = [helper.make_tensor_value_info(name, floats, [None, 2]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [tensor])
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ScanError, match="cannot be read"):
        identify(path)
    (tmp_path / "w.bin").write_bytes(bytes(16))
    artifact = identify(path)
    assert artifact.format == "onnx" and list(artifact.files) == ["w.bin"]
    assert artifact.size == path.stat().st_size + 16
    (tmp_path / "w.bin").write_bytes(bytes(15) + b"x")
    other = identify(path)
    assert other.sha256 == artifact.sha256 and other.files != artifact.files


def test_formats_by_content_and_links(tmp_path: Path) -> None:
    path = tmp_path / "anything"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}.")
    link = tmp_path / "link"
    link.symlink_to(path)
    artifact = identify(link)
    assert artifact.format == "pytorch-zip" and artifact.size == path.stat().st_size and len(artifact.sha256) == 64
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/other", b"")
    assert identify(path).format == "unknown"
    path.write_bytes(b"\x80\x04N.")
    assert identify(path).format == "unknown"


def test_arch_args() -> None:
    assert parse_arch_args(["num_classes=10", "x=true", "lr=0.1", "name=a=b", "sizes=[1, 2]"]) == {
        "num_classes": 10,
        "x": True,
        "lr": 0.1,
        "name": "a=b",
        "sizes": [1, 2],
    }
    for bad in (["x"], ["=1"], ["a b=1"], ["a=1", "a=2"], ["a=[1"]):
        with pytest.raises(UsageError):
            parse_arch_args(bad)


def test_architecture_specs() -> None:
    assert parse_architecture("torchvision:resnet18").kind == "torchvision"
    assert parse_architecture("a/b.py:Net").where == "a/b.py"
    assert parse_architecture("a.b:c").kind == "module"
    assert trusted_modules("pkg.nets:Net") == ("pkg",)
    assert trusted_modules("x/nets.py:Net") == ("nets",)
    assert trusted_modules("torchvision:resnet18") == trusted_modules(None) == ()
    for bad in ("resnet18", ":x", "a:", "a b:c", "a.b:c()"):
        with pytest.raises(UsageError):
            parse_architecture(bad)
