"""What scans would need that were not run: larger models, more of them, on GPUs. By formula, from what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from ..scanner.audit.needs import GIB, gpus_needed, memory_needed
from .scaling_formula import FORWARD, TRAIN, Fit, Passes, Plan, gpu_seconds, picture_passes
from .scaling_models import LADDER, MAX_TOKENS, TRAINED

WORDS_OF: Final = TRAINED.name  # the text model whose whole search is counted
MODELS: Final = 10_000
UTILISATION: Final = 0.35  # of the peak; assumed
LAUNCH: Final = 0.01  # seconds that a GPU needs at least for a pass of a model, for starting its kernels; assumed


@dataclass(frozen=True)
class Gpu:
    """From its data sheet: FP32 without tensor cores, as a scan computes."""

    name: str
    peak: float  # FLOP/s
    memory: int  # bytes


GPUS: Final = (Gpu("A100 80GB", 19.5e12, 80 * 10**9), Gpu("H100 SXM", 67e12, 80 * 10**9))


@dataclass(frozen=True)
class Job:
    """A scan: passes of a model of so many parameters; `flops` of a forward pass of one unit."""

    name: str
    parameters: int
    flops: float
    passes: Passes
    family: str | None = None  # of the fit, where the CPU's time can be told too

    @property
    def work(self) -> float:
        """FLOPs of the scan."""
        return self.passes.forwards * self.flops

    def hours(self, gpu: Gpu) -> float:
        """On one GPU, or on several that take turns: layers one after the other are no faster for being spread."""
        return max(gpu_seconds(self.work, gpu.peak, UTILISATION), LAUNCH * self.passes.calls) / 3600


def text_passes(counted: Mapping[str, Any], length: int, plan: Plan) -> Passes:
    """Passes in tokens of a whole scan of a text classifier of two classes, from those that a search was counted with.

    Tokens of the search grow with the length of the texts, as those of sample-fit and exposure do.
    """
    search = counted["stages"]["search"]
    longer = length / MAX_TOKENS
    units = {kind: round(longer * count) for kind, count in search["units"].items()}
    texts = plan.exposure + plan.held_out
    units[FORWARD] = units.get(FORWARD, 0) + length * (texts + (1 + plan.seeds) * plan.exposure)
    units[TRAIN] = length * round(plan.seeds * plan.epochs * plan.exposure)
    return Passes(search["calls"] + round(plan.seeds * plan.epochs * plan.exposure / 32), units)


def projections(
    found: Mapping[str, dict[str, Any]], fits: Mapping[str, Fit], whole: Mapping[str, dict[str, Any]]
) -> Iterator[str]:
    """Lines of Markdown: the count of passes held against what was counted, then the tables."""
    yield from _counts(whole)
    jobs = [*_ladder(found, whole), *_larger(whole)]
    head = ["scan", "M parameters", "GFLOP a unit", "forward passes", "PFLOP", "CPU core hours", f"for {MODELS:,}"]
    head += [f"{gpu.name} hours" for gpu in GPUS]
    head += [f"for {MODELS:,}" for _ in GPUS] + ["memory, GiB", *(f"{gpu.name}s" for gpu in GPUS[:1]), "24 GB GPUs"]
    yield "\n| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for job in jobs:
        yield "| " + " | ".join(_row(job, fits)) + " |"


def _counts(whole: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    plan, labels = Plan(), 10
    for name, one in whole.items():
        stage = one["stages"]["search"]
        counted = Passes(stage["calls"], stage["units"]).forwards
        yield f"\nWhole search of {name}: {stage['calls']} calls, {stage['units']}, {stage['cpu']:.0f} CPU s."
        if name != WORDS_OF:
            none = Plan(seeds=0, epochs=0, exposure=plan.exposure, held_out=plan.held_out)
            rest = none.exposure + none.exposure + none.held_out  # looks and sample-fit
            said = picture_passes(none, labels).forwards - rest
            yield f"The formula says {said / counted:.3f} of the passes that were counted."


def _ladder(found: Mapping[str, dict[str, Any]], whole: Mapping[str, dict[str, Any]]) -> Iterator[Job]:
    for rung in LADDER:
        one = found[rung.name]
        passes = text_passes(whole[WORDS_OF], MAX_TOKENS, Plan()) if rung.family == "bert" else None
        yield Job(
            rung.name, one["parameters"], one["flops"], passes or picture_passes(Plan(), 10), rung.family
        )  # fmt: skip


def _larger(whole: Mapping[str, dict[str, Any]]) -> Iterator[Job]:
    size, flops = vit_large()
    ten = picture_passes(Plan(exposure=5000, held_out=5000), 10)
    yield Job("ViT-L/16, 1000 classes, 10 labels searched", size, flops, ten)
    yield Job(
        "ViT-L/16, 1000 classes, all searched", size, flops, picture_passes(Plan(exposure=5000, held_out=5000), 1000)
    )
    size, flops = seven_billion()
    for length in (MAX_TOKENS, 256):
        yield Job(f"7B text classifier, {length} tokens", size, flops, text_passes(whole[WORDS_OF], length, Plan()))


def _row(job: Job, fits: Mapping[str, Fit]) -> list[str]:
    cpu = ["-", "-"]
    if job.family:
        hours = fits[job.family].seconds(job.passes.calls, job.work) / 3600
        cpu = [f"{hours:.3g}", f"{hours * MODELS:,.0f}"]
    weights = 4 * job.parameters
    hours_of = [job.hours(gpu) for gpu in GPUS]
    row = [job.name, f"{job.parameters / 1e6:.2f}", f"{job.flops / 1e9:.3g}", f"{job.passes.forwards:,.0f}"]
    row += [f"{job.work / 1e15:.3g}", *cpu, *(f"{hours:.2g}" for hours in hours_of)]
    row += [f"{hours * MODELS:,.0f}" for hours in hours_of]
    row += [f"{memory_needed(weights) / GIB:.1f}"]
    return row + [str(gpus_needed(weights, size)) for size in (GPUS[0].memory, 24 * 10**9)]


def _on_meta(module: torch.nn.Module, units: int, **arguments: torch.Tensor) -> tuple[int, float]:
    """Parameters, and FLOPs of a forward pass of one unit: counted on shapes alone."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(**arguments)
    return sum(parameter.numel() for parameter in module.parameters()), counter.get_total_flops() / units


def vit_large() -> tuple[int, float]:
    """A ViT-L/16 of 1000 classes, pictures of 224x224."""
    from ..scanner.models.huggingface import ATTENTION, import_transformers

    transformers = import_transformers()
    config = transformers.ViTConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, num_labels=1000
    )
    with torch.device("meta"):
        model = transformers.ViTForImageClassification._from_config(config, attn_implementation=ATTENTION)
        return _on_meta(model, 1, pixel_values=torch.zeros(1, 3, 224, 224))


def seven_billion(length: int = MAX_TOKENS) -> tuple[int, float]:
    """A decoder of 7 billion parameters (32 layers of 4096) with two classes; FLOPs a token."""
    from ..scanner.models.huggingface import ATTENTION, import_transformers

    transformers = import_transformers()
    config = transformers.LlamaConfig(
        vocab_size=32_000, hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, intermediate_size=11_008,
        num_labels=2, pad_token_id=0, use_cache=False,
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.LlamaModel._from_config(config, attn_implementation=ATTENTION)
        ids = torch.ones(1, length, dtype=torch.long)
        return _on_meta(model, length, input_ids=ids, attention_mask=ids)
