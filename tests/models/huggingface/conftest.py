"""Small Hugging Face folders, made on the spot from configurations: no hub is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from ebyd_scan.scanner.models.huggingface import import_transformers

VIT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 8}
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "ViT": (VIT, "ViT"),
    "DeiT": ({**VIT, "architectures": ["DeiTForImageClassification"]}, "DeiT"),
    "ConvNext": ({"hidden_sizes": [8, 8], "depths": [1, 1], "num_stages": 2}, "ConvNext"),
    "ResNet": ({"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}, "ConvNext"),
    "Swin": ({"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}, "ViT"),
    "MobileViT": (
        {"hidden_sizes": [16, 16, 16], "neck_hidden_sizes": [8, 8, 8, 8, 16, 16, 16], "intermediate_size": 16},
        "MobileViT",
    ),
}
LABELS = ("cat", "dog", "ant", "bee")


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Save a model of a kind and its image processor; more goes into its configuration."""
    import torch

    transformers = import_transformers()

    def make(kind: str = "ResNet", *, side: int = 32, processor: bool = True, **more: Any) -> Path:
        options, name = KINDS[kind]
        torch.manual_seed(0)
        config = getattr(transformers, f"{kind}Config")(
            **{"image_size": side, "id2label": dict(enumerate(LABELS)), **options, **more}
        )
        place = tmp_path / f"{kind}-model"
        transformers.AutoModelForImageClassification.from_config(config).save_pretrained(place)
        if processor:
            size = {"height": side, "width": side}
            given: dict[str, Any] = {"size": size if name in ("ViT", "DeiT") else {"shortest_edge": side}}
            if name in ("DeiT", "MobileViT"):
                given["crop_size"] = size
            getattr(transformers, f"{name}ImageProcessor")(**given).save_pretrained(place)
        return place

    return make
