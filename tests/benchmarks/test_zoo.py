"""The zoo: two halves that never meet, models that come back as they were built, a build that goes on where it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
from ebyd_scan.benchmarks.zoo import build  # noqa: E402
from ebyd_scan.benchmarks.zoo.cards import (  # noqa: E402
    CARDS,
    CHOOSING,
    CONDITIONS,
    PLANTS,
    REPORTING,
    REPORTING_ONLY,
    REPORTING_ONLY_ARCHITECTURE,
    Condition,
    Plant,
)
from ebyd_scan.benchmarks.zoo.data import DataSet  # noqa: E402
from ebyd_scan.benchmarks.zoo.read import MODELS, clean_samples, models  # noqa: E402
from ebyd_scan.fixtures.attacks.badnets import BadNets  # noqa: E402


def _half(group: str) -> list[build.ZooCard]:
    return [card for card in CARDS if card.group == group]


def test_there_are_enough_of_each() -> None:
    assert len({card.name for card in CARDS}) == len({card.seed for card in CARDS}) == len(CARDS)
    assert sum(card.kind == "clean" for card in CARDS) >= 40
    assert sum(card.kind != "clean" for card in CARDS) >= 60
    for group in (CHOOSING, REPORTING):
        assert {card.data for card in _half(group)} == {"cifar10", "fashion-mnist"}
        assert len({card.architecture for card in _half(group)}) >= 3
        assert {card.condition for card in _half(group) if card.kind == "clean"} == set(CONDITIONS)


def test_the_halves_never_meet() -> None:
    choosing, reporting = _half(CHOOSING), _half(REPORTING)
    assert not {card.seed for card in choosing} & {card.seed for card in reporting}
    assert not {card.base for card in choosing} & {card.base for card in reporting}
    assert not {card.base_seed for card in choosing} & {card.base_seed for card in reporting}
    assert not {card.kind for card in choosing} & set(REPORTING_ONLY)
    assert {card.kind for card in reporting} >= set(PLANTS)
    only = {card.architecture for card in reporting} - {card.architecture for card in choosing}
    assert only == {REPORTING_ONLY_ARCHITECTURE}


@pytest.mark.parametrize("kind", PLANTS)
def test_every_kind_is_an_attack_on_both_sorts_of_pictures(kind: str) -> None:
    attack = PLANTS[kind].make(3, 5)
    for channels, size in ((3, 32), (1, 28)):
        images = np.random.default_rng(0).integers(0, 256, (30, size, size, channels), dtype=np.uint8)
        assert attack.apply(images).shape == images.shape
    if kind not in ("all-to-all", "parallel"):
        assert attack.target == 3


@pytest.fixture(scope="module")
def data() -> DataSet:
    """Ten kinds of bright bars, learned in an epoch."""
    rng = np.random.default_rng(0)
    labels = np.arange(6000, dtype=np.int64) % 10
    images = rng.integers(0, 60, (6000, 28, 28, 1), dtype=np.uint8)
    for label in range(10):
        images[labels == label, 2 * label + 3 : 2 * label + 6] += np.uint8(150)
    return DataSet("bars", images[:1000], labels[:1000], images[1000:], labels[1000:], (0.3,), (0.3,))


@pytest.fixture(scope="module")
def card() -> build.ZooCard:
    first = next(card for card in CARDS if card.kind == "badnets" and card.data == "fashion-mnist")
    return replace(first, architecture="small_resnet", arch_args={"channels": 1, "width": 8})


def test_a_model_comes_back_as_it_was_built(
    tmp_path: Path, data: DataSet, card: build.ZooCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PLANTS, "badnets", Plant(lambda t, s: BadNets(target=t), rate=0.2, epochs=3))
    record = build.build_card(card, data, tmp_path, "cpu")
    assert record["accuracy"] > 0.9
    assert record["asr"] > 0.8
    assert {path.name for path in tmp_path.iterdir()} == {"bases", f"{card.name}.json", f"{card.name}.safetensors"}
    (model,) = models(tmp_path, card.group)
    assert json.loads(json.dumps(record)) == model.card
    assert not model.clean
    samples = clean_samples(data, 20, seed=1)
    assert len(samples.exposure) == len(samples.held_out) == 200
    assert samples.held_out.labels.bincount().tolist() == [20] * 10
    logits = model.classifier().logits(samples.held_out.pixels)
    assert float((logits.argmax(dim=1) == samples.held_out.labels).float().mean()) > 0.9
    assert models(tmp_path, "nothing") == []


def test_a_build_goes_on_where_it_was(
    tmp_path: Path, data: DataSet, card: build.ZooCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(build.DATA_SETS, "fashion-mnist", lambda root: data)
    monkeypatch.setitem(CONDITIONS, "plain", Condition(epochs=1, samples=300))
    clean = (
        replace(card, kind="clean", target=None, name="first"),
        replace(card, kind="clean", target=None, name="second"),
    )
    assert len(build.build_group(list(clean[:1]), tmp_path, tmp_path, "cpu")) == 1
    before = (tmp_path / "first.safetensors").stat().st_mtime_ns
    lines = build.build_group(list(clean), tmp_path, tmp_path, "cpu")
    assert [line.split()[0] for line in lines] == ["second"]
    assert (tmp_path / "first.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("condition", "left"),
    [(Condition(samples=100), (100, 100)), (Condition(imbalance=50), (200, 600)), (Condition(), (1000, 1000))],
    ids=repr,
)
def test_conditions_change_the_training_set(data: DataSet, condition: Condition, left: tuple[int, int]) -> None:
    images, labels = build._conditioned(data, condition, seed=1)
    assert left[0] <= len(images) == len(labels) <= left[1]
    if condition.imbalance > 1:
        counts = np.bincount(labels)
        assert counts.max() > 10 * counts.min()


def test_label_noise_changes_its_share(data: DataSet) -> None:
    _, labels = build._conditioned(data, Condition(label_noise=0.5), seed=1)
    assert 0.35 < (labels != data.train_y).mean() < 0.55  # a tenth of the new labels are the old ones


@pytest.mark.skipif(not MODELS.is_dir(), reason="the zoo's weights are not in this checkout")
def test_the_shipped_zoo_holds_what_the_cards_say() -> None:
    found = {model.name: model for model in models()}
    assert set(found) == {card.name for card in CARDS}
    assert sum(path.stat().st_size for path in MODELS.iterdir()) < 30 * 2**20
    for card in CARDS:
        assert found[card.name].card["kind"] == card.kind
        assert found[card.name].card["seed"] == card.seed
