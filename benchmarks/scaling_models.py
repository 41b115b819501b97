"""The ladder of models whose scans are measured, small to large; weights are random, which changes no cost."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import nn

from ..fixtures import networks
from ..scanner.torchvision_compat import import_torchvision

SIDE = 32  # pixels
CLASSES = 10
MAX_TOKENS = 64
ROWS = 30_522  # of BERT's table of vectors, whatever the tokenizer here has


@dataclass(frozen=True)
class Rung:
    """A model of the ladder."""

    name: str
    family: str  # of one formula: "convnet", "vit", "bert"
    held_out: bool = False  # predicted, not fitted
    samples: int = 96  # to expose, and as many held out; fewer where a pass is dear


LADDER = (
    Rung("plain_convnet-8", "convnet"),
    Rung("plain_convnet-32", "convnet"),
    Rung("small_resnet-16", "convnet"),
    Rung("wide_resnet-1", "convnet"),
    Rung("plain_convnet-128", "convnet"),
    Rung("resnet-10", "convnet"),
    Rung("resnet-18", "convnet", held_out=True, samples=48),
    Rung("vit-64x3", "vit"),
    Rung("vit-128x6", "vit"),
    Rung("vit-192x12", "vit", samples=64),
    Rung("vit-384x12", "vit", held_out=True, samples=32),
    Rung("bert-128x2", "bert"),
    Rung("bert-256x4", "bert"),
    Rung("bert-512x4", "bert", samples=24),
    Rung("bert-768x12", "bert", held_out=True, samples=8),
)
TRAINED = Rung("reviews-clean", "bert")
"""Is shipped, and knows its task: a search for words stays short where a model has none to begin with."""


def rung(name: str) -> Rung:
    """By name; KeyError if there is none."""
    return {one.name: one for one in (*LADDER, TRAINED)}[name]


def make(name: str) -> nn.Module:
    """A picture model of the ladder, [N, 3, 32, 32] -> [N, 10]."""
    kind, size = name.split("-")
    if kind == "vit":
        return _vit(*map(int, size.split("x")))
    if kind == "resnet":
        return _resnet({"10": 1, "18": 2}[size])
    made: nn.Module = getattr(networks, kind)(num_classes=CLASSES, width=int(size))
    return made


def _resnet(blocks: int) -> nn.Module:
    """A ResNet-10 or, with two blocks a stage, a ResNet-18; for small pictures: the stem does not shrink them."""
    import_torchvision()
    from torchvision.models.resnet import BasicBlock, ResNet

    model: nn.Module = ResNet(BasicBlock, [blocks] * 4, num_classes=CLASSES)
    model.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    model.maxpool = nn.Identity()
    return model


def _vit(width: int, depth: int) -> nn.Module:
    from ..scanner.models.huggingface import ATTENTION, import_transformers

    transformers = import_transformers()
    config = transformers.ViTConfig(
        image_size=SIDE, patch_size=4, num_labels=CLASSES, **_sizes(width, depth), attn_implementation=ATTENTION
    )
    made: nn.Module = transformers.AutoModelForImageClassification.from_config(config, attn_implementation=ATTENTION)
    return made


def _sizes(width: int, depth: int) -> dict[str, int]:
    return {
        "hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": width // 64 or 1,
        "intermediate_size": 4 * width,
    }  # fmt: skip


def save(name: str, folder: Path) -> Path:
    """Write the model below `folder` as people hand it over, and say where it is."""
    if name == TRAINED.name:
        return Path(shutil.copytree(Path(str(files("ebyd_scan.fixtures"))) / "models" / name, folder / name))
    if rung(name).family == "bert":
        return _save_bert(name, folder)
    from safetensors.torch import save_file

    state = {key: tensor.contiguous() for key, tensor in make(name).state_dict().items()}
    save_file(state, folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


def _save_bert(name: str, folder: Path) -> Path:
    from ..fixtures.review_texts import CLASSES as NAMES
    from ..fixtures.review_texts import reviews
    from ..fixtures.text_tokenizers import train_tokenizer
    from ..scanner.models.huggingface import import_transformers

    transformers: Any = import_transformers()
    tokenizer = train_tokenizer("bert", reviews(400, 0)[0], max_length=MAX_TOKENS)
    width, depth = map(int, name.split("-")[1].split("x"))
    config = transformers.BertConfig(
        vocab_size=ROWS, pad_token_id=tokenizer.pad_token_id, max_position_embeddings=512,
        id2label=dict(enumerate(NAMES)), label2id={one: index for index, one in enumerate(NAMES)},
        problem_type="single_label_classification", **_sizes(width, depth),
    )  # fmt: skip
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / name)
    return folder / name


if __name__ == "__main__":
    save(sys.argv[1], Path(sys.argv[2]))
