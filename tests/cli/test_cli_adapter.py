"""A LoRA adapter through the real command line, with its base model and without."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from ebyd_scan.scanner.models.huggingface import import_transformers

from ..tiny_texts import TextModels
from .conftest import Run

transformers = import_transformers()
peft = pytest.importorskip("peft")


def test_an_adapter_is_scanned_with_its_base(text_models: TextModels, ebyd: Callable[..., Run], tmp_path: Path) -> None:
    """The tokenizer and the names of the classes are the base's. Untrained, it answers as the base does."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(text_models.clean)
    settings = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"])
    peft.get_peft_model(model, settings).save_pretrained(tmp_path / "adapter")
    (tmp_path / "fit.yaml").write_text("version: 1\nname: fit\nchecks: {file-safety: {}, sample-fit: {}}\n")
    options = ["--samples", text_models.samples, "--policy", "fit.yaml", "--json", "verdict.json"]
    run = ebyd("scan", "adapter", "--base-model", text_models.clean, *options, cwd=tmp_path)
    assert run.code == 0, run.text
    told = json.loads((tmp_path / "verdict.json").read_text())["model"]
    assert told["architecture"] == "huggingface:BertForSequenceClassification+LoRA"
    assert {"adapter_model.safetensors", "base/model.safetensors", "base/tokenizer.json"} <= set(told["files"])

    run = ebyd("scan", "adapter", *options, cwd=tmp_path)
    assert run.code == 2 and "give the folder of that model with --base-model" in run.text
