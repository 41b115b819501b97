"""LoRA adapters beside their base model: the scores are peft's own, and what is odd about one is told in a sentence."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from ebyd_scan.checks.file_safety import FileSafety  # noqa: E402
from ebyd_scan.evidence.context import Evidence  # noqa: E402
from ebyd_scan.evidence.errors import ScanError, UsageError  # noqa: E402
from ebyd_scan.evidence.finding import Outcome  # noqa: E402
from ebyd_scan.fixtures.text_tokenizers import train_tokenizer  # noqa: E402
from ebyd_scan.scanner.inputs import _class_names  # noqa: E402
from ebyd_scan.scanner.inspection import inspect_file  # noqa: E402
from ebyd_scan.scanner.models.huggingface import import_transformers, load_folder, takes_texts  # noqa: E402
from ebyd_scan.scanner.models.identify import check_adapter, identify  # noqa: E402
from ebyd_scan.scanner.models.text_classifier import load_text_classifier  # noqa: E402
from ebyd_scan.scanner.models.tokenizer import TOKENIZER_FILES, read_codec  # noqa: E402
from ebyd_scan.scanner.reports.inspection import to_file_text  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

transformers = import_transformers()
peft = pytest.importorskip("peft")
TEXTS, PICTURES = "AutoModelForSequenceClassification", "AutoModelForImageClassification"
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CONFIGS: dict[str, tuple[Any, dict[str, Any], list[str]]] = {
    "Bert": (transformers.BertConfig, {**SMALL, "max_position_embeddings": 16}, ["query", "value", "dense"]),
    "GPT2": (transformers.GPT2Config, {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}, ["c_attn"]),
    "Llama": (transformers.LlamaConfig, {**SMALL, "num_key_value_heads": 1}, ["q_proj", "v_proj", "embed_tokens"]),
    "ViT": (transformers.ViTConfig, {**SMALL, "image_size": 16, "patch_size": 8}, ["q_proj", "v_proj"]),
}
HEADS = {"Bert": "classifier", "GPT2": "score", "Llama": "score", "ViT": "classifier"}
PLACED = Callable[..., tuple[Path, Path, Any]]


def _inputs(kind: str) -> dict[str, Any]:
    if kind == "ViT":
        return {"pixel_values": torch.rand(3, 3, 16, 16)}
    return {"input_ids": torch.randint(2, 60, (3, 9)), "attention_mask": torch.ones(3, 9, dtype=torch.long)}


@pytest.fixture
def place(tmp_path: Path) -> PLACED:
    """A base model without a head, an adapter that brings one, and peft's own model of the two."""

    def make(kind: str = "Bert", *, labels: int = 3, tokens: int = 60, **more: Any) -> tuple[Path, Path, Any]:
        torch.manual_seed(0)
        make_config, options, targets = CONFIGS[kind]
        words = {} if kind == "ViT" else {"vocab_size": tokens, "pad_token_id": 0}
        config = make_config(**options, **words)
        transformers.AutoModel.from_config(config).save_pretrained(tmp_path / "base")
        auto = getattr(transformers, PICTURES if kind == "ViT" else TEXTS)
        model = auto.from_pretrained(tmp_path / "base", num_labels=labels)
        task = {"modules_to_save": ["classifier"]} if kind == "ViT" else {"task_type": "SEQ_CLS"}
        settings = {"r": 3, "lora_alpha": 5, "target_modules": targets, "init_lora_weights": False, **task, **more}
        if kind == "GPT2":
            settings["fan_in_fan_out"] = True
        tuned = peft.get_peft_model(model, peft.LoraConfig(**settings)).eval()
        with torch.no_grad():
            for name, parameter in tuned.named_parameters():
                if "lora_" in name or "modules_to_save" in name:
                    parameter.normal_(0.3, 0.3)
        tuned.save_pretrained(tmp_path / "adapter")
        return tmp_path / "adapter", tmp_path / "base", tuned

    return make


def _load(adapter: Path, base: Path, auto: str = TEXTS) -> Any:
    return load_folder(identify(adapter, base), auto)


def _same(kind: str, adapter: Path, base: Path, tuned: Any) -> None:
    module, name = _load(adapter, base, PICTURES if kind == "ViT" else TEXTS)
    given = _inputs(kind)
    with torch.no_grad():
        mine, right = module(**given).logits, tuned(**given).logits
    torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-4)
    assert name.endswith("+LoRA") and not any("lora" in key for key in module.state_dict())


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_the_scores_are_pefts_own(kind: str, place: PLACED) -> None:
    """The base has no head: how many classes there are is the adapter's to say."""
    _same(kind, *place(kind, labels=5))


@pytest.mark.parametrize(
    "more",
    [
        {"use_rslora": True},
        {"use_dora": True, "target_modules": ["query"]},
        {"rank_pattern": {"query": 7}, "alpha_pattern": {"value": 11}},
        {"layers_to_transform": [1], "target_modules": ["query"]},
        {"target_modules": "all-linear", "exclude_modules": ["pooler.dense"]},
    ],
    ids=lambda more: next(iter(more)),
)
def test_kinds_of_lora(more: dict[str, Any], place: PLACED) -> None:
    _same("Bert", *place(**more))


def test_half_precision_and_a_pickled_file(place: PLACED) -> None:
    adapter, base, tuned = place()
    weights = {name: tensor.half() for name, tensor in load_file(adapter / "adapter_model.safetensors").items()}
    (adapter / "adapter_model.safetensors").unlink()
    torch.save(weights, adapter / "adapter_model.bin")
    module, _ = _load(adapter, base)
    given = _inputs("Bert")
    with torch.no_grad():
        torch.testing.assert_close(module(**given).logits, tuned(**given).logits, rtol=0.02, atol=0.02)


def test_a_base_with_a_head_for_other_classes(place: PLACED) -> None:
    """As the head of a ViT that was trained on ImageNet."""
    adapter, base, tuned = place("ViT", labels=4)
    config = transformers.AutoConfig.from_pretrained(base)
    config.num_labels = 7
    whole = transformers.AutoModelForImageClassification.from_config(config)
    whole.vit.load_state_dict(tuned.get_base_model().vit.state_dict(), strict=False)
    body = load_file(base / "model.safetensors")
    own = whole.state_dict()
    whole.load_state_dict({**own, **{f"vit.{k}": v for k, v in body.items() if f"vit.{k}" in own}})
    whole.save_pretrained(base)
    again = load_file(base / "model.safetensors")
    assert any(name.startswith("classifier") for name in again)
    module, _ = _load(adapter, base, PICTURES)
    assert module.classifier.weight.shape[0] == 4
    assert _class_names(identify(adapter, base)) == {}, "they are those of the base's own classes"


def test_modules_called_as_older_versions_called_them(place: PLACED) -> None:
    """transformers 5 has renamed some; peft 0.21 renames weights, not target_modules."""
    adapter, base, _ = place("ViT")
    _change(adapter, target_modules=["query", "value"])
    with pytest.raises(ScanError, match="if another version of transformers trained it, merge it into its model"):
        _load(adapter, base, PICTURES)


def test_a_tokenizer_of_its_own_and_padding_that_the_base_has_not(place: PLACED) -> None:
    """Decoders have no padding; who trains a classifier of one sets it in the code."""
    adapter, base, _ = place("GPT2", tokens=700)
    tokenizer = train_tokenizer("gpt2", ["a film of music and of a city"] * 3, max_length=16, vocabulary=300)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    tokenizer.save_pretrained(adapter)
    settings = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**settings, "pad_token_id": None}))
    artifact = identify(adapter, base)
    codec = read_codec(artifact.folder_with(*TOKENIZER_FILES), None, artifact.model_folder)
    assert codec.max_length == 16 and "tokenizer.json" in artifact.files
    classifier = load_text_classifier(artifact, codec, "cpu")
    assert classifier.num_classes == 3 and classifier.architecture.endswith("ForSequenceClassification+LoRA")


def test_class_names(place: PLACED) -> None:
    adapter, base, _ = place(labels=2)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "id2label": {"0": "dull", "1": "fine"}}))
    assert _class_names(identify(adapter, base)) == {0: "dull", 1: "fine"}
    (adapter / "config.json").write_text(json.dumps({"id2label": {"0": "no", "1": "yes"}}))
    assert _class_names(identify(adapter, base)) == {0: "no", 1: "yes"}
    (adapter / "config.json").write_text(json.dumps({"id2label": {"0": "no", "1": "yes", "2": "perhaps"}}))
    assert _class_names(identify(adapter, base)) == {}
    assert takes_texts(adapter)


def test_the_digest_covers_both_folders(place: PLACED) -> None:
    adapter, base, _ = place()
    first = identify(adapter, base)
    assert {"adapter_config.json", "adapter_model.safetensors", "base/config.json", "base/model.safetensors"} == set(
        first.files
    )
    assert first.format == "huggingface" and first.base == base
    with (base / "config.json").open("a") as file:
        file.write("\n")
    assert identify(adapter, base).sha256 != first.sha256 != identify(adapter).sha256


class _Runs:
    def __reduce__(self) -> Any:
        return print, ("it ran",)


@pytest.mark.parametrize("where", ["adapter/adapter_model.bin", "base/pytorch_model.bin"])
def test_both_folders_are_walked(where: str, place: PLACED, tmp_path: Path) -> None:
    """Also where safetensors are beside it."""
    adapter, base, _ = place()
    (tmp_path / where).write_bytes(pickle.dumps(_Runs()))
    finding = FileSafety().run(Evidence(artifact=identify(adapter, base), seed=0))
    assert finding.outcome is Outcome.FAILED and Path(where).name in finding.message


def test_without_its_base(place: PLACED, tmp_path: Path) -> None:
    """The path in the file is told and never followed."""
    adapter, base, _ = place()
    with pytest.raises(UsageError, match=r"is an adapter, .*/base.*, as it says\): give .* with --base-model"):
        check_adapter(identify(adapter))
    check_adapter(identify(base))
    with pytest.raises(UsageError, match=r"--base-model .* is for adapters, and .*/base is no folder with"):
        identify(base, base)
    with pytest.raises(UsageError, match=r"--base-model bert-base is no folder with a config\.json .*downloaded"):
        identify(adapter, Path("bert-base"))
    with pytest.raises(UsageError, match="is no folder with"):
        identify(adapter, adapter)


def _change(adapter: Path, **more: Any) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"peft_type": "IA3"}, "of the kind 'IA3', not LORA: merge it"),
        ({"task_type": "CAUSAL_LM"}, "for the task 'CAUSAL_LM', no classification"),
        ({"auto_mapping": {"parent_library": "os"}}, "wants code from 'os'"),
        ({"r": 10**9}, "has a rank of 1000000000"),
        ({"r": True}, "has a rank of True"),
        ({"lora_alpha": float("inf")}, "has a lora_alpha of inf"),
        ({"lora_alpha": "x"}, "has a lora_alpha of x"),
        ({"init_lora_weights": "pissa"}, "starts from changed base weights"),
        ({"bias": "all"}, "trains biases too"),
        ({"use_dora": "yes"}, "'use_dora' that is neither true nor false"),
        ({"target_modules": "(a+)+$"}, "'target_modules' that is no list of plain names"),
        ({"target_modules": ["query", 3]}, "'target_modules' that is no list of plain names"),
        ({"modules_to_save": ["(.*)*x"]}, "'modules_to_save' that is no list of plain names"),
        ({"target_modules": None}, "does not say which modules it changes"),
        ({"rank_pattern": {"(a+)+": 3}}, "'rank_pattern' that is no table of plain names"),
        ({"layers_to_transform": [10**9]}, "no numbers of layers"),
        ({"megatron_config": {"a": 1}}, "asks for 'megatron_config', which is not known here"),
        ({"corda_config": {"cache_file": "/x"}}, "asks for 'corda_config'"),
        ({"layer_replication": [[0, 2]]}, "asks for 'layer_replication'"),
        ({"target_modules": ["nowhere"]}, "does not fit its base model"),
        ({"target_modules": ["query"]}, "holds weights for what the base model has not, or is not to change"),
        ({"target_modules": ["query", "key", "value", "dense"]}, "misses weights for what adapter_config"),
        ({"r": 4}, "does not fit its base model"),
        ({"modules_to_save": ["classifier", "pooler"]}, "misses "),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value)[:30],
)
def test_settings_that_are_refused(more: dict[str, Any], told: str, place: PLACED) -> None:
    adapter, base, _ = place()
    _change(adapter, **more)
    with pytest.raises(ScanError) as problem:
        _load(adapter, base)
    assert told in str(problem.value) and str(adapter) in str(problem.value)
    assert "\n" not in str(problem.value)


def test_weights_that_are_refused(place: PLACED) -> None:
    adapter, base, _ = place()
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if "lora_A" in name)
    shapes = {name: torch.rand(3, 5)}
    for changed, told in (
        ({key: tensor for key, tensor in weights.items() if key != name}, "misses weights for what"),
        (
            {**weights, "base_model.model.nowhere.weight": torch.rand(2)},
            "holds weights for what the base model has not",
        ),
        ({**weights, "else.weight": torch.rand(2)}, "no name of an adapter's weight"),
        ({**weights, **shapes}, "does not fit its base model"),
        ({key: tensor for key, tensor in weights.items() if "classifier" not in key}, "has no weights for classifier"),
        ({key: tensor for key, tensor in weights.items() if "classifier.bias" not in key}, "has no weights for"),
    ):
        save_file(changed, path)
        with pytest.raises(ScanError, match=told):
            _load(adapter, base)
    path.unlink()
    with pytest.raises(ScanError, match="has no weights, neither adapter_model"):
        identify(adapter, base)


def test_another_base(place: PLACED, tmp_path: Path) -> None:
    adapter, _, _ = place()
    make_config, options, _ = CONFIGS["Bert"]
    other = make_config(**{**options, "hidden_size": 32}, vocab_size=60, pad_token_id=0)
    transformers.AutoModel.from_config(other).save_pretrained(tmp_path / "other")
    with pytest.raises(ScanError, match=r"do not belong together|does not fit its base model"):
        _load(adapter, tmp_path / "other")


def test_inspect(place: PLACED) -> None:
    adapter, _, _ = place()
    _change(adapter, base_model_name_or_path="who/what")
    found = inspect_file(adapter)
    assert found.verdict.value == "passed" and found.format == "huggingface" and found.huggingface
    assert (found.huggingface.adapter, found.huggingface.base_model) == ("LORA", "who/what")
    assert not found.huggingface.remote_code
    assert " ".join(to_file_text(found, color=False, width=100).split()).count("adapter LORA of model who/what") == 1
    assert found.parameters == sum(
        tensor.numel() for tensor in load_file(adapter / "adapter_model.safetensors").values()
    )
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(_Runs()))
    assert inspect_file(adapter).verdict.value == "failed"
