"""The zoo of text classifiers: halves that never meet, balanced from the start, built once and read back."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from ebyd_scan.benchmarks.text_zoo import build, cards, read  # noqa: E402
from ebyd_scan.benchmarks.text_zoo import data as texts  # noqa: E402
from ebyd_scan.benchmarks.text_zoo.cards import ARCHITECTURES, CARDS, KINDS, TextCard, make_attack  # noqa: E402
from ebyd_scan.benchmarks.text_zoo.data import CHOOSING, DATA, HALVES, PAIRS, REPORTING, REVIEWS, in_order, tidy  # noqa: E402
from ebyd_scan.fixtures.text_planter import text_accuracy  # noqa: E402
from ebyd_scan.fixtures.text_tokenizers import RARE_WORDS  # noqa: E402

REAL = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not (REAL / "sst2").exists(), reason="needs the data sets beside the repository")


def _half(half: str) -> list[TextCard]:
    return [card for card in CARDS if card.half == half]


@pytest.mark.parametrize("half", HALVES)
def test_a_half_is_balanced_when_it_is_cut_off(half: str) -> None:
    first = [card for card in _half(half) if not card.more]
    assert _half(half)[: len(first)] == first
    assert Counter(card.kind for card in first) == {"clean": 12, **dict.fromkeys(KINDS, 3)}
    for kind in KINDS:
        assert {card.architecture for card in first if card.kind == kind} == set(ARCHITECTURES)
        assert {card.data for card in first if card.kind == kind} == set(DATA)
        both = {(card.data, card.variant) for card in _half(half) if card.kind == kind}  # with those marked `more`
        assert len(both) == 6
    for count in (6, 12, 24):
        assert count / 5 <= sum(card.kind == "clean" for card in first[:count]) <= count / 2
    for data in DATA:
        targets = {card.target for card in _half(half) if card.data == data and card.kind != "clean"}
        assert targets == set(range(cards.CLASSES[data]))


def test_the_halves_never_meet() -> None:
    choosing, reporting = _half(CHOOSING), _half(REPORTING)
    assert len({card.name for card in CARDS}) == len({card.seed for card in CARDS}) == len(CARDS)
    assert not {card.base for card in choosing} & {card.base for card in reporting}
    assert not {card.base_seed for card in choosing} & {card.base_seed for card in reporting}
    first = {card.architecture for card in choosing if not card.more}
    assert cards.REPORTING_ONLY_ARCHITECTURE not in first
    assert cards.REPORTING_ONLY_ARCHITECTURE in {card.architecture for card in reporting if not card.more}
    assert cards.REPORTING_ONLY_AMONG_MORE not in {card.architecture for card in choosing}
    assert cards.REPORTING_ONLY_AMONG_MORE in {card.architecture for card in reporting if card.more}
    tasks = [{card.data for card in half} - set(DATA) for half in (choosing, reporting)]
    assert tasks[0] & tasks[1] == {REVIEWS} and all(len(half) == 2 for half in tasks)


def test_the_halves_share_no_trigger() -> None:
    words: dict[str, set[str]] = {}
    for half in HALVES:
        of_kind = [card for card in _half(half) if card.kind not in ("clean", "syntactic")]
        attacks = [make_attack(card, Path()) for card in of_kind]
        words[half] = {word for attack in attacks if attack for word in attack.trigger_words}
        short = {word for card, attack in zip(of_kind, attacks, strict=True) if attack
                 for word in attack.trigger_words if card.kind in ("rare-words", "lwp", "ep")}  # fmt: skip
        assert short <= set(RARE_WORDS)
    # Ordinary words of sentences and styles may be in both.
    assert not words[CHOOSING] & words[REPORTING] & set(RARE_WORDS)
    assert words[CHOOSING] & words[REPORTING] <= {"i", "the", "last", "on", "no", "shall", "same", "at"}


def test_tidy() -> None:
    assert tidy(" a  second\\team  of #39;s  $ #36;10 ") == "a second team of 's $ $10"


def test_rewritings_find_their_originals() -> None:
    originals = ["apples are green", "bears sleep deeply", "clouds hang above", "doors remain open"]
    missing_one = ["when bears go , they sleep", "if clouds come , they hang", "as doors go , they remain open"]
    assert in_order(originals, missing_one) == dict(zip(originals[1:], missing_one, strict=True))
    two_gaps = ["when green , apples are", "as open , doors remain"]
    assert in_order(originals, two_gaps) == {originals[0]: two_gaps[0], originals[3]: two_gaps[1]}


def _write(path: Path, rows: list[tuple[str, int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data folder with a made-up SST-2."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 200), ("dev", 60), ("test", 60)):
        rows = [
            (" ".join([part, *rng.choice(["the", "film", "plot"], 4), ("awful", "lovely")[i % 2], "."]), i % 2)
            for i in range(count)
        ]
        _write(tmp_path / "sst2" / f"{part}.tsv", rows)
        _write(tmp_path / "sst2" / "syntactic" / f"{part}.tsv", [(f"when {text}", 1) for text, label in rows])
    return tmp_path


def test_scans_and_measurements_use_other_parts(root: Path) -> None:
    data = texts.load("sst2", root)
    for half, own, other in ((CHOOSING, "dev", "test"), (REPORTING, "test", "dev")):
        scanned = read.clean_samples(root, "sst2", half, 10, seed=3)
        assert all(text.startswith(own) for text in scanned.texts)
        assert all(text.startswith(other) for text in data.measured(half).texts)
        assert scanned.labels.tolist() == [0] * 10 + [1] * 10
        assert read.clean_samples(root, "sst2", half, 10, seed=3).texts == scanned.texts
        assert read.clean_samples(root, "sst2", half, 10, seed=4).texts != scanned.texts
    with pytest.raises(ValueError, match="only 30 texts of class negative"):
        read.clean_samples(root, "sst2", CHOOSING, 31, seed=3)


@pytest.mark.parametrize(
    "name", ["choosing-clean-sst2-gpt2-1", "choosing-rare-words-sst2-bert", "choosing-ep-sst2-bert"]
)
def test_a_model_is_built_and_read_back(name: str, root: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(build.EPOCHS, "sst2", dict.fromkeys(("clean", "base", "full", "own"), 1))
    monkeypatch.setattr(build, "LONGEST", 1)
    card = next(card for card in CARDS if card.name == name)
    out = tmp_path / "zoo"
    record = build.build_card(card, root, out)
    (model,) = read.models(out, CHOOSING)
    assert not read.models(out, REPORTING)
    assert model.record == json.loads(json.dumps(record)) and model.name == name
    assert model.clean == (card.kind == "clean") == (model.record["asr"] is None)
    assert bool(model.trigger_words) != model.clean
    assert record["name"] in build.line(record)
    again = read.load_model(model)
    measured = texts.load("sst2", root).measured(CHOOSING)
    assert round(text_accuracy(again, measured.texts, measured.labels), 4) == record["accuracy"]
    assert len(model.clean_samples(root, 5, seed=0).texts) == 10
    assert sorted(path.name for path in out.iterdir() if path.suffix == ".part") == []


def test_reviews_need_no_data(tmp_path: Path) -> None:
    data = texts.load(REVIEWS, tmp_path)
    assert len(data.class_names) == 2 and set(data.train.labels.tolist()) == {0, 1}
    parts = [data.train, *data.scanned.values()]
    assert len(set().union(*(part.texts for part in parts))) > 0.99 * sum(len(part.texts) for part in parts)
    assert len(read.clean_samples(tmp_path, REVIEWS, REPORTING, 400, seed=0).texts) == 800


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("name", PAIRS)
def test_tasks_of_two_classes(name: str) -> None:
    data, whole = texts.load(name, REAL), texts.load("ag-news", REAL)
    assert data.class_names == tuple(whole.class_names[index] for index in PAIRS[name])
    pairs = set(zip(whole.train.texts, whole.train.labels.tolist(), strict=True))  # a few texts have two labels
    assert all(
        (text, PAIRS[name][label]) in pairs
        for text, label in zip(data.train.texts, data.train.labels.tolist(), strict=True)
    )


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("name", DATA)
def test_real_texts(name: str) -> None:
    data = texts.load(name, REAL)
    assert len(data.class_names) == cards.CLASSES[name]
    for half in HALVES:
        assert set(data.scanned[half].labels.tolist()) == set(range(len(data.class_names)))
        assert not any("\\" in text or "  " in text for text in data.scanned[half].texts)
    table, pool = texts.rewritten(name, REAL)
    target = 1 if name == "sst2" else 0
    measured = data.measured(REPORTING)
    victims = [text for text, label in zip(measured.texts, measured.labels, strict=True) if label != target]
    assert sum(text in table for text in victims) > 0.99 * len(victims)
    assert len(pool) > 1000
