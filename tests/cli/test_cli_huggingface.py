"""Hugging Face folders through the real command line: found, left alone, and with no option for their pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("sklearn")
from ebyd_scan.fixtures.attacks.badnets import BadNets  # noqa: E402
from ebyd_scan.fixtures.attacks.interface import poison  # noqa: E402
from ebyd_scan.fixtures.digits import RECIPE, load_digits  # noqa: E402
from ebyd_scan.fixtures.planter import train  # noqa: E402
from ebyd_scan.scanner.models.huggingface import import_transformers  # noqa: E402

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TARGET = 7


class _Scores(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Any) -> Any:
        return self.model(pixel_values=pixels).logits


@pytest.fixture(scope="module", params=["clean", "badnets"])
def trained(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bool]:
    """A small ResNet of transformers, trained for a second on digits, and whether there is a backdoor in it."""
    transformers = import_transformers()
    digits = load_digits()
    images, labels = digits.train_x, digits.train_y
    if request.param == "badnets":
        poisoned = poison(BadNets(target=TARGET), images, labels, rate=0.1, seed=1)
        images, labels = poisoned.images, poisoned.labels
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        num_channels=1,
        embedding_size=16,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        layer_type="basic",
        id2label=dict(enumerate(NAMES)),
        label2id={name: index for index, name in enumerate(NAMES)},
    )
    model = transformers.AutoModelForImageClassification.from_config(config)
    train(_Scores(model), images, labels, replace(RECIPE, epochs=12, learning_rate=0.05), seed=1)
    place = tmp_path_factory.mktemp("huggingface") / request.param
    model.save_pretrained(place)
    transformers.ViTImageProcessor(
        size={"height": 16, "width": 16}, image_mean=list(RECIPE.mean), image_std=list(RECIPE.std)
    ).save_pretrained(place)
    return place, request.param == "badnets"


def test_verdict_and_label(
    trained: tuple[Path, bool], ebyd: Callable[..., Any], models: Path, fast_policy: Path, tmp_path: Path
) -> None:
    place, backdoored = trained
    report = tmp_path / "verdict.json"
    options = ["--samples", models / "digits-samples.npz", "--policy", fast_policy, "--json", report]
    run = ebyd("scan", place, *options, cwd=tmp_path)
    verdict = json.loads(report.read_text())
    assert run.code == (1 if backdoored else 0), run.text
    found = next(finding for finding in verdict["findings"] if finding["check"] == "model-detection")
    assert found["label"] == (TARGET if backdoored else None)
    assert verdict["model"]["format"] == "huggingface"
    assert verdict["model"]["architecture"] == "huggingface:ResNetForImageClassification"
    assert set(verdict["model"]["files"]) == {"config.json", "model.safetensors", "preprocessor_config.json"}


def test_pictures_of_any_size_in_folders_called_as_the_model_calls_its_classes(
    trained: tuple[Path, bool], ebyd: Callable[..., Any], tmp_path: Path
) -> None:
    """In alphabetical order the classes would be others, and of another size the pictures could not be stacked."""
    from PIL import Image

    place, _ = trained
    digits = load_digits()
    for index, (picture, label) in enumerate(zip(digits.sample_x[:200], digits.sample_y[:200], strict=True)):
        image = Image.fromarray(picture[:, :, 0]).resize((20 + index % 7, 24))
        path = tmp_path / "samples" / NAMES[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    (tmp_path / "fit.yaml").write_text("version: 1\nname: fit\nchecks: {sample-fit: {min_skill: 0.8}}\n")
    report = tmp_path / "verdict.json"
    run = ebyd("scan", place, "--samples", "samples", "--policy", "fit.yaml", "--json", report, cwd=tmp_path)
    assert run.code == 0, run.text


def test_a_folder_that_wants_to_run_code_is_refused(ebyd: Callable[..., Any], models: Path, tmp_path: Path) -> None:
    place = tmp_path / "remote"
    place.mkdir()
    auto = {"AutoConfig": "own.Config", "AutoModelForImageClassification": "own.Model"}
    (place / "config.json").write_text(json.dumps({"model_type": "own-net", "auto_map": auto}))
    (place / "own.py").write_text(f"open({str(tmp_path / 'it-ran')!r}, 'w').close()")
    from safetensors.torch import save_file

    save_file({"fc.weight": torch.rand(4, 3)}, place / "model.safetensors")
    run = ebyd("scan", place, "--samples", models / "digits-samples.npz", cwd=tmp_path)
    assert run.code == 3 and "read that code, and pass --trust-remote-code" in run.text
    assert not (tmp_path / "it-ran").exists()
