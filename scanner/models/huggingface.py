"""Hugging Face folders: the model that config.json names, with the weights beside it. No hub, no remote code."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...checks.folder_files import ADAPTER_CONFIG, CONFIG, is_adapter_folder, read_json, weight_files, weights_format
from ...evidence.artifact import BASE, Artifact
from ...evidence.errors import MissingExtra, ScanError
from ..torchvision_compat import import_torchvision
from .architecture import first_line
from .checkpoint import WholeModule, as_tensors, load_weights_only
from .safetensors_file import load_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

REMOTE_CODE = "--trust-remote-code"
ATTENTION = "eager"  # in plain torch
# At any depth of config.json: what makes transformers or timm read something else than config.json and the weights.
_ELSEWHERE: Final = {
    "configuration_files", "transformers_weights", "attribute_map", "checkpoint_path", "pretrained_model_args",
    "pretrained_cfg_overlay", "cache_dir", "use_pretrained_backbone",
}  # fmt: skip
# Files that transformers would load instead of the weights, or on top of them.
_INSTEAD: Final = {
    ".metadata": "a distributed checkpoint",
    "shard-*-model-*-of-*.safetensors": "a distributed checkpoint",
    ADAPTER_CONFIG: "an adapter",
}
_DEPTH: Final = re.compile("layer|depth|block|stage|repeat|attends")
_MAX_DEPTH: Final = 4096  # layers; some such lists are of channels
_NAMES: Final = ("id2label", "label2id", "label_names")
_LABELS: Final = ("num_labels", "num_classes")
_MAX_LABELS: Final = 100_000
_INDEX: Final = re.compile(r"[0-9]{1,9}")


def import_transformers() -> Any:
    """transformers, offline and silent. Raises MissingExtra where it is not installed."""
    os.environ.update(
        HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TRANSFORMERS_VERBOSITY="error",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
    )  # fmt: skip
    with suppress(ModuleNotFoundError):
        import_torchvision()
    try:
        import transformers
    except ModuleNotFoundError:
        raise MissingExtra("transformers", "transformers") from None
    transformers.utils.logging.disable_progress_bar()
    return transformers


@contextmanager
def sentence(folder: Path, what: str) -> Iterator[None]:
    """Whatever transformers says of a broken or a strange folder, as one sentence."""
    try:
        yield
    except ScanError:
        raise
    except Exception as error:
        memory = type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error)
        if memory or isinstance(error, MemoryError):  # the worker has a sentence of its own
            raise
        why = first_line(error)
        if "ignore_mismatched_sizes" in why:
            raise ScanError(f"{folder}: some weights are of another shape than {CONFIG} says") from None
        if isinstance(error, ImportError):
            raise ScanError(f"{folder} needs a package that is not installed here ({why})") from None
        raise ScanError(f"{folder}: {what} ({why})") from None


def _check_config(folder: Path, settings: Mapping[str, Any], remote_code: bool) -> None:
    kind = settings.get("model_type")
    if kind is None and isinstance(settings.get("architecture"), str):
        raise ScanError(
            f"{folder / CONFIG} is timm's: pass the file with the weights and --architecture "
            f"timm:{settings['architecture'][:80]}"
        )
    if not isinstance(kind, str) and not (kind is None and remote_code and settings.get("auto_map")):
        raise ScanError(f"{folder / CONFIG} does not say which model_type it describes: save the model again")
    _check_values(folder / CONFIG, settings)
    if settings.get("quantization_config"):
        raise ScanError(
            f"{folder} holds quantised weights, which cannot be trained: pass the model before quantisation"
        )


def _check_values(path: Path, settings: Mapping[str, Any]) -> None:
    waiting: list[tuple[str, Any]] = list(settings.items())
    while waiting:
        key, value = waiting.pop()
        if key in _NAMES:  # a class may be called anything
            continue
        away = key == "architecture" and ":" in str(value)  # timm's way to name a hub or a folder
        if value and (key in _ELSEWHERE or away or (key == "pretrained" and value is True)):
            raise ScanError(f"{path} makes loaders read something else ({key}): remove that, or save the model again")
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(key, inner) for inner in value]
        limit = _MAX_LABELS if key in _LABELS else _MAX_DEPTH if _DEPTH.search(key) else None
        if limit and isinstance(value, int) and value > limit:
            raise ScanError(f"{path} asks for {key[:60]!r} of more than {limit}: save the model again")


def _only_remote(transformers: Any, settings: Mapping[str, Any]) -> bool:
    """Whether there is no way to build the model but by code that came with it."""
    return bool(settings.get("auto_map")) and settings.get("model_type") not in transformers.CONFIG_MAPPING


def _state(artifact: Artifact) -> dict[str, Tensor]:
    """All weights of the folder, by our own readers, which the static checks know."""
    state: dict[str, Tensor] = {}
    folder = artifact.model_folder
    for pattern, what in _INSTEAD.items():
        if found := next(folder.glob(pattern), None):
            raise ScanError(
                f"{folder} holds {what} too ({found.name!r}), which transformers may load: save the model again "
                "without it"
            )
    for name in weight_files(folder):
        path = folder / name
        _add(path, state, read_weights(path, artifact.files.get(BASE * bool(artifact.base) + name, "")))
    return state


def read_weights(path: Path, sha256: str) -> Mapping[str, Tensor]:
    """The tensors of one file of a folder. Raises ScanError where there is more in it, or something else."""
    kind = weights_format(path)
    part = Artifact(path=path, format=kind or "unknown", sha256=sha256, size=0)
    if kind == "safetensors":
        return load_tensors(part)
    if kind not in ("pytorch-zip", "pytorch-legacy"):
        raise ScanError(f"{path} is no file that torch.save wrote: save the model with safetensors")
    try:
        loaded = load_weights_only(part)
    except WholeModule as reason:
        raise ScanError(f"{path} holds more than weights ({reason}): save the model with safetensors") from None
    tensors = as_tensors(loaded)
    if tensors is None or any(isinstance(value, Mapping) for value in loaded.values()):
        raise ScanError(f"{path} is no plain table of weights, as transformers reads it: save the model again")
    return tensors


def _add(path: Path, state: dict[str, Tensor], more: Mapping[str, Tensor]) -> None:
    twice = sorted(state.keys() & more.keys())
    if twice:
        raise ScanError(f"{path} holds {twice[0]!r}, which is in another file too: save the model again")
    state |= more


def load_folder(artifact: Artifact, auto: str, *, remote_code: bool = False) -> tuple[nn.Module, str]:
    """The model of a folder in eval mode and float32, and its name; `auto` is transformers' class for the task.

    Attention is computed in plain torch, whatever the configuration asks for: kernels may come from a hub.
    An adapter's changes are merged into the weights of its base model, which may lack the head that the adapter brings.
    Raises MissingExtra without transformers, ScanError where the folder is broken, is another task's, misses weights,
    or cannot be built without code of its own and `remote_code` is False.
    """
    transformers = import_transformers()
    import torch

    from .adapter import read_adapter

    folder = artifact.model_folder
    adapter = read_adapter(artifact) if artifact.base else None
    settings = read_json(folder / CONFIG)
    _check_config(folder, settings, remote_code)
    if _only_remote(transformers, settings) and not remote_code:
        raise ScanError(
            f"{folder} needs Python code that came with it ({_named_code(settings)}): read that code, and pass "
            f"{REMOTE_CODE} if you trust it"
        )
    factory = getattr(transformers, auto)
    with sentence(folder, "transformers cannot build the model"):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=remote_code)
        config._attn_implementation = ATTENTION
        config.architectures = config.architectures or []  # None breaks the choice among a type's classes
        config.return_dict = True  # the scores are asked for by name

    def planned() -> nn.Module:
        with sentence(folder, "transformers cannot build the model"), torch.device("meta"):  # only its class and shapes
            made: nn.Module = factory.from_config(config, trust_remote_code=remote_code, attn_implementation=ATTENTION)
        return made

    plan, state = planned(), _state(artifact)
    kind: Any = type(plan)
    brought = adapter.brought if adapter else {}
    if adapter:
        if (classes := adapter.classes(plan.state_dict(), config.num_labels)) != config.num_labels:
            config.num_labels = classes
            plan = planned()
        state = {name: tensor for name, tensor in state.items() if name not in brought}
    _check_shapes(folder, plan, state)
    with sentence(folder, f"the weights do not fit {kind.__name__}"):
        module, report = kind.from_pretrained(
            None,
            config=config,
            state_dict=state,
            output_loading_info=True,
            attn_implementation=ATTENTION,
            dtype=torch.float32,
        )
    missing = sorted(set(report["missing_keys"]) - brought.keys())
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ScanError(
            f"{folder} has no weights for {', '.join(missing[:3])}{more} of {kind.__name__}, which would be drawn at "
            "random: is the model trained for this task?"
        )
    if adapter:
        return adapter.merged_into(module).eval(), f"huggingface:{kind.__name__}+LoRA"
    return module.eval(), f"huggingface:{kind.__name__}"


def _check_shapes(folder: Path, plan: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Before anything of the size that config.json names is made."""
    own = plan.state_dict()
    wrong = [name for name, tensor in state.items() if name in own and own[name].shape != tensor.shape]
    if wrong:
        name = wrong[0]
        more = f", and {len(wrong) - 1} more differ" if len(wrong) > 1 else ""
        raise ScanError(
            f"{folder}: {name} is {list(state[name].shape)} in the weights and {list(own[name].shape)} by {CONFIG}"
            f"{more}: the two do not belong together"
        )


def _named_code(settings: Mapping[str, Any]) -> str:
    table = settings.get("auto_map")
    names = sorted({str(value)[:80] for value in table.values()}) if isinstance(table, dict) else ["auto_map"]
    return ", ".join(names[:3])


def takes_texts(folder: Path) -> bool:
    """Whether the folder, a model's or an adapter's, says that it classifies texts."""
    if is_adapter_folder(folder):
        return read_json(folder / ADAPTER_CONFIG).get("task_type") == "SEQ_CLS"
    named = read_json(folder / CONFIG).get("architectures")
    return isinstance(named, list) and any(str(name).endswith("ForSequenceClassification") for name in named)


def class_names_of(settings: Mapping[str, Any]) -> dict[int, str]:
    """Class names of a config.json by index; models of timm have a list of them."""
    labels = settings.get("id2label")
    if labels is None and isinstance(listed := settings.get("label_names"), list):
        return {index: str(name) for index, name in enumerate(listed)}
    labels = labels if isinstance(labels, dict) else {}
    return {int(key): str(name) for key, name in labels.items() if _INDEX.fullmatch(key)}
