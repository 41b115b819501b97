"""Small classifiers with random weights, as transformers builds them, and torchvision's; written as ONNX files."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

_BLOCKS = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64}
_PATCHES = {**_BLOCKS, "image_size": 32, "patch_size": 8}
_WORDS = {**_BLOCKS, "vocab_size": 200, "max_position_embeddings": 64}
_DECODER = {**_WORDS, "num_key_value_heads": 2, "head_dim": 8}
_STAGES = {"embedding_size": 16, "hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 2, 1], "layer_type": "basic"}
_WINDOWS = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
_DEEP = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "vocab_size": 200, "max_position_embeddings": 64}

IMAGES: dict[str, dict[str, Any]] = {  # model type -> what differs from its default configuration
    "beit": {**_PATCHES, "use_relative_position_bias": True},
    "bit": {"embedding_size": 32, "hidden_sizes": [128, 128, 256, 256], "depths": [1, 1, 1, 1]},
    "convnext": {"hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 2, 1]},
    "convnextv2": {"hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 2, 1]},
    "cvt": {},
    "data2vec-vision": {**_PATCHES, "use_relative_position_bias": True},
    "deit": {**_PATCHES, "architectures": ["DeiTForImageClassification"]},
    "dinov2": _PATCHES,
    "dinov2_with_registers": _PATCHES,
    "efficientnet": {"image_size": 64, "width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640},
    "focalnet": {"image_size": 32, "embed_dim": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "focal_levels": [2, 2]},
    "hiera": {},
    "ijepa": _PATCHES,
    "levit": {"architectures": ["LevitForImageClassification"]},
    "mobilenet_v1": {"image_size": 64},
    "mobilenet_v2": {"image_size": 64},
    "mobilevit": {"image_size": 64},
    "mobilevitv2": {"image_size": 64},
    "poolformer": {"hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1]},
    "pvt": {"image_size": 64, "hidden_sizes": [16, 32, 40, 64], "num_attention_heads": [1, 2, 5, 8]},
    "pvt_v2": {"image_size": 64},
    "regnet": _STAGES | {"groups_width": 8, "layer_type": "y"},
    "resnet": _STAGES,
    "segformer": {"hidden_sizes": [16, 32, 40, 64], "depths": [1, 1, 1, 1]},
    "siglip": {"vision_config": _PATCHES},
    "swiftformer": {},
    "swin": _WINDOWS,
    "swinv2": _WINDOWS,
    "textnet": {},
    "vit": _PATCHES,
    "vit_msn": _PATCHES,
}
TEXTS: dict[str, dict[str, Any]] = {
    "albert": {**_WORDS, "embedding_size": 16},
    "bart": {**_DEEP, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64},
    "bert": _WORDS,
    "big_bird": {**_WORDS, "attention_type": "original_full"},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 200},
    "camembert": _WORDS,
    "canine": {**_BLOCKS},
    "convbert": {**_WORDS, "embedding_size": 32},
    "deberta": {**_WORDS, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {
        **_WORDS,
        "relative_attention": True,
        "position_buckets": 16,
        "pos_att_type": ["c2p", "p2c"],
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
    },
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 200},
    "electra": {**_WORDS, "embedding_size": 16},
    "ernie": _WORDS,
    "funnel": {"d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64, "block_sizes": [1, 1], "vocab_size": 200},
    "gemma": _DECODER,
    "gemma2": _DECODER,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 200},
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "vocab_size": 200,
    },
    "gpt_neox": _WORDS,
    "layoutlm": _WORDS,
    "llama": _DECODER,
    "longformer": {**_WORDS, "attention_window": 8},
    "mistral": _DECODER,
    "mobilebert": {**_WORDS, "embedding_size": 16, "intra_bottleneck_size": 32, "true_hidden_size": 32},
    "modernbert": {**_WORDS, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2},
    "mpnet": _WORDS,
    "nystromformer": {**_WORDS, "segment_means_seq_len": 16, "num_landmarks": 16},
    "opt": {**_WORDS, "ffn_dim": 64, "word_embed_proj_dim": 32},
    "phi": _WORDS,
    "qwen2": _DECODER,
    "qwen3": _DECODER,
    "rembert": _WORDS,
    "roberta": _WORDS,
    "roformer": _WORDS,
    "squeezebert": {**_WORDS, "embedding_size": 32},
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 200},
    "xlm": {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "vocab_size": 200},
    "xlm-roberta": _WORDS,
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64, "vocab_size": 200},
}
TORCHVISION = (
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11",
    "vit_b_16",
)


@dataclass(frozen=True)
class Exported:
    """A model and what it is exported with."""

    module: nn.Module
    inputs: dict[str, torch.Tensor]
    dynamic: dict[str, dict[int, str]]


class _Scores(nn.Module):
    """A model of transformers whose only output are the scores."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, bbox: torch.Tensor | None = None
    ) -> torch.Tensor:
        more = {} if bbox is None else {"bbox": bbox}
        scores: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask, **more).logits
        return scores


class _PictureScores(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.model(pixel_values=pixel_values).logits
        return scores


def image_model(name: str, attention: str | None) -> Exported:
    """transformers' image classifier of a model type, with random weights."""
    from ..scanner.torchvision_compat import import_torchvision

    import_torchvision()
    from transformers import AutoConfig, AutoModelForImageClassification

    config = AutoConfig.for_model(name, **IMAGES[name], num_labels=5)
    if attention:
        config._attn_implementation = attention
    model = AutoModelForImageClassification.from_config(config).eval()
    size = getattr(getattr(config, "vision_config", config), "image_size", None) or 64
    side = size if isinstance(size, int) else size[0]
    pixels = torch.randn(2, 3, side, side)
    return Exported(_PictureScores(model), {"pixel_values": pixels}, {"pixel_values": {0: "batch"}})


def text_model(name: str, attention: str | None) -> Exported:
    """transformers' text classifier of a model type, with random weights."""
    from ..scanner.torchvision_compat import import_torchvision

    import_torchvision()
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.for_model(name, **TEXTS[name], num_labels=3)
    config.pad_token_id = getattr(config, "pad_token_id", None) or 0
    config.eos_token_id = getattr(config, "eos_token_id", None) or 2
    config.use_cache = False
    if config.is_encoder_decoder:
        config.decoder_start_token_id = 2
    if attention:
        config._attn_implementation = attention
    model = AutoModelForSequenceClassification.from_config(config).eval()
    ids = torch.randint(5, 150, (2, 16))
    if config.is_encoder_decoder:  # they pool where the text ends
        ids[:, -1] = config.eos_token_id
    inputs = {"input_ids": ids, "attention_mask": torch.ones(2, 16, dtype=torch.long)}
    both = {0: "batch", 1: "sequence"}
    return Exported(_Scores(model), inputs, dict.fromkeys(inputs, both))


def torchvision_model(name: str, attention: str | None) -> Exported:
    """torchvision's classifier with random weights."""
    from ..scanner.torchvision_compat import import_torchvision

    models = import_torchvision().models
    take = inspect.signature(models.get_model_builder(name)).parameters
    options = {"init_weights": False} if "init_weights" in take or name in ("googlenet", "inception_v3") else {}
    model = models.get_model(name, weights=None, **options).eval()
    side = 299 if name == "inception_v3" else 224
    return Exported(model, {"x": torch.randn(2, 3, side, side)}, {"x": {0: "batch"}})


BUILDERS: dict[str, Callable[[str, str | None], Exported]] = {
    "image": image_model,
    "text": text_model,
    "torchvision": torchvision_model,
}
NAMES: dict[str, tuple[str, ...]] = {"image": tuple(IMAGES), "text": tuple(TEXTS), "torchvision": TORCHVISION}


def export(model: Exported, path: Path, *, exporter: str) -> None:
    """Write the model with torch's new exporter ("new") or the one before ("old"); raises whatever they raise."""
    names = list(model.inputs)
    common: dict[str, Any] = {"input_names": names, "output_names": ["logits"], "verbose": False}
    arguments = tuple(model.inputs.values())
    if exporter == "old":
        dynamic = model.dynamic | {"logits": {0: "batch"}}
        torch.onnx.export(model.module, arguments, str(path), dynamo=False, dynamic_axes=dynamic, **common)
        return
    shapes = tuple(dict.fromkeys(model.dynamic[name], torch.export.Dim.DYNAMIC) for name in names)
    torch.onnx.export(
        model.module, arguments, str(path), dynamo=True, dynamic_shapes=shapes, external_data=False, **common
    )
