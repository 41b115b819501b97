"""Hugging Face folders: the same files with other numbers, and nothing that still holds the old ones."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
import ebyd_scan.fixtures as fixtures  # noqa: E402
from ebyd_scan.evidence.artifact import Artifact  # noqa: E402
from ebyd_scan.evidence.classifier import Classifier  # noqa: E402
from ebyd_scan.evidence.errors import ScanError  # noqa: E402
from ebyd_scan.scanner.models.huggingface import import_transformers, load_folder  # noqa: E402
from ebyd_scan.scanner.models.identify import identify  # noqa: E402
from ebyd_scan.scanner.models.load import load_classifier  # noqa: E402
from ebyd_scan.scanner.models.repaired.write import check_writable_format, write_repaired  # noqa: E402
from ebyd_scan.scanner.models.text_classifier import load_text_classifier  # noqa: E402
from ebyd_scan.scanner.models.tokenizer import read_codec  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from .conftest import moved, near  # noqa: E402

REVIEWS = Path(fixtures.__file__).parent / "models" / "reviews-clean"


def _texts(place: Path) -> tuple[Artifact, Any]:
    artifact = identify(place)
    return artifact, load_text_classifier(artifact, read_codec(place, 32, place), "cpu")


def _pictures(place: Path) -> tuple[Artifact, Any]:
    artifact = identify(place)
    settings: dict[str, Any] = {"architecture": None, "arch_args": {}, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    return artifact, load_classifier(artifact, **settings, input_shape=(3, 32, 32), device="cpu", allow_pickle=False)


Load = Callable[[Path], tuple[Artifact, Any]]


def _repair(place: Path, load: Load, only: str = "") -> tuple[Path, Any, Any, Any]:
    artifact, original = load(place)
    check_writable_format(artifact, original)
    repaired = moved(original, only)
    (place.parent / "staging").mkdir()
    out = place.parent / "staging" / "repaired"
    written = write_repaired(artifact, original, repaired, out)
    return out, written, repaired, load(out)[1]


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    return Path(shutil.copytree(REVIEWS, tmp_path / "reviews"))


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    transformers = import_transformers()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(image_size=32, patch_size=8, num_labels=4, **sizes)
    transformers.AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path / "vit")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


def _stored(folder: Path) -> dict[str, dict[str, Any]]:
    files = {path.name: load_file(path) for path in folder.glob("*.safetensors")}
    files |= {path.name: torch.load(path, weights_only=True) for path in folder.glob("*.bin")}
    return {file: {name: (t.dtype, t.shape) for name, t in state.items()} for file, state in files.items()}


def test_a_text_classifier(reviews: Path) -> None:
    out, written, repaired, loaded = _repair(reviews, _texts)
    kind = next(iter(load_file(reviews / "model.safetensors").values())).dtype
    assert near(loaded, repaired, {torch.float32: 0, torch.float16: 1e-2}[kind])
    assert _names(out) == _names(reviews) and _stored(out) == _stored(reviews)
    assert all((out / n).read_bytes() == (reviews / n).read_bytes() for n in _names(out) - {"model.safetensors"})
    assert written.changed == written.total == len(load_file(reviews / "model.safetensors"))
    transformers = import_transformers()
    own = transformers.AutoModelForSequenceClassification.from_pretrained(out, local_files_only=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out, local_files_only=True)
    texts = ["a good film", "a bad one, all in all"]
    scores = own(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    assert torch.allclose(scores, repaired.logits(repaired.codec.encode(texts)), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("how", ["one", "shards", "bin", "legacy", "bin shards"])
def test_weights_in_one_file_and_in_shards(dtype: torch.dtype, how: str, vit: Path) -> None:
    state = {name: tensor.to(dtype) for name, tensor in load_file(vit / "model.safetensors").items()}
    (vit / "model.safetensors").unlink()
    names = sorted(state)
    halves = [{n: state[n] for n in names[:9]}, {n: state[n] for n in names[9:]}]
    ending = "bin" if "bin" in how or how == "legacy" else "safetensors"
    stem = "pytorch_model" if ending == "bin" else "model"
    save = (
        (lambda s, p: torch.save(s, p, _use_new_zipfile_serialization=how != "legacy"))
        if ending == "bin"
        else save_file
    )
    if "shards" in how:
        parts = [f"{stem}-0000{i + 1}-of-00002.{ending}" for i in range(2)]
        for part, half in zip(parts, halves, strict=True):
            save(half, vit / part)
        table = {n: parts[n not in halves[0]] for n in names}
        index = {"metadata": {"total_size": 1}, "weight_map": table}
        (vit / f"{stem}.{ending}.index.json").write_text(json.dumps(index))
    else:
        save(state, vit / f"{stem}.{ending}")
    out, written, repaired, loaded = _repair(vit, _pictures)
    assert near(loaded, repaired, {torch.float32: 0.0, torch.float16: 2e-3, torch.bfloat16: 1e-2}[dtype])
    assert _names(out) == _names(vit) and _stored(out) == _stored(vit)
    assert written.changed == written.total == len(state)


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
NARROW = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
SHALLOW = {"n_embd": 16, "n_layer": 2, "n_head": 2}
KINDS: dict[str, tuple[bool, dict[str, Any]]] = {
    "ResNet": (False, {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}),
    "Swin": (False, {"image_size": 32, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}),
    "ConvNext": (False, {"hidden_sizes": [8, 8], "depths": [1, 1], "num_stages": 2}),
    "DistilBert": (True, NARROW),
    "Roberta": (True, SMALL),
    "Electra": (True, {**SMALL, "embedding_size": 8}),
    "Albert": (True, {**SMALL, "embedding_size": 8}),
    "Deberta": (True, {**SMALL, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "GPT2": (True, SHALLOW),
    "Llama": (True, {**SMALL, "num_key_value_heads": 1}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_models(kind: str, tmp_path: Path) -> None:
    transformers = import_transformers()
    of_texts, options = KINDS[kind]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(num_labels=4, **({"vocab_size": 60} if of_texts else {}), **options)
    auto = f"AutoModelFor{'Sequence' if of_texts else 'Image'}Classification"
    place = tmp_path / "model"
    getattr(transformers, auto).from_config(config).save_pretrained(place)

    def load(folder: Path) -> tuple[Artifact, Any]:
        module, name = load_folder(identify(folder), auto)
        return identify(folder), Classifier(module, 4, (), (), "cpu", name, True, False)

    out, written, repaired, loaded = _repair(place, load)
    assert near(loaded, repaired) and _stored(out) == _stored(place)
    assert written.changed == written.total == len(load_file(place / "model.safetensors"))


def test_other_weights_are_not_copied(vit: Path) -> None:
    state = load_file(vit / "model.safetensors")
    torch.save(state, vit / "pytorch_model.bin")
    save_file(state, vit / "model.fp16.safetensors")
    (vit / "pytorch_model.bin.index.json").write_text('{"weight_map": {"x": "pytorch_model.bin"}}')
    for name in (
        "tf_model.h5",
        "flax_model.msgpack",
        "weights.model",
        "training_args.bin",
        "ebyd-scan-provenance.json",
    ):
        (vit / name).write_bytes(b"x")
    (vit / "looks.txt").write_bytes(b"\x80\x04x")
    (vit / "checkpoint-500").mkdir()
    shutil.copy(vit / "model.safetensors", vit / "checkpoint-500")
    kept = {"README.md": "# ViT", "LICENSE": "mine", "chat_template.jinja": "{{ x }}", "modeling_x.py": "pass"}
    for name, text in kept.items():
        (vit / name).write_text(text)
    out, written, repaired, loaded = _repair(vit, _pictures)
    assert near(loaded, repaired)
    assert _names(out) == {"config.json", "preprocessor_config.json", "model.safetensors", *kept}
    told = next(note for note in written.notes if note.startswith("Not copied"))
    for name in ("pytorch_model.bin", "model.fp16.safetensors", "checkpoint-500/", "tf_model.h5", "training_args.bin"):
        assert f'"{name}"' in told
    assert sum(path.stat().st_size > 1000 for path in out.rglob("*")) <= 2


def test_links(vit: Path) -> None:
    outside = vit.parent / "secret.txt"
    outside.write_text("secret")
    (vit / "notes.txt").symlink_to(outside)
    (vit / "README.md").write_text("hello")
    (vit / "also.md").symlink_to("README.md")
    out, written, _, _ = _repair(vit, _pictures)
    assert "notes.txt" not in _names(out) and any('"notes.txt"' in note for note in written.notes)
    assert (out / "also.md").read_text() == "hello" and not (out / "also.md").is_symlink()
    shutil.rmtree(out.parent)
    (vit / "vocab.txt").symlink_to(outside)
    with pytest.raises(ScanError, match=r"vocab.txt is a link that leads out of the folder"):
        _repair(vit, _pictures)
    (vit / "vocab.txt").unlink()
    shutil.rmtree(out.parent)
    (vit / "model.safetensors").rename(vit.parent / "elsewhere")
    (vit / "model.safetensors").symlink_to(vit.parent / "elsewhere")
    with pytest.raises(ScanError, match=r"model.safetensors is a link that leads out"):
        _repair(vit, _pictures)


def test_the_hub_cache(vit: Path) -> None:
    """Its snapshots are folders of links into a store."""
    blobs, snapshot = vit.parent / "blobs", vit.parent / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(vit.iterdir())):
        path.rename(blobs / f"{number:040x}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number:040x}")
    out, _, repaired, loaded = _repair(snapshot, _pictures)
    assert near(loaded, repaired)
    assert _names(out) == _names(snapshot) and not any(path.is_symlink() for path in out.iterdir())


def test_old_names_and_what_the_model_does_not_read(reviews: Path) -> None:
    path = reviews / "model.safetensors"
    state = {n.replace("LayerNorm.weight", "LayerNorm.gamma"): t for n, t in load_file(path).items()}
    state["cls.something"] = torch.rand(3, 3)
    save_file(state, path, metadata={"format": "pt"})
    out, written, repaired, loaded = _repair(reviews, _texts)
    assert near(loaded, repaired, 1e-2)
    assert load_file(out / "model.safetensors").keys() == state.keys()
    assert written.changed == written.total == len(state) - 1
    assert any("cls.something" in note for note in written.notes)


def test_another_copy_of_the_weights_in_the_same_file(vit: Path) -> None:
    path = vit / "model.safetensors"
    state = load_file(path)
    save_file(state | {f"ema.{name}": tensor * 0.99 for name, tensor in state.items()}, path, metadata={"format": "pt"})
    with pytest.raises(ScanError, match="holds another copy of the weights"):
        _repair(vit, _pictures)


def test_adapters_are_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"")
    artifact = Artifact(path=tmp_path / "adapter", format="huggingface", sha256="", size=0, base=tmp_path)
    for one in (artifact, artifact.model_copy(update={"base": None})):
        with pytest.raises(ScanError, match=r"is an adapter.*merge_and_unload"):
            check_writable_format(one)


def test_the_original_is_not_touched(vit: Path) -> None:
    before = {path.name: path.read_bytes() for path in vit.iterdir()}
    artifact, original = _pictures(vit)
    state = copy.deepcopy(original.module.state_dict())
    write_repaired(artifact, original, moved(original), vit.parent / "out")
    assert {path.name: path.read_bytes() for path in vit.iterdir()} == before
    assert all(tensor.equal(state[name]) for name, tensor in original.module.state_dict().items())


def test_a_clean_folder_with_second_weights_is_copied_without_them(reviews: Path, tmp_path: Path) -> None:
    from ebyd_scan.scanner.models.repaired.copy import copy_model
    from safetensors.torch import load_file

    torch.save(load_file(reviews / "model.safetensors"), reviews / "pytorch_model.bin")
    artifact = identify(reviews)
    copied, notes = copy_model(artifact, tmp_path / "copy", tmp_path / "out")
    assert set(copied.files) == set(artifact.files) - {"pytorch_model.bin"}
    assert "pytorch_model.bin" in notes[0]
    (reviews / "config.json").write_text((reviews / "config.json").read_text() + "\n")
    with pytest.raises(ScanError, match="was changed since"):
        copy_model(artifact, tmp_path / "again", tmp_path / "out")
