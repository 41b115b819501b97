"""Text classifiers of many kinds load from folders, are their folder's own and can be exposed; broken ones are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from ebyd_scan.evidence.errors import ScanError, UsageError  # noqa: E402
from ebyd_scan.evidence.samples import CleanSamples, SamplePart  # noqa: E402
from ebyd_scan.exposers.clean_unlearning import CleanUnlearning  # noqa: E402
from ebyd_scan.fixtures.text_tokenizers import train_tokenizer  # noqa: E402
from ebyd_scan.policies.model import Policy  # noqa: E402
from ebyd_scan.scanner.inputs import Pictures, Texts, inputs_of  # noqa: E402
from ebyd_scan.scanner.models.huggingface import import_transformers  # noqa: E402
from ebyd_scan.scanner.models.identify import identify  # noqa: E402
from ebyd_scan.scanner.models.text_classifier import load_text_classifier  # noqa: E402
from ebyd_scan.scanner.models.tokenizer import read_codec  # noqa: E402
from ebyd_scan.scanner.request import ScanRequest, TextOptions  # noqa: E402

from ..tiny_texts import NAMES, sentences  # noqa: E402

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
KINDS: dict[str, dict[str, Any]] = {
    "Bert": SMALL,
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "Roberta": {**SMALL, "type_vocab_size": 1},
    "Albert": {**SMALL, "embedding_size": 8},
    "DebertaV2": {
        **SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8,
        "type_vocab_size": 0,
    },
    "Electra": {**SMALL, "embedding_size": 8},
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 32, "n_positions": 32},
    "Llama": {**SMALL, "num_key_value_heads": 1},
    "Qwen2": {**SMALL, "num_key_value_heads": 1},
}  # fmt: skip
UNSUPPORTED: dict[str, dict[str, Any]] = {
    "T5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "eos_token_id": 3},
    "Canine": {**SMALL, "num_hash_buckets": 64},
}
TEXTS, RIGHT = sentences(24, 1)


@cache
def _tokenizer() -> Any:
    return train_tokenizer("bert", sentences(200, 1)[0], max_length=30, vocabulary=300)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Save a model of a kind, from random weights, and the tokenizer."""
    transformers = import_transformers()

    def make(kind: str = "Bert", *, labels: int = 2, **more: Any) -> Path:
        torch.manual_seed(0)
        tokenizer = _tokenizer()  # of Qwen's folders transformers makes one with a token more
        options = {"max_position_embeddings": 32, **(KINDS | UNSUPPORTED)[kind]}
        if kind == "GPT2":
            del options["max_position_embeddings"]
        config = getattr(transformers, f"{kind}Config")(
            **{"vocab_size": len(tokenizer) + 4, "num_labels": labels, "pad_token_id": 0, **options, **more}
        )
        if labels == 2:
            config.id2label = dict(enumerate(NAMES))
        place = tmp_path / kind
        transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(place)
        tokenizer.save_pretrained(place)
        return place

    return make


Make = Callable[..., Path]


def _load(place: Path) -> Any:
    return load_text_classifier(identify(place), read_codec(place), "cpu")


def _config(place: Path, **changes: Any) -> Path:
    path = place / "config.json"
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not ...}))
    return place


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_their_folder_s_own_take_gradients_and_are_exposed(kind: str, folder: Make) -> None:
    place = folder(kind)
    classifier = _load(place)
    codec = classifier.codec
    assert classifier.num_classes == 2 and classifier.trainable and not classifier.module.training
    assert classifier.architecture.startswith("huggingface:") and not classifier.has_batch_norm
    transformers = import_transformers()
    own = transformers.AutoModelForSequenceClassification.from_pretrained(place, local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place, local_files_only=True)
    tokens = codec.encode(TEXTS)
    with torch.no_grad():
        for row in (0, 5):  # alone, without padding, as the model was made for
            expected = own(**tokenizer([TEXTS[row]], truncation=True, return_tensors="pt")).logits
            assert torch.allclose(classifier.logits(tokens[torch.tensor([row])]), expected, atol=1e-5)
        together = classifier.logits(tokens)
        alone = torch.cat([classifier.logits(tokens[torch.tensor([row])]) for row in range(len(tokens))])
    assert torch.allclose(together, alone, atol=1e-5)  # padding changes nothing
    torch.nn.functional.cross_entropy(classifier.logits(tokens), torch.from_numpy(RIGHT)).backward()
    dead = [name for name, parameter in classifier.module.named_parameters() if parameter.grad is None]
    assert not dead
    classifier.module.zero_grad(set_to_none=True)
    part = SamplePart(tokens, torch.from_numpy(RIGHT))
    samples = CleanSamples(place / "x.tsv", "0" * 64, 2, NAMES, part, part)
    before = {name: value.clone() for name, value in classifier.module.state_dict().items()}
    exposure = CleanUnlearning(max_epochs=1).expose(classifier, samples, seed=0)
    assert exposure.run.applicable and exposure.run.trajectory and exposure.run.after is not None
    changed = [n for n, value in exposure.classifier.module.state_dict().items() if not torch.equal(value, before[n])]
    assert changed
    assert all(torch.equal(value, before[name]) for name, value in classifier.module.state_dict().items())


def test_pairs_are_told_apart_by_their_types(folder: Make) -> None:
    classifier = _load(folder("Bert", initializer_range=0.5))
    tokens = classifier.codec.encode(["the film"], ["good music"])
    assert tokens.pairs == ("good music",) and tokens.types.max() == 1
    from dataclasses import replace

    flat = replace(tokens, types=torch.zeros_like(tokens.types))
    assert not torch.allclose(classifier.logits(tokens), classifier.logits(flat), atol=1e-4)


def test_half_precision_is_computed_in_float32(folder: Make) -> None:
    from safetensors.torch import load_file, save_file

    place = folder("Bert")
    weights = place / "model.safetensors"
    save_file({name: value.half() for name, value in load_file(weights).items()}, weights, metadata={"format": "pt"})
    classifier = _load(_config(place, dtype="float16"))
    assert {parameter.dtype for parameter in classifier.module.parameters()} == {torch.float32}


def _without_head(place: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = place / "model.safetensors"
    save_file({name: value for name, value in load_file(weights).items() if "classifier" not in name}, weights)


def _nan(place: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = place / "model.safetensors"
    state = load_file(weights)
    state["classifier.weight"][0, 0] = float("nan")
    save_file(state, weights)


def _remote(place: Path) -> None:
    _config(place, model_type="own-net", auto_map={"AutoModelForSequenceClassification": "own.Model"})


SENTENCES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no head": (_without_head, "no weights for classifier.bias, classifier.weight .* trained for this task"),
    "NaN": (_nan, "NaN or infinity in 1 of its tensors"),
    "other head": (
        lambda place: _config(place, id2label={"0": "a", "1": "b", "2": "c"}, label2id={"a": 0, "b": 1, "c": 2}),
        r"\[2(, 16)?\] in the weights and \[3(, 16)?\] by config.json",
    ),
    "quantised": (
        lambda place: _config(place, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}),
        "quantised weights",
    ),
    "remote code": (_remote, "needs Python code that came with it"),
    "several labels a text": (
        lambda place: _config(place, problem_type="multi_label_classification"),
        "config.json says 'multi_label_classification': only models that give a text one of their classes",
    ),
    "of pictures": (lambda place: _config(place, model_type="resnet"), "cannot build the model"),
    "unknown type": (lambda place: _config(place, model_type="bart-simpson"), "cannot build the model|cannot be read"),
    "weights gone": (lambda place: (place / "model.safetensors").unlink(), "has no weights"),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_broken_folders_are_one_sentence(name: str, folder: Make, tmp_path: Path) -> None:
    place = folder("Bert")
    (place / "own.py").write_text(f"open({str(tmp_path / 'it-ran')!r}, 'w').close()")
    breaks, words = SENTENCES[name]
    breaks(place)
    with pytest.raises(ScanError, match=words) as caught:
        _load(place)
    assert str(place) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "it-ran").exists()


def test_one_output_is_no_classifier(folder: Make) -> None:
    with pytest.raises(ScanError, match=r"with \[2, 1\]: a classifier with two classes or more is needed"):
        _load(folder("Bert", labels=1))


def test_more_tokens_than_the_model_has(folder: Make) -> None:
    tokens = len(_tokenizer())
    place = folder("Bert", vocab_size=tokens - 1)
    with pytest.raises(ScanError, match=f"the tokenizer has {tokens} tokens and the model {tokens - 1}"):
        _load(place)
    assert _load(folder("DistilBert", vocab_size=tokens)).num_classes == 2


def test_a_decoder_that_knows_no_padding(folder: Make) -> None:
    """The tokenizer has one, the model finds the last token by its own."""
    with pytest.raises(ScanError, match=r"does not run on texts .*padding token") as caught:
        _load(folder("GPT2", pad_token_id=None))
    assert "\n" not in str(caught.value)


def test_padding_that_changes_the_answers(folder: Make) -> None:
    """A decoder that looks for another token than the tokenizer pads with reads the padding."""
    place = folder("GPT2", initializer_range=0.5)
    assert _load(place).num_classes == 2
    with pytest.raises(ScanError, match="differently when it is padded on the right: check that") as caught:
        _load(_config(place, pad_token_id=9))
    assert str(place) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["T5", "Canine"])
def test_kinds_in_which_no_words_can_be_searched(kind: str, folder: Make) -> None:
    """An encoder-decoder, and one without a table of tokens: refused when loaded, not by an error of the search."""
    with pytest.raises(ScanError, match=f"{kind}ForSequenceClassification.* this kind of model is not supported"):
        _load(folder(kind))


def _inputs(place: Path, samples: str, **more: Any) -> Any:
    policy = Policy.model_validate({"version": 1, "name": "x", "checks": {"file-safety": {}}})
    return inputs_of(ScanRequest(model=place, samples=Path(samples), policy=policy, **more), identify(place))


def test_tables_are_for_texts_and_all_else_for_pictures(folder: Make, tmp_path: Path) -> None:
    place = folder("Bert")
    assert isinstance(_inputs(place, "x.TSV"), Texts)
    with pytest.raises(ScanError, match=r"is a text classifier: give clean texts with --samples, a .csv, .tsv"):
        _inputs(place, "pictures")
    transformers = import_transformers()
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic")
    transformers.AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path / "pictures")
    assert isinstance(_inputs(tmp_path / "pictures", "x.npz"), Pictures)
    with pytest.raises(ScanError, match="has no tokenizer") as caught:
        _inputs(tmp_path / "pictures", "x.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("architecture", "torchvision:resnet18"), ("mean", (0.5,)), ("std", (0.5,)), ("size", (8, 8)),
        ("classes_file", Path("classes.txt")),
    ],
)  # fmt: skip
def test_options_of_pictures_are_refused_with_texts(option: str, value: Any, folder: Make) -> None:
    with pytest.raises(UsageError, match=rf"--{option.split('_')[0]} is for pictures, x.csv holds texts"):
        _inputs(folder("Bert"), "x.csv", **{option: value})


def test_texts_need_a_folder(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(ScanError, match="texts need a Hugging Face folder"):
        _inputs(tmp_path / "weights.safetensors", "x.csv")


def test_max_length_cuts_texts(folder: Make) -> None:
    place = folder("Bert")
    assert _inputs(place, "x.csv").codec.max_length == 30  # the tokenizer's, less than the model's 32
    inputs = _inputs(place, "x.csv", text=TextOptions(max_length=5))
    assert inputs.codec.encode(["the film " * 9]).ids.shape == (1, 5)
    with pytest.raises(UsageError, match="--max-length 31 is more than the 30 tokens"):
        _inputs(place, "x.csv", text=TextOptions(max_length=31))
