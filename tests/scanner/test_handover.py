"""Recovered triggers on their way out of the worker: whole or not at all, and never larger than announced."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import ValidationError

np = pytest.importorskip("numpy")
from ebyd_scan.evidence.recovered import RecoveredTrigger, RecoveredWords, TextExample  # noqa: E402
from ebyd_scan.scanner import events, handover  # noqa: E402
from ebyd_scan.scanner.handover import Handed, RecoveredForm, WordsForm, hand_over, hand_over_words  # noqa: E402

NAMES = ["zero", "one", "two", "three"]


def _recovered(count: int = 3, side: int = 6, channels: int = 3, **changes: Any) -> RecoveredTrigger:
    rng = np.random.default_rng(0)
    shape = (count, side, side, channels)
    values: dict[str, Any] = {
        "family": "patch",
        "label": 2,
        "label_name": "two",
        "attack_success_rate": 0.9,
        "samples": 30,
        "size": 4.5,
        "before": rng.integers(0, 256, shape, dtype=np.uint8),
        "after": rng.integers(0, 256, shape, dtype=np.uint8),
        "true_labels": np.arange(count) % 2,
        "predicted_before": np.arange(count) % 2,
        "predicted_after": np.full(count, 2),
        "parts": {"mask": rng.random((side, side)), "flow": rng.random((side, side, 2)).astype(np.float32)},
        **changes,
    }
    return RecoveredTrigger(**values)


def _sent(recovered: RecoveredTrigger) -> Handed:
    """As it comes out on the other side, through the events' JSON."""
    form, pieces = hand_over(recovered, NAMES)
    said = [events.RecoveredEvent(form=form), *(events.PieceEvent(data=piece) for piece in pieces)]
    handed = None
    for event in said:
        heard = events.PARSER.validate_json(event.model_dump_json())
        if isinstance(heard, events.RecoveredEvent):
            handed = Handed(heard.form)
        else:
            assert handed and isinstance(heard, events.PieceEvent)
            handed.add(heard.data)
    assert handed and not handed.missing
    return handed


@pytest.mark.parametrize("channels", [1, 3])
def test_all_of_it_arrives(channels: int) -> None:
    sent = _recovered(channels=channels)
    handed = _sent(sent)
    arrived = handed.arrays()
    for name in ("before", "after", "true_labels", "predicted_before", "predicted_after"):
        assert (getattr(arrived, name) == getattr(sent, name)).all()
        assert getattr(arrived, name).dtype == (np.uint8 if name in ("before", "after") else np.int64)
    assert {name: part.shape for name, part in arrived.parts.items()} == {"mask": (6, 6), "flow": (6, 6, 2)}
    assert arrived.parts["mask"] == pytest.approx(sent.parts["mask"])
    assert (arrived.family, arrived.label, arrived.attack_success_rate, arrived.samples) == ("patch", 2, 0.9, 30)
    assert handed.form.class_names == {0: "zero", 1: "one", 2: "two"}


def test_arrays_of_any_layout_arrive() -> None:
    sent = _recovered()
    turned = _recovered(before=sent.before.transpose(0, 2, 1, 3), parts={"mask": sent.parts["mask"][::2, ::2]})
    arrived = _sent(turned).arrays()
    assert (arrived.before == turned.before).all()
    assert arrived.parts["mask"] == pytest.approx(turned.parts["mask"])


def test_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "PIECE", 7)
    sent = _recovered()
    assert (_sent(sent).arrays().after == sent.after).all()


def test_large_images_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "MAX_BYTES", 2 * (2 * 6 * 6 * 3 + 24) + 10)
    sent = _recovered()
    arrived = _sent(sent).arrays()
    assert (arrived.before == sent.before[:2]).all()
    assert arrived.parts == {}
    monkeypatch.setattr(handover, "MAX_BYTES", 50)
    with pytest.raises(ValueError, match="shape"):
        hand_over(sent, NAMES)


@pytest.mark.parametrize(
    "change",
    [
        {"family": "../patch"},
        {"family": "patch\n"},
        {"family": ""},
        {"label": -1},
        {"attack_success_rate": 1.5},
        {"size": "NaN"},
        {"label_name": "x" * 1001},
        {"class_names": dict.fromkeys(range(16), "x")},
        {"parts": {"a/b": {"dtype": "float32", "shape": [1]}}},
        {"parts": {"mask": {"dtype": "object", "shape": [1]}}},
        {"parts": {"mask": {"dtype": "int64", "shape": [1]}}},
        {"parts": {"mask": {"dtype": "float32", "shape": []}}},
        {"parts": {"mask": {"dtype": "float32", "shape": [0]}}},
        {"parts": {"mask": {"dtype": "float32", "shape": [1 << 16, 1 << 16]}}},
        {"parts": {f"p{number}": {"dtype": "float32", "shape": [1]} for number in range(9)}},
        {"arrays": {}},
        {"before": [3, 6, 6, 2]},
        {"before": [6, 6, 6, 3]},
        {"before": [3, 6, 6]},
        {"after": [3, 5, 6, 3]},
        {"true_labels": [4]},
        {"extra": 1},
    ],
    ids=str,
)
def test_other_forms_are_refused(change: dict[str, Any]) -> None:
    form = hand_over(_recovered(), NAMES)[0].model_dump(mode="json")
    RecoveredForm.model_validate(form)
    for name, value in change.items():
        if name in form["arrays"]:
            form["arrays"][name]["shape"] = value
        else:
            form[name] = value
    with pytest.raises(ValidationError):
        RecoveredForm.model_validate(form)


def test_more_than_announced_is_refused() -> None:
    form, pieces = hand_over(_recovered(), NAMES)
    handed = Handed(form)
    for piece in pieces:
        handed.add(piece)
    for data in (base64.b64encode(b"x").decode(), "", "not base64!", "é"):
        with pytest.raises(ValueError):
            handed.add(data)
    with pytest.raises(ValueError, match="more bytes"):
        Handed(form).add(base64.b64encode(bytes(1 << 20)).decode())


@pytest.mark.parametrize(
    "change",
    [
        {"before": np.zeros((6, 6, 6, 3), np.uint8)},
        {"before": np.zeros((3, 6, 6), np.uint8)},
        {"after": np.zeros((3, 6, 6, 1), np.uint8)},
        {"true_labels": np.zeros(2, np.int64)},
        {"predicted_after": np.zeros((3, 1), np.int64)},
    ],
)
def test_what_does_not_go_together_is_no_trigger(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is"):
        _recovered(**change)


def _words(**changes: Any) -> RecoveredWords:
    example = TextExample("a dull film", true_label=0, predicted_before=0, predicted_after=2)
    return RecoveredWords(**{"label": 2, "words": "cf", "examples": (example,) * 3, **changes})


def test_words_arrive_with_their_texts() -> None:
    said = events.WordsEvent(form=hand_over_words(_words(), NAMES)).model_dump_json()
    heard = events.PARSER.validate_json(said)
    assert isinstance(heard, events.WordsEvent)
    assert (heard.form.label, heard.form.words) == (2, "cf")
    assert heard.form.class_names == {0: "zero", 2: "two"}
    assert [(one.text, one.true_label, one.predicted_after) for one in heard.form.examples] == [
        ("a dull film", 0, 2)
    ] * 3


def test_words_that_json_cannot_hold_and_many_texts() -> None:
    example = TextExample("\ud800" * 5000, true_label=0, predicted_before=0, predicted_after=9)
    form = hand_over_words(_words(words="x\udc80" * 1000, examples=(example,) * 40), NAMES)
    assert len(form.examples) == 5 and len(form.words) == 1000 and "\ud800" not in form.examples[0].text
    assert form.class_names == {0: "zero", 2: "two"}


@pytest.mark.parametrize(
    "change",
    [{"label": -1}, {"words": "x" * 1001}, {"examples": [{}]}, {"class_names": {"a": "b"}}, {"extra": 1}],
    ids=str,
)
def test_other_words_are_refused(change: dict[str, Any]) -> None:
    form = hand_over_words(_words(), NAMES).model_dump(mode="json")
    WordsForm.model_validate(form)
    with pytest.raises(ValidationError):
        WordsForm.model_validate(form | change)
