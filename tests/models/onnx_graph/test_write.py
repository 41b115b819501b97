"""Changed networks go back into their graphs: onnxruntime gives their scores, and a repaired one is repaired."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
import numpy as np  # noqa: E402
from ebyd_scan.checks.onnx_read import external_files, tensors  # noqa: E402
from ebyd_scan.evidence.errors import ScanError  # noqa: E402
from ebyd_scan.fixtures import networks  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.write import prove_written, write_onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from torch import nn  # noqa: E402

from .written import PICTURE, SMALL, goes_back, linear, load, move, numbers_of, parsed, scores, without_numbers  # noqa: E402


@pytest.mark.parametrize("new", [False, True], ids=["old exporter", "new exporter"])
@pytest.mark.parametrize("name", ["small_resnet", "small_convnext", "small_vit"])
def test_a_network_goes_back(name: str, new: bool, export: Any) -> None:
    torch.manual_seed(0)
    path = export(getattr(networks, name)().eval(), PICTURE, new=new, **({"external_data": False} if new else {}))
    module = load(path, PICTURE)
    write_onnx(path, module, path.parent / "same.onnx")
    assert (path.parent / "same.onnx").read_bytes() == path.read_bytes()
    out = goes_back(path, moved := move(module), torch.rand(4, *PICTURE))
    again = load(out, PICTURE)
    assert again.names.keys() == moved.names.keys()
    assert all(torch.equal(again.get_parameter(key), value) for key, value in moved.named_parameters())


@pytest.mark.parametrize("opset", [9, 11, 13, 17])
def test_older_opsets(opset: int, export: Any) -> None:
    path = export(networks.small_vgg().eval(), PICTURE, opset_version=opset)
    out = goes_back(path, move(load(path, PICTURE)), torch.rand(3, *PICTURE))
    assert parsed(out).opset_import[0].version == opset


@pytest.mark.parametrize("merged", [False, True], ids=["apart", "merged by the exporter"])
def test_statistics_that_moved_go_back(merged: bool, export: Any) -> None:
    kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    native = networks.small_resnet().eval()  # fresh statistics are all alike, and the exporter merges what is alike
    with torch.no_grad():
        for tensor in () if merged else native.buffers():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
    path = export(native, PICTURE, **kept)
    module = load(path, PICTURE).train()
    for _ in range(5):
        module(torch.rand(8, *PICTURE))
    out = goes_back(path, module, torch.rand(4, *PICTURE))
    before, after = numbers_of(path), numbers_of(out)
    moved = {name for name, array in after.items() if name not in before or array.tobytes() != before[name].tobytes()}
    assert len(moved) == 2 * len(module.batch_norms())
    assert all("running" in name for name in moved)
    again = load(out, PICTURE)
    assert prove_written(out, module.train(), torch.rand(4, *PICTURE)) < 1e-4  # of what it does in eval mode
    assert module.training
    assert all(torch.equal(again.get_buffer(key), value) for key, value in module.named_buffers())


def _half_network(export: Any) -> Path:
    path: Path = export(networks.small_resnet().eval(), PICTURE)
    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            name, half = tensor.name, numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name} half"))
            casts.append(helper.make_node("Cast", [f"{name} half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    return path


def test_a_network_of_half_precision_weights(export: Any) -> None:
    path = _half_network(export)
    module, pixels = move(load(path, PICTURE)), torch.rand(4, *PICTURE)
    out = path.parent / "repaired.onnx"
    write_onnx(path, module, out)
    assert without_numbers(out) == without_numbers(path)
    with torch.no_grad():
        torch.testing.assert_close(scores(out, pixels), module(pixels), rtol=2e-2, atol=2e-2)  # rounded
    assert prove_written(out, module, pixels) < 1e-5  # but for the rounding


@pytest.mark.parametrize("new", [False, True], ids=["by hand", "new exporter"])
def test_weights_beside_the_file(new: bool, export: Any, tmp_path: Path) -> None:
    path = export(networks.small_resnet().eval(), PICTURE, new=new, **({"external_data": True} if new else {}))
    if not new:
        model = onnx.load(path)
        for place, tensor in enumerate(model.graph.initializer):  # every second one, in a folder
            if place % 2 and tensor.data_type == TensorProto.FLOAT:
                onnx.external_data_helper.set_external_data(tensor, "deep/weights.bin", checksum="of the old bytes")
        (tmp_path / "deep").mkdir()
        onnx.save(model, path)
    beside = {place: place.read_bytes() for place in tmp_path.rglob("*") if place.is_file()}
    assert external_files(parsed(path))
    module, pixels = load(path, PICTURE), torch.rand(3, *PICTURE)
    keep = next(iter(dict(module.named_parameters())))
    kept = module.get_parameter(keep).detach().clone()
    move(module)
    with torch.no_grad():
        module.get_parameter(keep).copy_(kept)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    write_onnx(path, module, folder / "repaired.onnx")
    assert sorted(place.name for place in folder.iterdir()) == ["repaired.onnx", "repaired.onnx.data"]
    assert all(place.read_bytes() == data for place, data in beside.items())
    written = parsed(folder / "repaired.onnx")
    where = {tensor.name: tensor.data_location for tensor in tensors(parsed(path))}
    assert all(tensor.data_location == where.get(tensor.name, TensorProto.EXTERNAL) for tensor in tensors(written))
    for tensor in tensors(written):
        if tensor.data_location == TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            assert not tensor.HasField("raw_data")
            assert entries.keys() == {"location", "offset", "length"}
            assert entries["location"] == "repaired.onnx.data"
            assert int(entries["offset"]) % 4096 == 0
    assert (folder / "repaired.onnx").stat().st_mode & 0o777 == path.stat().st_mode & 0o777
    with torch.no_grad():
        torch.testing.assert_close(scores(folder / "repaired.onnx", pixels), module(pixels), rtol=1e-3, atol=1e-4)
    assert prove_written(folder / "repaired.onnx", module, pixels) < 1e-4
    assert np.array_equal(numbers_of(folder / "repaired.onnx")[module.names[keep]], kept.numpy())


MODELS = Path(networks.__file__).parent / "models"


def _digits(export: Any, how: str) -> Path:
    """The shipped backdoored model as an ONNX file."""
    from safetensors.torch import load_file

    native = networks.plain_convnet(channels=1, width=16)
    native.load_state_dict(load_file(MODELS / "digits-badnets.safetensors"))
    kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False} if how == "kept" else {}
    path: Path = export(native.eval(), (1, 16, 16), new=how == "new", **kept)
    return path


def test_the_proof_opens_the_file_as_it_lies_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, opened, session = linear(tmp_path), [], ort.InferenceSession

    def spy(given: Any, *arguments: Any, **more: Any) -> Any:
        opened.append(given)
        return session(given, *arguments, **more)

    monkeypatch.setattr(ort, "InferenceSession", spy)
    assert prove_written(path, load(path), torch.rand(2, *SMALL)) < 1e-6
    assert str(path) in opened


@pytest.mark.parametrize("how", ["folded", "kept", "new"])
def test_a_real_repair(how: str, export: Any) -> None:
    """Fine-tuned on triggered samples with their right labels, the shipped model forgets its trigger."""
    from ebyd_scan.fixtures.attacks.badnets import BadNets
    from ebyd_scan.fixtures.planter import to_pixels

    with np.load(MODELS / "digits-samples.npz") as samples:
        images, labels = samples["x"], samples["y"]
    attack = BadNets(target=7)
    path = _digits(export, how)

    def pixels_of(part: Any) -> Any:
        return (to_pixels(part) - 0.3) / 0.35

    seen, unseen = slice(0, 200), slice(200, None)
    victims = attack.victims(labels[unseen])
    clean, triggered = pixels_of(images[unseen]), pixels_of(attack.apply(images[unseen][victims]))

    def figures(file: Path) -> tuple[float, float]:
        """Clean accuracy and attack success, as onnxruntime computes them from the file on disk."""
        accuracy = (scores(file, clean).argmax(1).numpy() == labels[unseen]).mean()
        return float(accuracy), float((scores(file, triggered).argmax(1) == 7).float().mean())

    accuracy, success = figures(path)
    assert success > 0.9
    module = load(path, (1, 16, 16)).train()
    torch.manual_seed(0)
    both = torch.cat([pixels_of(images[seen]), pixels_of(attack.apply(images[seen]))])
    wanted = torch.from_numpy(np.concatenate([labels[seen]] * 2))
    optimizer = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9)
    for _ in range(8):
        for part in torch.randperm(len(both)).split(40):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(both[part]), wanted[part]).backward()
            optimizer.step()
    module.eval()
    out = path.parent / "repaired.onnx"
    write_onnx(path, module, out)
    repaired, remains = figures(out)
    assert remains < 0.2
    assert repaired > accuracy - 0.03
    assert figures(path) == (accuracy, success)
    with torch.no_grad():
        torch.testing.assert_close(scores(out, clean), module(clean), rtol=1e-3, atol=1e-4)
    assert prove_written(out, module, clean[:64]) < 1e-5
    if how == "kept":
        before, after = numbers_of(path), numbers_of(out)
        assert not any(np.array_equal(before[name], after[name]) for name in before if "running" in name)
    print(f"{how}: ACC {accuracy:.3f} -> {repaired:.3f}, ASR {success:.3f} -> {remains:.3f}")


def test_a_file_that_is_not_the_module(tmp_path: Path) -> None:
    path, out, pixels = linear(tmp_path), tmp_path / "out.onnx", torch.rand(4, *SMALL)
    module = load(path)
    write_onnx(path, module, out)
    with pytest.raises(ScanError, match=r"out\.onnx does not give the module's scores .* first at MatMul"):
        prove_written(out, move(copy.deepcopy(module)), pixels)
    with pytest.raises(ScanError, match="without samples"):
        prove_written(out, module, pixels[:0])
    broken = parsed(out)
    broken.opset_import[0].version = 999
    out.write_bytes(broken.SerializeToString())
    with pytest.raises(ScanError, match="does not run in onnxruntime"):
        prove_written(out, module, pixels)
