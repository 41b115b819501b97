"""Does the interpreter of ONNX graphs give onnxruntime's scores, with gradients, and how fast?

    python -m ebyd_scan.benchmarks.onnx_parity --out parity.md
    python -m ebyd_scan.benchmarks.onnx_parity --only bert --exporter new

Each model is small, with random weights: what is asked is whether the two agree, not what the model knows. It is
exported, the file is read as a scan reads it, and the whole graph is run by both. Needs transformers and timm.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn

from ..checks.onnx_read import read_model
from ..fixtures import networks
from ..scanner.models.onnx_graph.build import opsets_of, plan_of
from ..scanner.models.onnx_graph.module import OnnxClassifier

TEXT: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertForSequenceClassification", {}),
    "roberta": ("RobertaForSequenceClassification", {}),
    "electra": ("ElectraForSequenceClassification", {"embedding_size": 16}),
    "albert": ("AlbertForSequenceClassification", {"embedding_size": 16}),
    "mpnet": ("MPNetForSequenceClassification", {}),
    "distilbert": ("DistilBertForSequenceClassification", {"dim": 32, "hidden_dim": 64, "n_heads": 4, "n_layers": 2}),
    "deberta-v2": (
        "DebertaV2ForSequenceClassification",
        {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 16},
    ),
    "gpt2": ("GPT2ForSequenceClassification", {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64}),
    "llama": ("LlamaForSequenceClassification", {"num_key_value_heads": 2}),
}
PICTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViTForImageClassification", {"patch_size": 8}),
    "deit": ("DeiTForImageClassification", {"patch_size": 8}),
    "beit": ("BeitForImageClassification", {"patch_size": 8, "use_relative_position_bias": True}),
    "convnext": ("ConvNextForImageClassification", {"hidden_sizes": [16, 32], "depths": [1, 2], "num_stages": 2}),
    "resnet": ("ResNetForImageClassification", {"hidden_sizes": [16, 32], "depths": [1, 2], "embedding_size": 16}),
    "swin": ("SwinForImageClassification", {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}),
    "mobilevit": ("MobileViTForImageClassification", {"hidden_sizes": [24, 32, 40], "num_attention_heads": 4}),
}
TIMM = ("efficientnet_b0", "mobilenetv3_small_100", "regnetx_002", "mixer_s32_224", "convnextv2_atto", "densenet121")
NETWORKS = ("small_resnet", "small_vgg", "small_convnext", "small_vit", "small_mobilenet", "wide_resnet")
TOKENS, SIDE, BATCH = 12, 32, 8


@dataclass(frozen=True)
class Row:
    """What came out for one file, or why nothing did."""

    model: str
    exporter: str
    opset: int = 0
    nodes: int = 0
    parity: float = float("nan")
    gradient: bool = False
    module_ms: float = float("nan")
    native_ms: float = float("nan")
    problem: str = ""

    def line(self) -> str:
        """A row of the table."""
        if self.problem:
            return f"| {self.model} | {self.exporter} | {self.opset or ''} | | | | | | {self.problem} |"
        figures = f"{self.nodes} | {self.parity:.1e} | {'yes' if self.gradient else 'NO'}"
        return (
            f"| {self.model} | {self.exporter} | {self.opset} | {figures} | {self.module_ms:.1f} | "
            f"{self.native_ms:.1f} | |"
        )


class Logits(nn.Module):
    """A model of transformers as a function from tensors to logits."""

    def __init__(self, model: nn.Module, text: bool) -> None:
        super().__init__()
        self.model, self.text = model, text

    def forward(self, first: Tensor, mask: Tensor | None = None) -> Tensor:
        """Scores [N, C]."""
        result = self.model(input_ids=first, attention_mask=mask) if self.text else self.model(first)
        logits: Tensor = result.logits
        return logits


def build(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A model with random weights, none of them alike, and inputs for it."""
    torch.manual_seed(0)
    pictures = (torch.rand(BATCH, 3, SIDE, SIDE),)
    inputs: tuple[Tensor, ...] = pictures
    if name in NETWORKS:
        module: nn.Module = getattr(networks, name)()
    elif name in TIMM:
        from ..scanner.torchvision_compat import import_torchvision

        import_torchvision()
        import timm

        sized: dict[str, Any] = {"img_size": SIDE} if "mixer" in name else {}
        module = timm.create_model(name, num_classes=10, **sized)
    elif name in TEXT:
        module, inputs = Logits(_transformer(*TEXT[name]), text=True), _sentences()
    else:
        module = Logits(_transformer(*PICTURES[name]), text=False)
    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor += 0.02 * (torch.rand_like(tensor) if "var" in key else torch.randn_like(tensor))
    return module.eval(), inputs


def _sentences() -> tuple[Tensor, Tensor]:
    """Token ids and a mask that leaves out the ends of some."""
    ids = torch.randint(3, 60, (BATCH, TOKENS))
    mask = torch.ones_like(ids)
    mask[::2, TOKENS - 4 :] = 0
    return torch.where(mask == 1, ids, torch.ones_like(ids)), mask


def _transformer(kind: str, extra: dict[str, Any]) -> nn.Module:
    from ..scanner.torchvision_compat import import_torchvision

    import_torchvision()
    import transformers

    model_class = getattr(transformers, kind)
    shared = {
        "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
        "max_position_embeddings": 64, "image_size": SIDE, "num_channels": 3, "num_labels": 10, "pad_token_id": 1,
        "bos_token_id": 0, "eos_token_id": 2,
    }  # fmt: skip
    wanted = {**shared, **extra}
    if "dim" in extra or "n_embd" in extra:  # these call the sizes by other names
        wanted = {k: v for k, v in wanted.items() if k in extra or not k.startswith(("hidden_", "num_hid", "num_att"))}
    if "hidden_sizes" in extra or "embed_dim" in extra:
        wanted = {k: v for k, v in wanted.items() if k in extra or not k.startswith(("hidden_size", "num_", "inter"))}
        wanted |= {"num_channels": 3, "num_labels": 10, **extra}
    model: nn.Module = model_class(model_class.config_class(**wanted))
    return model


def export(module: nn.Module, inputs: tuple[Tensor, ...], path: Path, exporter: str, opset: int | None) -> None:
    """By torch's old or new exporter, for any batch size."""
    names = ["first", "mask"][: len(inputs)]
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if exporter == "new":
                batch = torch.export.Dim("batch")
                shapes = tuple({0: batch} for _ in inputs)
                torch.onnx.export(
                    module, inputs, path, dynamo=True, dynamic_shapes=shapes, verbose=False, opset_version=opset,
                    input_names=names,
                )  # fmt: skip
            else:
                axes = {name: {0: "batch"} for name in names}
                torch.onnx.export(
                    module, inputs, path, dynamo=False, dynamic_axes=axes, input_names=names, opset_version=opset
                )
    finally:
        logging.disable(logging.NOTSET)


def whole(path: Path) -> tuple[Any, OnnxClassifier, tuple[str, ...]]:
    """The file, the module of its whole graph, whatever it takes, and the names of what it takes."""
    model = read_model(path)
    held = {tensor.name for tensor in model.graph.initializer}
    names = tuple(value.name for value in model.graph.input if value.name not in held)
    return model, OnnxClassifier(plan_of(model.graph, opsets_of(model)), names[0]).eval(), names


def run_whole(module: OnnxClassifier, names: tuple[str, ...], inputs: tuple[Tensor, ...]) -> Tensor:
    """The first output for several inputs, with gradients: `OnnxClassifier.run` takes the first only."""
    values = {name: getattr(module, key) for key, name in module.names.items()}
    values.update(zip(names, inputs, strict=True))
    (first, *_) = module.plan.outputs
    module._run(module.plan, values, keep=set(module.plan.outputs))
    scores: Tensor = values[first]
    return scores


def difference(path: Path, module: OnnxClassifier, names: tuple[str, ...], inputs: tuple[Tensor, ...]) -> float:
    """The largest difference from onnxruntime's scores, as a share of the largest of them."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    taken = {value.name for value in session.get_inputs()}
    feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True) if name in taken}
    theirs = session.run(None, feed)[0]
    with torch.no_grad():
        mine = run_whole(module, names, inputs).numpy()
    if mine.shape != theirs.shape:
        return float("inf")
    return float(np.abs(mine - theirs).max() / np.abs(theirs).max())


def gradients_finite(module: OnnxClassifier, names: tuple[str, ...], inputs: tuple[Tensor, ...]) -> bool:
    """Whether every parameter gets a gradient, and all of it are numbers."""
    module.zero_grad(set_to_none=True)
    run_whole(module, names, inputs).square().sum().backward()
    found = [parameter.grad for parameter in module.parameters()]
    return bool(found) and all(grad is not None and bool(grad.isfinite().all()) for grad in found)


def _milliseconds(call: Callable[[], Any], times: int = 5) -> float:
    call()
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return 1000 * best


def measure(name: str, exporter: str, opset: int | None, folder: Path) -> Row:
    """One model through one exporter."""
    path = folder / f"{name}-{exporter}-{opset}.onnx"
    try:
        native, inputs = build(name)
        export(native, inputs, path, exporter, opset)
    except Exception as error:
        return Row(name, exporter, opset or 0, problem=f"not exported: {' '.join(str(error).split())[:90]}")
    try:
        model, module, names = whole(path)
        more = tuple(torch.cat([value, value[:3]]) for value in inputs)  # another batch than was exported
        found = difference(path, module, names, more)
        gradient = gradients_finite(module, names, inputs)
        with torch.no_grad():
            mine = _milliseconds(lambda: run_whole(module, names, inputs))
            theirs = _milliseconds(lambda: native(*inputs))
    except Exception as error:
        return Row(name, exporter, opset or 0, problem=f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")
    return Row(name, exporter, opsets_of(model)[""], len(module.plan.nodes), found, gradient, mine, theirs)


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", "chosen", multiple=True, help="Models by name; all by default.")
@click.option("--exporter", type=click.Choice(["old", "new", "both"]), default="both")
@click.option("--opset", type=int, help="By default the exporter's own.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the table here too.")
def main(chosen: tuple[str, ...], exporter: str, opset: int | None, out: Path | None) -> None:
    """Print a row as soon as it is there."""
    lines = [
        "| model | exporter | opset | nodes | parity | gradients | module, ms | torch, ms | problem |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    print(*lines, sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen or (*NETWORKS, *PICTURES, *TIMM, *TEXT):
            for each in ("old", "new") if exporter == "both" else (exporter,):
                lines.append(measure(name, each, opset, Path(folder)).line())
                print(lines[-1], flush=True)
    if out:
        out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
