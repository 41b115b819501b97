"""Tokenizers of folders: broken and hostile ones end in a sentence, and never in code that came with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from ebyd_scan.evidence.errors import ScanError, UsageError  # noqa: E402
from ebyd_scan.fixtures.text_tokenizers import train_tokenizer  # noqa: E402
from ebyd_scan.scanner.models.huggingface import class_names_of, takes_texts  # noqa: E402
from ebyd_scan.scanner.models.identify import identify  # noqa: E402
from ebyd_scan.scanner.models.tokenizer import read_codec  # noqa: E402

from ..tiny_texts import sentences  # noqa: E402

SETTINGS = "tokenizer_config.json"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tokenizers")
    for architecture in ("bert", "gpt2"):
        tokenizer = train_tokenizer(architecture, sentences(200, 1)[0], max_length=30, vocabulary=600)
        tokenizer.save_pretrained(place / architecture)
        config = {"model_type": architecture, "max_position_embeddings": 32, "pad_token_id": tokenizer.pad_token_id}
        (place / architecture / "config.json").write_text(json.dumps(config))
    return place


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Callable[..., Path]:
    """A tokenizer and a config.json; nothing here needs the model."""

    def copy(architecture: str = "bert") -> Path:
        return Path(shutil.copytree(saved / architecture, tmp_path / architecture))

    return copy


Make = Callable[..., Path]


def _change(place: Path, name: str, **changes: Any) -> Path:
    path = place / name
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not ...}))
    return place


def _refused(place: Path, words: str, **more: Any) -> None:
    with pytest.raises(ScanError, match=words) as caught:
        read_codec(place, **more)
    assert str(place) in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def _no_json(place: Path) -> None:
    (place / "tokenizer.json").write_text('{"version": ')


def _list(place: Path) -> None:
    (place / SETTINGS).write_text("[]")


def _many_tokens(place: Path) -> None:
    table = json.loads((place / "tokenizer.json").read_text())
    table["model"]["vocab"]["far"] = 4_000_000
    (place / "tokenizer.json").write_text(json.dumps(table))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no tokenizer": (
        lambda place: (place / "tokenizer.json").unlink(),
        r"has no tokenizer \(tokenizer.json, vocab.txt",
    ),
    "not JSON": (_no_json, "its tokenizer cannot be read"),
    "another object": (lambda place: (place / "tokenizer.json").write_text("{}"), "its tokenizer cannot be read"),
    "no text": (lambda place: (place / "tokenizer.json").write_bytes(b"\xff\xfe\0"), "its tokenizer cannot be read"),
    "settings not an object": (_list, "not a JSON object"),
    "settings not JSON": (lambda place: (place / SETTINGS).write_text("{"), "not valid JSON"),
    "a model": (
        lambda place: _change(place, SETTINGS, tokenizer_class="BertModel"),
        "'BertModel', which is no tokeniz",
    ),
    "a path": (lambda place: _change(place, SETTINGS, tokenizer_class="os.system"), "'os.system', which is no tokeniz"),
    "a list": (lambda place: _change(place, SETTINGS, tokenizer_class=["BertTokenizer"]), "which is no tokenizer"),
    "a model in config": (lambda place: _change(place, "config.json", tokenizer_class="AutoModel"), "is no tokenizer"),
    "another file": (
        lambda place: _change(place, SETTINGS, fast_tokenizer_files=["tokenizer.4.0.0.json"]),
        r"read something else \(fast_tokenizer_files\)",
    ),
    "far too many tokens": (_many_tokens, "has token 4000000, more than a model can have"),
    "no room": (lambda place: _change(place, SETTINGS, model_max_length=3), "takes 3 tokens, too few for a text"),
    "length no number": (lambda place: _change(place, SETTINGS, model_max_length="x"), "its tokenizer cannot be read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_folders_are_one_sentence(name: str, folder: Make) -> None:
    place = folder()
    breaks, words = BROKEN[name]
    breaks(place)
    _refused(place, words)


@pytest.mark.parametrize("class_name", [..., "OwnTokenizer", "BertTokenizer"])
@pytest.mark.parametrize("table", [{"AutoTokenizer": ["own.Own", "own.Own"]}, ["own.Own", None]])
def test_code_of_a_folder_is_never_run(class_name: Any, table: Any, folder: Make, tmp_path: Path) -> None:
    """There is no option that would: a tokenizer of transformers' own is used, or none."""
    place, canary = folder(), tmp_path / "it-ran"
    (place / "own.py").write_text(f"open({str(canary)!r}, 'w').close()\nclass Own: pass\n")
    _change(place, SETTINGS, auto_map=table, tokenizer_class=class_name)
    try:
        codec = read_codec(place)
    except ScanError as error:
        assert str(place) in str(error) and "\n" not in str(error)
    else:
        assert codec.decode(codec.encode(["the film"]).ids[0].tolist()) == "the film"
    assert not canary.exists()


def test_the_files_of_a_tokenizer_are_those_of_its_folder(folder: Make, tmp_path: Path) -> None:
    """Settings may name paths, from where it was saved or to lead elsewhere: they are not followed."""
    place, other = folder(), tmp_path / "other"
    shutil.copytree(place, other)
    text = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(text.replace('"film"', '"mlif"'))
    file = str(other / "tokenizer.json")
    _change(
        place, SETTINGS, tokenizer_file=file, vocab_file=file, special_tokens_map_file=file, name_or_path=str(other)
    )
    assert "film" in read_codec(place).vocabulary


def test_all_that_a_tokenizer_reads_is_in_the_digest(folder: Make) -> None:
    place = folder()
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, place / "model.safetensors")
    before = identify(place)
    assert {"tokenizer.json", SETTINGS} <= set(before.files)
    _change(place, SETTINGS, model_max_length=20)
    assert identify(place).sha256 != before.sha256


def test_padding_of_decoders_comes_from_the_config(folder: Make) -> None:
    place = _change(folder("gpt2"), SETTINGS, pad_token=...)
    _change(place, "config.json", pad_token_id=0)
    codec = read_codec(place)
    assert codec.padding == 0 and codec.vocabulary[0] == "<|endoftext|>"
    tokens = codec.encode(["the film", "good"])
    assert tokens.mask.tolist() == [[1, 1], [1, 0]] and tokens.ids[1, 1] == 0


@pytest.mark.parametrize("pad", [..., None, -1, 10**6])
def test_without_any_padding_texts_cannot_be_put_together(pad: Any, folder: Make) -> None:
    place = _change(folder("gpt2"), SETTINGS, pad_token=...)
    _refused(
        _change(place, "config.json", pad_token_id=pad), "names no token for padding, in its tokenizer or as pad_to"
    )


def test_padding_is_on_the_right_whatever_the_tokenizer_says(folder: Make) -> None:
    place = _change(folder(), SETTINGS, padding_side="left", truncation_side="right")
    tokens = read_codec(place).encode(["the film of music", "good"])
    assert tokens.mask.tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]


def test_lengths(folder: Make) -> None:
    place = folder()
    assert read_codec(place).max_length == 30
    assert read_codec(place, 8).max_length == 8
    with pytest.raises(UsageError, match=r"--max-length 31 is more than the 30 tokens that .* takes"):
        read_codec(place, 31)
    _change(place, SETTINGS, model_max_length=10**30)  # what transformers writes where nobody said
    assert read_codec(place).max_length == 32
    _change(place, "config.json", max_position_embeddings=2048)
    assert read_codec(place).max_length == 512 and read_codec(place, 2048).max_length == 2048
    _change(place, "config.json", model_type="roberta", max_position_embeddings=34, pad_token_id=1)
    assert read_codec(place).max_length == 32  # two positions of the table are padding's


def test_gaps_in_the_numbers_of_tokens(folder: Make) -> None:
    place = folder()
    table = json.loads((place / "tokenizer.json").read_text())
    last = max(table["model"]["vocab"].values())
    table["model"]["vocab"]["far"] = last + 50
    (place / "tokenizer.json").write_text(json.dumps(table))
    codec = read_codec(place)
    assert len(codec.vocabulary) == last + 51
    assert codec.vocabulary[last + 50] == "far" and codec.vocabulary[last + 1] == ""
    assert codec.encode(["far"]).ids[0].tolist()[1] == last + 50


def test_texts_that_are_empty_or_hold_anything(folder: Make) -> None:
    codec = read_codec(folder())
    tokens = codec.encode(["", "film\u200b\n\t" * 100, "\U0001f600", "[MASK] [PAD]"])
    assert tokens.ids.shape == (4, 30) and tokens.mask.sum(dim=1).tolist()[:2] == [2, 30]
    assert len(codec.encode(["the film"] * 3, ["good", "", "film " * 90])) == 3


def test_names_of_classes_and_kinds_of_folders(tmp_path: Path) -> None:
    assert class_names_of({"id2label": {"0": "a", "1": 7, "x": "b", "-1": "c"}}) == {0: "a", 1: "7"}
    assert class_names_of({"id2label": ["a"]}) == {} == class_names_of({})
    for named, expected in ((["BertForSequenceClassification"], True), (["ViTForImageClassification"], False)):
        (tmp_path / "config.json").write_text(json.dumps({"architectures": named}))
        assert takes_texts(tmp_path) is expected
    for named in (None, "BertForSequenceClassification", [3]):
        (tmp_path / "config.json").write_text(json.dumps({"architectures": named}))
        assert takes_texts(tmp_path) is False
