"""Places for a trigger: inside the marks of a text, in texts of pairs, in too long ones, and what is put there."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from ebyd_scan.checks.text_slots import table_of, vectors_in, with_slots  # noqa: E402
from ebyd_scan.evidence.classifier import Classifier  # noqa: E402
from ebyd_scan.fixtures.text_tokenizers import train_tokenizer  # noqa: E402
from ebyd_scan.scanner.models.identify import identify  # noqa: E402
from ebyd_scan.scanner.models.text_classifier import load_text_classifier  # noqa: E402
from ebyd_scan.scanner.models.tokenizer import FolderCodec, read_codec  # noqa: E402

from ..tiny_texts import TextModels, sentences  # noqa: E402

TEXTS = ["the film", "a lovely story with music of the city", "good"]
PLACES = ("start", "end")


@cache
def _tokenizer(architecture: str) -> Any:
    return train_tokenizer(architecture, sentences(300, 1)[0], max_length=64, vocabulary=700)


def _codec(architecture: str = "bert", max_length: int = 24) -> FolderCodec:
    return FolderCodec(_tokenizer(architecture), max_length)


def _ids(codec: FolderCodec, *words: str) -> Any:
    return torch.tensor([codec.vocabulary.index(word) for word in words])


def _words(codec: FolderCodec, tokens: Any, row: int) -> list[str]:
    return [codec.vocabulary[index] for index in tokens.ids[row][tokens.mask[row] == 1].tolist()]


@pytest.fixture(scope="module")
def classifier(text_models: TextModels) -> Classifier:
    codec = read_codec(text_models.clean)
    return load_text_classifier(identify(text_models.clean), codec, "cpu")


@pytest.mark.parametrize("place", PLACES)
def test_places_are_inside_the_marks_and_padding_stays_on_the_right(place: Any) -> None:
    codec = _codec()
    slots = with_slots(codec.encode(TEXTS), 2, place, codec)
    filled = slots.filled(_ids(codec, "cf", "mn"))
    for row, text in enumerate(TEXTS):
        body = text.split()
        put = ["cf", "mn", *body] if place == "start" else [*body, "cf", "mn"]
        assert _words(codec, filled, row) == ["[CLS]", *put, "[SEP]"]
        length = len(put) + 2
        assert filled.mask[row].tolist() == [1] * length + [0] * (filled.ids.shape[1] - length)
        assert (filled.ids[row, length:] == codec.padding).all()
    assert filled.types is not None and filled.types.shape == filled.ids.shape and not filled.types.any()
    assert filled.texts == tuple(TEXTS) and len(slots) == len(TEXTS)


@pytest.mark.parametrize("place", PLACES)
def test_in_pairs_the_place_is_of_the_first_or_the_second_text(place: Any) -> None:
    codec = _codec()
    tokens = codec.encode(["the film", "good"], ["of music", "a long story"])
    filled = with_slots(tokens, 1, place, codec).filled(_ids(codec, "cf"))
    kinds = [filled.types[row][filled.mask[row] == 1].tolist() for row in range(2)]
    if place == "start":
        assert _words(codec, filled, 0) == ["[CLS]", "cf", "the", "film", "[SEP]", "of", "music", "[SEP]"]
        assert kinds == [[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]]
    else:
        assert _words(codec, filled, 1) == ["[CLS]", "good", "[SEP]", "a", "long", "story", "cf", "[SEP]"]
        assert kinds == [[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1]]
    assert filled.pairs == tokens.pairs


@pytest.mark.parametrize("place", PLACES)
def test_too_long_texts_lose_their_own_last_tokens_and_keep_their_marks(place: Any) -> None:
    codec = _codec(max_length=8)
    filled = with_slots(codec.encode(["the film " * 9, "good"]), 3, place, codec).filled(_ids(codec, "cf", "mn", "bb"))
    own, put = ["the", "film", "the"], ["cf", "mn", "bb"]
    assert filled.ids.shape[1] == 8
    assert _words(codec, filled, 0) == ["[CLS]", *(put + own if place == "start" else own + put), "[SEP]"]
    assert len(_words(codec, filled, 1)) == 6  # the short one has lost nothing


@pytest.mark.parametrize("place", PLACES)
def test_unknown_words_are_no_marks(place: Any) -> None:
    """A text in another script is nothing but [UNK]: it may not get longer than the model takes."""
    codec = _codec(max_length=8)
    tokens = codec.encode(["蘭 " * 20, "蘭 film 蘭"])
    filled = with_slots(tokens, 2, place, codec).filled(_ids(codec, "cf", "mn"))
    assert filled.ids.shape[1] == 8
    unknown, put = ["[UNK]"], ["cf", "mn"]
    assert _words(codec, filled, 0) == [
        "[CLS]",
        *(put + unknown * 4 if place == "start" else unknown * 4 + put),
        "[SEP]",
    ]
    own = [*unknown, "film", *unknown]
    assert _words(codec, filled, 1) == ["[CLS]", *(put + own if place == "start" else own + put), "[SEP]"]


@pytest.mark.parametrize("place", PLACES)
def test_tokenizers_without_marks(place: Any) -> None:
    codec = _codec("gpt2", max_length=6)
    tokens = codec.encode(["the film", "", "the film " * 5])
    assert tokens.types is None
    slots = with_slots(tokens, 2, place, codec)
    filled = slots.filled(_ids(codec, "Ġcf", "Ġmn"))
    put, own = ["Ġcf", "Ġmn"], ["Ġthe", "Ġfilm"]
    assert _words(codec, filled, 0) == (put + own if place == "start" else own + put)
    assert _words(codec, filled, 1) == put
    assert _words(codec, filled, 2) == (put + own * 2 if place == "start" else own * 2 + put)
    assert codec.encode(["", ""]).ids.tolist() == [[codec.padding]] * 2  # something for the model to look at


def test_roberta_s_marks_between_pairs_are_not_at_the_end() -> None:
    codec = _codec("roberta")
    tokens = codec.encode(["the film"], ["good music"])
    assert _words(codec, with_slots(tokens, 1, "end", codec).filled(_ids(codec, "Ġcf")), 0) == (
        ["<s>", "Ġthe", "Ġfilm", "</s>", "</s>", "Ġgood", "Ġmusic", "Ġcf", "</s>"]
    )


def test_a_row_for_all_or_one_for_each() -> None:
    codec = _codec()
    slots = with_slots(codec.encode(TEXTS), 2, "start", codec)
    before = slots.tokens.ids.clone()
    each = torch.stack([_ids(codec, "cf", "mn"), _ids(codec, "bb", "cf"), _ids(codec, "mn", "mn")])
    filled = slots.filled(each)
    assert filled.ids[:, 1:3].tolist() == each.tolist()
    assert (slots.filled(each[0]).ids[:, 1:3] == each[0]).all()
    assert torch.equal(slots.tokens.ids, before)  # the texts themselves are not changed


def test_some_and_copies_have_their_places_where_they_were() -> None:
    codec = _codec()
    slots = with_slots(codec.encode(TEXTS), 1, "end", codec)
    cf = _ids(codec, "cf")
    whole = slots.filled(cf)
    picked = slots.pick(torch.tensor([2, 0]))
    assert len(picked) == 2 and picked.tokens.texts == ("good", "the film")
    assert [_words(codec, picked.filled(cf), row) for row in (0, 1)] == [_words(codec, whole, row) for row in (2, 0)]
    assert picked.tokens.ids.shape[1] < whole.ids.shape[1]  # no more padding than they need
    copies = slots.repeated(3)
    assert len(copies) == 9 and copies.tokens.texts == tuple(TEXTS) * 3
    assert torch.equal(copies.filled(cf).ids, whole.ids.repeat(3, 1))
    assert torch.equal(copies.filled(cf).types, whole.types.repeat(3, 1))


@pytest.mark.parametrize("place", PLACES)
def test_the_vector_of_a_token_is_that_token(place: Any, classifier: Classifier) -> None:
    codec = classifier.codec
    assert codec is not None
    slots = with_slots(codec.encode(TEXTS), 2, place, codec)
    row = _ids(codec, "lovely", "film")
    vectors = table_of(classifier).weight.detach()[row].expand(len(slots), -1, -1).clone().requires_grad_()
    with vectors_in(classifier, slots, vectors):
        seen = classifier.logits(slots.tokens)
    plain = classifier.logits(slots.filled(row))
    assert torch.allclose(seen, plain, atol=1e-6)
    assert not torch.allclose(classifier.logits(slots.tokens), plain, atol=1e-3)  # nothing stays in the model
    gradient = torch.autograd.grad(seen[:, 1].sum(), vectors)[0]
    assert gradient.shape == (3, 2, 32) and bool(gradient.abs().sum(dim=2).min() > 0)


def test_nothing_stays_in_the_model_when_something_fails(classifier: Classifier) -> None:
    codec = classifier.codec
    slots = with_slots(codec.encode(TEXTS), 1, "start", codec)
    with pytest.raises(RuntimeError), vectors_in(classifier, slots, torch.zeros(3, 1, 31)):
        classifier.logits(slots.tokens)
    assert not table_of(classifier)._forward_hooks


def test_codec_of_a_folder_and_of_its_tokenizer_agree(text_models: TextModels) -> None:
    codec = read_codec(Path(text_models.clean))
    assert codec.max_length == 24 and codec.vocabulary[codec.padding] == "[PAD]"
    assert {codec.vocabulary[index] for index in codec.special} == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    assert codec.decode(codec.encode(["The  FILM ."]).ids[0].tolist()) == "the film."
