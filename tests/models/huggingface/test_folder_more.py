"""Folders made to mislead: files read in place of the ones that are scanned, sizes made to fill memory, odd values."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import numpy as np  # noqa: E402
from ebyd_scan.evidence.context import Evidence  # noqa: E402
from ebyd_scan.evidence.errors import ScanError  # noqa: E402
from ebyd_scan.scanner.models.huggingface import import_transformers  # noqa: E402
from ebyd_scan.scanner.models.identify import identify  # noqa: E402
from ebyd_scan.scanner.models.image_processor import read_preprocessing  # noqa: E402
from ebyd_scan.scanner.models.load import load_classifier  # noqa: E402
from ebyd_scan.scanner.samples import prepare  # noqa: E402
from ebyd_scan.scanner.samples.class_folders import class_indices  # noqa: E402

from .conftest import LABELS  # noqa: E402

Make = Callable[..., Path]


def _load(place: Path) -> Any:
    return load_classifier(
        identify(place), architecture=None, arch_args={}, mean=(0.0,) * 3, std=(1.0,) * 3, input_shape=(3, 32, 32),
        device="cpu", allow_pickle=False,
    )  # fmt: skip


def _change(place: Path, name: str = "config.json", **changes: Any) -> Path:
    path = place / name
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not ...}))
    return place


def _one_sentence(place: Path, caught: pytest.ExceptionInfo[ScanError]) -> None:
    assert str(place) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"configuration_files": ["config.4.0.0.json"]}, r"read something else \(configuration_files\)"),
        ({"transformers_weights": "other.safetensors"}, r"read something else \(transformers_weights\)"),
        ({"attribute_map": {"transformers_weights": "x"}, "x": "other.safetensors"}, r"\(attribute_map\)"),
        ({"model_type": "timm_wrapper", "architecture": "local-dir:/elsewhere"}, r"\(architecture\)"),
        ({"model_type": "timm_wrapper", "model_args": {"checkpoint_path": "/x.pth"}}, r"\(checkpoint_path\)"),
        ({"vision_config": {"model_args": {"pretrained": True}}}, r"\(pretrained\)"),
        ({"depths": [1, 10**9]}, "asks for 'depths' of more than 4096"),
        ({"num_labels": 10**7}, "asks for 'num_labels' of more than 100000"),
        ({"model_type": ..., "architecture": "resnet18"}, "is timm's: pass the file .* timm:resnet18"),
        ({"model_type": ["resnet"]}, "does not say which model_type"),
    ],
)
def test_settings_that_lead_elsewhere_or_fill_memory(changes: dict[str, Any], words: str, folder: Make) -> None:
    place = _change(folder(), **changes)
    with pytest.raises(ScanError, match=words) as caught:
        _load(place)
    _one_sentence(place, caught)


@pytest.mark.parametrize("name", [".metadata", "shard-00001-model-00001-of-00001.safetensors", "adapter_config.json"])
def test_what_would_be_loaded_instead_of_the_weights(name: str, folder: Make) -> None:
    place = folder()
    (place / name).write_bytes(pickle.dumps({}))
    with pytest.raises(ScanError, match="which transformers may load") as caught:
        _load(place)
    _one_sentence(place, caught)


def test_one_table_of_weights_and_each_tensor_once(folder: Make) -> None:
    """transformers reads the top of a pickle and the last of two tensors: nothing else may be scanned."""
    from safetensors.torch import load_file, save_file

    place = folder()
    weights = place / "model.safetensors"
    state = load_file(weights)
    weights.unlink()
    pickled = place / "pytorch_model.bin"
    torch.save({**state, "model": {name: torch.zeros_like(value) for name, value in state.items()}}, pickled)
    with pytest.raises(ScanError, match="no plain table of weights") as caught:
        _load(place)
    _one_sentence(place, caught)
    torch.save(state, pickled)
    assert _load(place).num_classes == len(LABELS)
    for name in ("one.safetensors", "two.safetensors"):
        save_file(state, place / name)
    index = place / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    with pytest.raises(ScanError, match=r"two.safetensors holds .* which is in another file too"):
        _load(place)


def test_shards_are_called_so_that_file_safety_looks_at_them(folder: Make) -> None:
    place = folder()
    (place / "model.safetensors").rename(place / "weights.dat")
    (place / "model.safetensors.index.json").write_text('{"weight_map": {"a": "weights.dat"}}')
    with pytest.raises(ScanError, match="no name of weights"):
        identify(place)


class _Gadget:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return Path.touch, (self.canary,)


@pytest.mark.parametrize("key", ["image_processor_type", "feature_extractor_type"])
def test_no_model_is_loaded_as_an_image_processor(key: str, folder: Make, tmp_path: Path) -> None:
    """transformers would load whatever class of its own is named, here a model, by loaders that nothing guards."""
    place, canary = folder(), tmp_path / "it-ran"
    (place / ".metadata").write_bytes(pickle.dumps(_Gadget(canary)))
    for name in ("preprocessor_config.json", "config.json"):
        _change(place, name, image_processor_type=...)
    _change(place, "preprocessor_config.json", **{key: "ResNetForImageClassification"})
    with pytest.raises(ScanError, match="which is no image processor") as caught:
        read_preprocessing(place)
    _one_sentence(place, caught)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": {"shortest_edge": 10**6}}, "size is more than 4096 pixels"),
        ({"do_center_crop": True, "crop_size": 10**9}, "more than 4096 pixels|cannot be followed"),
        ({"crop_pct": 1e-9}, "crop_pct makes no sense"),
        ({"image_std": [0.0, 0.0, 0.0]}, "makes no sense"),
        ({"image_mean": [float("nan")] * 3}, "makes no sense"),
    ],
)
def test_processors_are_read_before_they_fill_memory(changes: dict[str, Any], words: str, folder: Make) -> None:
    place = _change(folder(), "preprocessor_config.json", **changes)
    with pytest.raises(ScanError, match=words) as caught:
        read_preprocessing(place)
    _one_sentence(place, caught)


@pytest.mark.parametrize("include_top", [True, False])
def test_a_second_normalisation_is_done_once(include_top: bool, folder: Make) -> None:
    """EfficientNet's processor normalises again, by a switch that is neither of the two of all processors."""
    place = folder(processor=False)
    transformers = import_transformers()
    processor = transformers.EfficientNetImageProcessor(
        size={"height": 32, "width": 32}, include_top=include_top, rescale_offset=True, rescale_factor=1 / 127.5
    )
    processor.save_pretrained(place)
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    preprocessing = read_preprocessing(place)
    full = preprocessing.processor(picture, input_data_format="channels_last", return_tensors="np")["pixel_values"][0]
    made = (preprocessing.prepare(picture) / 255 - np.array(preprocessing.mean)) / np.array(preprocessing.std)
    assert np.abs(made.transpose(2, 0, 1) - full).max() < 0.05


def test_a_processor_that_adds_something_after_the_normalisation(folder: Make, monkeypatch: Any) -> None:
    """Grey pictures do not show it."""
    place = folder()
    kind = type(read_preprocessing(place).processor)
    run = kind.__call__

    def framed(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = run(self, *args, **kwargs)
        output["pixel_values"] = np.pad(np.asarray(output["pixel_values"]), ((0, 0), (0, 0), (4, 4), (4, 4)))
        return output

    monkeypatch.setattr(kind, "__call__", framed)
    with pytest.raises(ScanError, match="it does more to pixels"):
        read_preprocessing(place)


@pytest.mark.parametrize("labels", [{"²": "a"}, {"9" * 5000: "a"}, {"-1": "a"}, ["a"], "a", 7])
def test_labels_that_make_no_sense(labels: Any, folder: Make) -> None:
    place = _change(folder(processor=False), id2label=labels)
    assert read_preprocessing(place).class_names == {}
    with pytest.raises(ScanError) as caught:
        _load(place)
    _one_sentence(place, caught)


def test_names_of_a_model_of_timm(folder: Make) -> None:
    place = _change(folder(processor=False), id2label=..., label_names=["zebra", "ant"])
    assert read_preprocessing(place).class_names == {0: "zebra", 1: "ant"}


@pytest.mark.parametrize("channels", [True, 3.0, [1], "x", None])
def test_channels_that_make_no_sense(channels: Any, folder: Make) -> None:
    found = read_preprocessing(_change(folder(processor=False), num_channels=channels)).channels
    assert found == 3 and isinstance(found, int) and not isinstance(found, bool)


def test_class_folders_called_as_the_model_calls_its_classes(tmp_path: Path) -> None:
    names = {0: "0", 1: "1", 2: "10", 3: "2"}  # as they are sorted where they are names
    assert class_indices(tmp_path, ["0", "1", "10", "2"], None, names)[0] == {"0": 0, "1": 1, "10": 2, "2": 3}
    with pytest.raises(ScanError, match=r"'dog' are called as .* 'Cat' are not; rename"):
        class_indices(tmp_path, ["Cat", "dog"], None, {0: "cat", 1: "dog"})
    with pytest.raises(ScanError, match="more than one class 'crane'"):
        class_indices(tmp_path, ["ant", "crane"], None, {0: "crane", 1: "ant", 2: "crane"})


def test_another_configuration_is_another_model(folder: Make) -> None:
    """The same tensors, and another function of them: the reference is not the model itself."""
    place = folder("ViT")
    first, first_artifact = _load(place), identify(place)
    _change(place, hidden_act="relu")
    second, second_artifact = _load(place), identify(place)
    pixels = torch.rand(1, 3, 32, 32)
    assert first.same_tensors(second) and not torch.allclose(first.logits(pixels), second.logits(pixels))
    evidence = {"seed": 0, "classifier": first, "artifact": first_artifact, "reference": second}
    assert not Evidence(**evidence, reference_artifact=second_artifact).is_reference  # type: ignore[arg-type]
    assert Evidence(**evidence, reference_artifact=first_artifact).is_reference  # type: ignore[arg-type]


def test_samples_that_a_processor_makes_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "MAX_BYTES", 4 * 3 * 3 * 16 * 16)
    large = np.zeros((16, 16, 3), dtype=np.uint8)
    assert prepare.prepared(torch.zeros(3, 3, 8, 8), lambda _: large).shape == (3, 3, 16, 16)
    with pytest.raises(ScanError, match="4 samples need more than"):
        prepare.prepared(torch.zeros(4, 3, 8, 8), lambda _: large)


def test_a_path_that_cannot_be_looked_at() -> None:
    with pytest.raises(ScanError, match="cannot be read"):
        identify(Path("a" * 5000))


def test_a_folder_that_does_not_say_its_class_or_returns_tuples(folder: Make) -> None:
    place = _change(folder("DeiT"), architectures=..., return_dict=False)
    assert _load(place).logits(torch.zeros(1, 3, 32, 32)).shape == (1, len(LABELS))
