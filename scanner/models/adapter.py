"""LoRA adapters of Hugging Face models: merged into the base model by peft, from settings and weights read here."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...checks.folder_files import ADAPTER_CONFIG, read_json, weight_files
from ...evidence.artifact import Artifact
from ...evidence.errors import MissingExtra, ScanError
from .huggingface import read_weights, sentence

if TYPE_CHECKING:
    from torch import Tensor, nn

_PREFIX: Final = "base_model.model."
_CHANGE: Final = re.compile(r"\.lora_[A-Za-z_]+(\.|$)")  # what is added to a weight; the rest takes a weight's place
_HEAD: Final = re.compile(r"(^|\.)(classifier|score|head|fc|out_proj)\.weight$")
# peft takes names for regular expressions, which could be built never to end.
_PLAIN: Final = re.compile(r"[\w.-]{1,300}")
_PATTERN: Final = re.compile(r"\^?[\w.-]{1,300}")
_MAX_RANK: Final = 1 << 14
_MAX_ALPHA: Final = 1e6
_MAX_LAYER: Final = 4096
_WAY_OUT: Final = "merge it into its model with peft's merge_and_unload, save that, and scan the folder"
# How training started and where: nothing that is computed afterwards.
_IGNORED: Final = frozenset({
    "auto_mapping", "base_model_name_or_path", "inference_mode", "lora_dropout", "megatron_core", "peft_type",
    "peft_version", "qalora_group_size", "revision", "runtime_config",
})  # fmt: skip
_SWITCHES: Final = ("use_rslora", "use_dora", "fan_in_fan_out", "ensure_weight_tying")
_NAMES: Final = ("target_modules", "exclude_modules", "modules_to_save", "layers_pattern")
# Others change the base model's weights before training; peft would do so again, to any base.
_STARTS: Final = (None, True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class Adapter:
    """Checked settings and the weights."""

    path: Path  # its folder
    options: Mapping[str, Any]  # of peft's LoraConfig
    weights: Mapping[str, Tensor]

    @property
    def brought(self) -> dict[str, Tensor]:
        """Weights that take the place of the model's, such as a new head, by the model's names."""
        return {name.removeprefix(_PREFIX): tensor for name, tensor in self.weights.items() if not _CHANGE.search(name)}

    def classes(self, own: Mapping[str, Tensor], labels: int) -> int:
        """How many classes the head has that the adapter brings; `labels`, which the model's `own` has, without one."""
        found = {
            tensor.shape[0]
            for name, tensor in self.brought.items()
            if name in own
            and tensor.ndim == own[name].ndim
            and own[name].shape[:1] == (labels,)
            and own[name].shape[1:] == tensor.shape[1:]
        }
        return found.pop() if len(found) == 1 else labels

    def merged_into(self, module: nn.Module) -> nn.Module:
        """The model with the changes in its weights. Raises ScanError where they do not belong to it."""
        try:
            import peft
        except ModuleNotFoundError:
            raise MissingExtra("peft", "peft") from None
        import torch

        misfit = f"the adapter does not fit its base model; if another version of transformers trained it, {_WAY_OUT}"
        with sentence(self.path, misfit), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded: Any
            config = peft.LoraConfig(**self.options)
            # Nothing of the size that the settings name is made: the file's own tensors take their places.
            model = peft.get_peft_model(module, config, low_cpu_mem_usage=True)
            try:
                loaded = peft.set_peft_model_state_dict(model, dict(self.weights), low_cpu_mem_usage=True)
            except KeyError as error:
                raise ScanError(f"{self.path} misses {str(error.args[0])[:200]!r}: fetch or save it again") from None
            own = {name: tensor for name, tensor in model.state_dict().items() if ".default" in name}
            missing = sorted(name for name in own if name in loaded.missing_keys or own[name].is_meta)
            for names, what in (
                (missing, f"misses weights for what {ADAPTER_CONFIG} says"),
                (sorted(loaded.unexpected_keys), "holds weights for what the base model has not, or is not to change"),
            ):
                if names:
                    told = names[0].replace(".default", "")[:200]
                    raise ScanError(f"{self.path} {what} ({told!r}, {len(names)} in all): is --base-model its model?")
            merged: nn.Module = model.merge_and_unload(safe_merge=False)
            if any(parameter.is_meta for parameter in merged.parameters()):
                raise ScanError(f"{self.path} misses weights: fetch or save it again")
            return merged.to(torch.float32)


def read_adapter(artifact: Artifact) -> Adapter:
    """Settings and weights of an adapter's folder. Raises ScanError, one sentence, for those that are refused."""
    options = _options(artifact.path / ADAPTER_CONFIG)
    weights: dict[str, Tensor] = {}
    for name in weight_files(artifact.path):
        path = artifact.path / name
        for key, tensor in read_weights(path, artifact.files.get(name, "")).items():
            if not key.startswith(_PREFIX):
                raise ScanError(f"{path} holds {key[:200]!r}, which is no name of an adapter's weight: save it again")
            weights[key] = tensor.float()
    return Adapter(artifact.path, options, weights)


def classes_of(artifact: Artifact) -> int | None:
    """How many classes the head has that the adapter brings, as far as its names tell; None if it brings none."""
    adapter = read_adapter(artifact)
    heads = [tensor for name, tensor in adapter.brought.items() if _HEAD.search(name) and tensor.ndim == 2]
    return heads[-1].shape[0] if len(heads) == 1 else None


def _options(path: Path) -> dict[str, Any]:
    """What peft is told: only what is known, of known types and within limits."""
    settings = read_json(path)
    kind, task, code = settings.get("peft_type"), settings.get("task_type"), settings.get("auto_mapping")
    if kind != "LORA":
        raise ScanError(f"{path} describes an adapter of the kind {str(kind)[:40]!r}, not LORA: {_WAY_OUT}")
    if task not in (None, "SEQ_CLS"):
        raise ScanError(f"{path} is for the task {str(task)[:40]!r}, no classification: pass a classifier's adapter")
    library = code.get("parent_library") if isinstance(code, dict) else code
    if library is not None and not str(library).startswith("transformers."):
        raise ScanError(f"{path} wants code from {str(library)[:80]!r} (auto_mapping), which is not run: {_WAY_OUT}")
    rank, alpha, start = settings.get("r", 8), settings.get("lora_alpha", 8), settings.get("init_lora_weights", True)
    options: dict[str, Any] = {"task_type": task, "r": _rank(path, rank), "lora_alpha": _alpha(path, alpha)}
    if not any(start is known or (isinstance(start, str) and start == known) for known in _STARTS):
        raise ScanError(f"{path} starts from changed base weights (init_lora_weights {str(start)[:40]!r}): {_WAY_OUT}")
    if settings.get("bias", "none") != "none":
        raise ScanError(f"{path} trains biases too (bias {str(settings['bias'])[:40]!r}): {_WAY_OUT}")
    for key in _SWITCHES:
        if not isinstance(settings.get(key), bool | None):
            raise ScanError(f"{path} has {key!r} that is neither true nor false: save the adapter again")
        options[key] = settings.get(key) or False
    for key in _NAMES:
        options[key] = _names(path, key, settings.get(key))
    options["rank_pattern"] = {
        name: _rank(path, number) for name, number in _table(path, settings, "rank_pattern").items()
    }
    options["alpha_pattern"] = {
        name: _alpha(path, number) for name, number in _table(path, settings, "alpha_pattern").items()
    }
    options["layers_to_transform"] = _layers(path, settings.get("layers_to_transform"))
    known = _IGNORED | options.keys() | {"bias", "init_lora_weights"}
    if odd := sorted(key for key, value in settings.items() if value and key not in known):
        raise ScanError(f"{path} asks for {odd[0][:60]!r}, which is not known here: {_WAY_OUT}")
    if options["target_modules"] is None:
        raise ScanError(f"{path} does not say which modules it changes (target_modules): save the adapter again")
    return {key: value for key, value in options.items() if value not in (None, False, {})}


def _rank(path: Path, value: object) -> int:
    if type(value) is not int or not 1 <= value <= _MAX_RANK:
        raise ScanError(f"{path} has a rank of {str(value)[:40]}, not of 1 to {_MAX_RANK}: save the adapter again")
    return value


def _alpha(path: Path, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MAX_ALPHA:
        raise ScanError(f"{path} has a lora_alpha of {str(value)[:40]}, which makes no sense: save the adapter again")
    return value


def _names(path: Path, key: str, value: object) -> str | list[str] | None:
    """Plain names only."""
    if value in (None, [], ""):
        return None
    if isinstance(value, str) and key != "modules_to_save" and _PLAIN.fullmatch(value):
        return value
    if isinstance(value, list) and all(isinstance(name, str) and _PLAIN.fullmatch(name) for name in value):
        return value
    raise ScanError(f"{path} has {key!r} that is no list of plain names of modules: list them, or {_WAY_OUT}")


def _table(path: Path, settings: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = settings.get(key) or {}
    if not isinstance(found, dict) or not all(_PATTERN.fullmatch(name) for name in found):
        raise ScanError(f"{path} has {key!r} that is no table of plain names of modules: {_WAY_OUT}")
    return found


def _layers(path: Path, value: object) -> int | list[int] | None:
    layers = value if isinstance(value, list) else [] if value is None else [value]
    if any(type(layer) is not int or not 0 <= layer <= _MAX_LAYER for layer in layers):
        raise ScanError(f"{path} has 'layers_to_transform' that are no numbers of layers: save the adapter again")
    return value or None if isinstance(value, list) else value  # type: ignore[return-value]
