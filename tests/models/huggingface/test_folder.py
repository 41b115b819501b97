"""A folder becomes the classifier that transformers would make of it, and a broken one a sentence."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import numpy as np  # noqa: E402
from ebyd_scan.checks.file_safety import FileSafety  # noqa: E402
from ebyd_scan.evidence.context import Evidence  # noqa: E402
from ebyd_scan.evidence.errors import ScanError  # noqa: E402
from ebyd_scan.evidence.finding import Outcome  # noqa: E402
from ebyd_scan.scanner.models.huggingface import import_transformers  # noqa: E402
from ebyd_scan.scanner.models.identify import identify  # noqa: E402
from ebyd_scan.scanner.models.image_processor import read_preprocessing  # noqa: E402
from ebyd_scan.scanner.models.load import load_classifier  # noqa: E402

from .conftest import KINDS, LABELS  # noqa: E402

Make = Callable[..., Path]


def _load(place: Path, side: int = 32, **more: Any) -> Any:
    settings: dict[str, Any] = {"architecture": None, "arch_args": {}, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    settings |= {"input_shape": (3, side, side), "device": "cpu", "allow_pickle": False}
    return load_classifier(identify(place), **settings | more)


def _config(place: Path, **changes: Any) -> Path:
    path = place / "config.json"
    settings = json.loads(path.read_text())
    settings.update(changes)
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not ...}))
    return place


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_folder_own_pipeline(kind: str, folder: Make) -> None:
    place = folder(kind)
    transformers = import_transformers()
    own = transformers.AutoModelForImageClassification.from_pretrained(place, local_files_only=True).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(place, local_files_only=True)
    picture = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = own(**processor(picture, input_data_format="channels_last", return_tensors="pt")).logits
    preprocessing = read_preprocessing(place)
    made = torch.from_numpy(preprocessing.prepare(picture)).permute(2, 0, 1)[None].float() / 255
    classifier = _load(place, mean=preprocessing.mean, std=preprocessing.std)
    assert torch.allclose(classifier.logits(made), expected, atol=2e-3)  # two libraries scale pictures
    assert classifier.num_classes == len(LABELS) and classifier.trainable
    assert classifier.architecture.startswith("huggingface:") and preprocessing.class_names[1] == "dog"
    assert classifier.has_batch_norm == (kind in ("ResNet", "MobileViT"))


def test_digest_is_that_of_the_list_of_files(folder: Make) -> None:
    import hashlib

    place = folder()
    artifact = identify(place)
    assert set(artifact.files) == {"config.json", "model.safetensors", "preprocessor_config.json"}
    listing = "".join(
        f"{hashlib.sha256((place / name).read_bytes()).hexdigest()}  {name}\n" for name in sorted(artifact.files)
    )
    assert artifact.sha256 == hashlib.sha256(listing.encode()).hexdigest()
    (place / "README.md").write_text("no part of the model")
    assert identify(place).sha256 == artifact.sha256
    (place / "modeling.py").write_text("print()")
    assert identify(place).sha256 != artifact.sha256


def test_weights_in_shards_and_pickled(folder: Make) -> None:
    place = folder()
    transformers = import_transformers()
    model = transformers.AutoModelForImageClassification.from_pretrained(place, local_files_only=True).eval()
    expected = _load(place).logits(torch.ones(2, 3, 32, 32))
    (place / "model.safetensors").unlink()
    model.save_pretrained(place, max_shard_size="4KB")
    assert len([name for name in identify(place).files if name.endswith(".safetensors")]) > 1
    assert torch.allclose(_load(place).logits(torch.ones(2, 3, 32, 32)), expected)
    for path in place.glob("model*"):
        path.unlink()
    torch.save(model.state_dict(), place / "pytorch_model.bin")
    assert torch.allclose(_load(place).logits(torch.ones(2, 3, 32, 32)), expected)


def test_gradients_reach_every_parameter(folder: Make) -> None:
    for kind in KINDS:
        classifier = _load(folder(kind))
        classifier.logits(torch.rand(2, 3, 32, 32)).square().sum().backward()
        dead = [name for name, p in classifier.module.named_parameters() if p.grad is None]
        assert not [name for name in dead if "mask_token" not in name], kind


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no weights", "has no weights, neither"),
        ("only tensorflow", "no weights for PyTorch, only TensorFlow's"),
        ("broken json", "not valid JSON"),
        ("a list", "not a JSON object"),
        ("no type", "does not say which model_type"),
        ("unknown type", "cannot build the model"),
        ("text model", "cannot build the model"),
        ("no head", "would be drawn at random"),
        ("other head", r"classifier.1.bias is \[4\] in the weights and \[2\] by config.json"),
        ("quantised", "quantised weights"),
        ("shard outside", "outside its own folder"),
        ("shard missing", "which is not there"),
        ("shards of nothing", "names no weight files"),
        ("damaged", "damaged"),
        ("whole pickle", "holds more than weights"),
        ("remote code", "read that code, and pass --trust-remote-code"),
    ],
)
def test_sentences(name: str, words: str, folder: Make) -> None:
    from safetensors.torch import load_file, save_file

    place = folder()
    weights = place / "model.safetensors"
    index = place / "model.safetensors.index.json"
    if name in ("no weights", "only tensorflow") or name.startswith("shard") or name == "whole pickle":
        state = load_file(weights)
        weights.unlink()
    if name == "only tensorflow":
        (place / "tf_model.h5").write_bytes(b"x")
    elif name == "broken json":
        (place / "config.json").write_text('{"model_type": ')
    elif name == "a list":
        (place / "config.json").write_text("[]")
    elif name == "no type":
        _config(place, model_type=...)
    elif name == "unknown type":
        _config(place, model_type="resnot")
    elif name == "text model":
        _config(place, model_type="bert")
    elif name == "no head":
        save_file({key: value for key, value in load_file(weights).items() if "classifier" not in key}, weights)
    elif name == "other head":
        _config(place, id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    elif name == "quantised":
        _config(place, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    elif name == "shard outside":
        index.write_text('{"weight_map": {"a": "../model.safetensors"}}')
    elif name == "shard missing":
        index.write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    elif name == "shards of nothing":
        index.write_text('{"weight_map": {"a": 7}}')
    elif name == "damaged":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif name == "whole pickle":
        torch.save({"state_dict": state, "odd": torch.nn.Linear(2, 2)}, place / "pytorch_model.bin")
    elif name == "remote code":
        _config(place, model_type="own", auto_map={"AutoConfig": "code.Own", "AutoModel": "code.Own"})
    with pytest.raises(ScanError, match=words) as caught:
        _load(place)
    assert str(place) in str(caught.value) and "\n" not in str(caught.value)


def test_attention_kernels_and_custom_code_are_left_alone(folder: Make) -> None:
    """A known model is built by transformers' own code, whatever the configuration would like to run."""
    place = _config(
        folder("ViT"),
        _attn_implementation="somebody/kernel",
        attn_implementation="somebody/kernel",
        auto_map={"AutoModelForImageClassification": "evil.Model", "AutoConfig": "evil.Config"},
    )
    (place / "evil.py").write_text("raise SystemExit('code from the folder has run')")
    assert _load(place).num_classes == len(LABELS)


REMOTE = """
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput
import torch

class Config(PreTrainedConfig):
    model_type = "own-net"

class Model(PreTrainedModel):
    config_class = Config
    def __init__(self, config):
        super().__init__(config)
        self.fc = torch.nn.Linear(3, 4)
        self.post_init()
    def forward(self, pixel_values=None, **kwargs):
        return ImageClassifierOutput(logits=self.fc(pixel_values.mean((2, 3))))
"""


def test_remote_code_runs_only_where_the_user_says_so(folder: Make, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    from safetensors.torch import save_file

    place = folder()
    canary = tmp_path / "it-ran"
    (place / "own.py").write_text(REMOTE + f"\nopen({str(canary)!r}, 'w').close()\n")
    auto = {"AutoConfig": "own.Config", "AutoModelForImageClassification": "own.Model"}
    (place / "config.json").write_text(json.dumps({"model_type": "own-net", "auto_map": auto}))
    save_file({"fc.weight": torch.rand(4, 3), "fc.bias": torch.zeros(4)}, place / "model.safetensors")
    with pytest.raises(ScanError, match="trust-remote-code"):
        _load(place)
    assert not canary.exists()
    assert _load(place, remote_code=True).num_classes == 4
    assert canary.exists()


class _Gadget:
    def __reduce__(self) -> Any:
        return print, ("it ran",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", ".metadata", "model.safetensors"])
def test_file_safety_looks_at_every_file_that_could_be_loaded(name: str, folder: Make) -> None:
    place = folder()
    clean = FileSafety().run(Evidence(artifact=identify(place), seed=0))
    assert clean.outcome is Outcome.PASSED
    (place / name).write_bytes(pickle.dumps(_Gadget()))
    finding = FileSafety().run(Evidence(artifact=identify(place), seed=0))
    assert finding.outcome is Outcome.FAILED and name in finding.message


@pytest.mark.parametrize("changes", [{"image_processor_type": "NoSuchProcessor"}, {"size": "large"}])
def test_a_processor_that_cannot_be_followed(changes: dict[str, Any], folder: Make) -> None:
    place = folder()
    path = place / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ScanError, match="image processor") as caught:
        read_preprocessing(place)
    assert str(place) in str(caught.value) and "\n" not in str(caught.value)


def test_without_a_processor_the_options_decide(folder: Make) -> None:
    preprocessing = read_preprocessing(folder(processor=False))
    assert preprocessing.processor is None and preprocessing.mean is None and preprocessing.channels == 3
