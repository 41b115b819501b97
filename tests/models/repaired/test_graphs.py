"""TorchScript, torch.export and ONNX: the same graph with other numbers."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from ebyd_scan.evidence.errors import ScanError  # noqa: E402
from ebyd_scan.scanner.models.repaired.write import check_writable_format, write_repaired  # noqa: E402

from .conftest import load, moved, near, net  # noqa: E402

Repair = Callable[..., Any]
PIXELS = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def _scores(classifier: Any) -> Any:
    with torch.no_grad():
        return classifier.logits(PIXELS)


@pytest.mark.parametrize("made", ["traced", "scripted", "half"])
def test_torchscript(made: str, tmp_path: Path, repair: Repair) -> None:
    path = tmp_path / "net.pt"
    model = net()
    script = torch.jit.script(model) if made == "scripted" else torch.jit.trace(model, PIXELS)
    script = script.half() if made == "half" else script
    torch.jit.save(script, path, _extra_files={"labels.txt": "a\nb", "raw": b"\x80\xff"})
    place, written, repaired, loaded = repair(path)
    assert near(loaded, repaired, 1e-3 if made == "half" else 0)
    assert torch.allclose(_scores(loaded), _scores(repaired), atol=2e-2 if made == "half" else 1e-6)
    old, new = torch.jit.load(path), torch.jit.load(place)
    assert [(n, t.dtype) for n, t in new.state_dict().items()] == [(n, t.dtype) for n, t in old.state_dict().items()]
    assert new.code == old.code and new.training is old.training
    with zipfile.ZipFile(place) as archive:
        extra = {n.split("/extra/")[1]: archive.read(n) for n in archive.namelist() if "/extra/" in n}
    assert extra == {"labels.txt": b"a\nb", "raw": b"\x80\xff"}
    assert written.changed == written.total == len(old.state_dict())


def test_torchscript_with_tied_weights(tmp_path: Path, repair: Repair) -> None:
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.script(net(tied=True)), path)
    _, _, repaired, loaded = repair(path)
    assert torch.allclose(_scores(loaded), _scores(repaired), atol=1e-6)


@pytest.mark.parametrize("decomposed", [False, True])
def test_exported(decomposed: bool, tmp_path: Path, repair: Repair) -> None:
    path = tmp_path / "net.pt2"
    program = torch.export.export(net(), (PIXELS,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    extra = {"labels.txt": "a\nb"}
    torch.export.save(program.run_decompositions() if decomposed else program, path, extra_files=extra)
    place, written, repaired, loaded = repair(path)
    assert near(loaded, repaired)
    assert torch.allclose(_scores(loaded), _scores(repaired), atol=1e-6)
    again: dict[str, Any] = {"": ""}
    own = torch.export.load(place, extra_files=again).module()((PIXELS - 0.5) / 0.25)
    assert torch.allclose(own, _scores(repaired), atol=1e-5)
    assert written.changed == written.total == len(program.state_dict)
    assert again == {"": "", **extra} and not written.notes


def test_exported_with_tied_weights_and_another_program(tmp_path: Path, repair: Repair) -> None:
    from torch.export.pt2_archive._package import package_pt2

    path = tmp_path / "net.pt2"
    dynamic = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(net(tied=True), (PIXELS,), dynamic_shapes=dynamic)
    package_pt2(path, exported_programs={"model": program, "other": program})
    _, written, repaired, loaded = repair(path)
    assert torch.allclose(_scores(loaded), _scores(repaired), atol=1e-6)
    assert any("other programs" in note for note in written.notes)


@pytest.mark.parametrize("outside", [False, True], ids=["inside", "beside"])
def test_onnx(outside: bool, tmp_path: Path, repair: Repair) -> None:
    onnx, ort = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    path = tmp_path / "net.onnx"
    torch.onnx.export(
        net(), (PIXELS,), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}}, verbose=False
    )
    if outside:
        onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    place, written, repaired, loaded = repair(path, samples=PIXELS)
    session = ort.InferenceSession(str(place), providers=["CPUExecutionProvider"])
    scores = session.run(None, {"x": ((PIXELS - 0.5) / 0.25).numpy()})[0]
    assert torch.allclose(torch.from_numpy(scores), _scores(repaired), atol=1e-4)
    assert torch.allclose(_scores(loaded), _scores(repaired), atol=1e-5)
    assert place.with_name("repaired.onnx.data").exists() is outside
    assert 0 < written.changed <= written.total
    assert any("onnxruntime gives" in note for note in written.notes)


def test_refused_before_the_work(tmp_path: Path) -> None:
    frozen, phone = tmp_path / "frozen.pt", tmp_path / "phone.ptl"
    torch.jit.save(torch.jit.freeze(torch.jit.script(net())), frozen)
    torch.jit.script(net())._save_for_lite_interpreter(str(phone))
    for path, says in ((frozen, "frozen into the graph as constants"), (phone, "is for the lite interpreter")):
        artifact, original = load(path)
        with pytest.raises(ScanError, match=says):
            check_writable_format(artifact, original)


def test_another_file_than_the_one_that_was_loaded(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.script(net()), path)
    _, original = load(path)
    other = net()
    torch.nn.init.zeros_(other.head.bias)
    torch.jit.save(torch.jit.script(other), path)
    artifact, _ = load(path)
    with pytest.raises(ScanError, match="does not hold the model that was repaired"):
        write_repaired(artifact, original, moved(original), tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()
