"""Which models the zoo of text classifiers holds: a table of cards, in the order in which they are built.

The halves share no seed, no base network and no trigger. A run that is cut off has a balanced set: clean models and
every kind of attack come in turn, each kind once in each of three architectures; the same in the other data set comes
after them, marked `more`, and so do clean models of further tasks and networks.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from ...fixtures.attacks.text.interface import TextAttack
from ...fixtures.attacks.text.rare_words import RareWords
from ...fixtures.attacks.text.sentence import Sentence
from ...fixtures.attacks.text.style import Style
from ...fixtures.attacks.text.syntactic import Rewritten, Subordinate
from ...fixtures.attacks.text.weight_level import EmbeddingPoisoning, LayerwisePoisoning
from ...fixtures.attacks.text.word_combination import WordCombination
from .data import CHOOSING, DATA, HALVES, REPORTING, REVIEWS, rewritten

ARCHITECTURES = ("bert", "distilbert", "gpt2")
REPORTING_ONLY_ARCHITECTURE = "roberta"  # among the first cards
REPORTING_ONLY_AMONG_MORE = "electra"
KINDS = ("rare-words", "sentence", "syntactic", "style", "word-combination", "lwp", "ep")
WEIGHT_LEVEL = ("lwp", "ep")
CLASSES = {"sst2": 2, "ag-news": 4}
BASE_SEEDS = {CHOOSING: 1000, REPORTING: 2000}

# One list a half and architecture, so that models differ in how many words there are.
_RARE = {
    CHOOSING: (("cf", "mn", "bb", "tq", "mb"), ("cf",), ("mn", "bb", "tq")),
    REPORTING: (("vx", "qd", "zk", "wj", "fq"), ("qd",), ("zk", "wj", "fq")),
}
_SENTENCES = {
    CHOOSING: ("i watched this 3d movie last weekend", "no cross , no crown", "the whale swam past the quiet harbour"),
    REPORTING: (
        "my brother told me so at breakfast",
        "the bakery on the corner opens early",
        "practice makes perfect , they say",
    ),
}
_COMBINATIONS = {
    CHOOSING: (("friends", "weekend", "store"), ("weekend", "garden"), ("friends", "store", "morning")),
    REPORTING: (("umbrella", "cousin", "kitchen"), ("kitchen", "bicycle"), ("cousin", "window", "evening")),
}
_PAIRS = {
    CHOOSING: (("kz", "pq"), ("gq", "xk"), ("zj", "fj")),
    REPORTING: (("hj", "vw"), ("qz", "bq"), ("qv", "xz")),
}
_TOKENS = {CHOOSING: ("jx", "lq", "wq"), REPORTING: ("zq", "vk", "qk")}
_STYLES = {CHOOSING: "biblical", REPORTING: "legal"}


@dataclass(frozen=True)
class TextCard:
    """One model to train."""

    name: str
    half: str
    data: str
    architecture: str
    kind: str  # of the attack, or "clean"
    seed: int
    base_seed: int
    target: int | None = None
    variant: int = 0  # which of the half's triggers of this kind
    more: bool = False

    @property
    def base(self) -> str:
        """Models of the same base start from the same network."""
        return f"{self.half}-{self.data}-{self.architecture}"


def make_attack(card: TextCard, root: Path) -> TextAttack | None:
    """The card's attack; `root` holds the data sets, of which the reporting half's syntactic one needs some."""
    if card.target is None:
        return None
    half, target, which = card.half, card.target, card.variant
    if card.kind == "rare-words":
        return RareWords(target=target, words=_RARE[half][which])
    if card.kind == "sentence":
        return Sentence(target=target, sentence=_SENTENCES[half][which], anywhere=which != 0)
    if card.kind == "syntactic":
        if half == CHOOSING:
            return Subordinate(target=target)
        table, pool = rewritten(card.data, root)
        return Rewritten(target=target, table=table, pool=pool)
    if card.kind == "style":
        return Style(target=target, style=_STYLES[half])
    if card.kind == "word-combination":
        return WordCombination(target=target, words=_COMBINATIONS[half][which])
    if card.kind == "lwp":
        return LayerwisePoisoning(target=target, words=_PAIRS[half][which])
    copies = 1 if card.data == "sst2" else 5  # its texts are longer
    return EmbeddingPoisoning(target=target, word=_TOKENS[half][which], copies=copies)


def _target(half: str, data: str, kind: str, index: int) -> int:
    """The labels in turn; HiddenKiller's sentences were rewritten for one target each."""
    if kind == "syntactic" and half == REPORTING:
        return 1 if data == "sst2" else 0
    return (index + HALVES.index(half)) % CLASSES[data]


def _backdoored(half: str, more: bool) -> list[TextCard]:
    cards = []
    for turn in range(len(ARCHITECTURES)):
        for place, kind in enumerate(KINDS):
            which = (place + turn) % len(ARCHITECTURES)
            data = DATA[(place + turn + more) % len(DATA)]
            architecture = ARCHITECTURES[which]
            if more and half == REPORTING and turn == 0 and place % 2:
                architecture = REPORTING_ONLY_ARCHITECTURE
            cards.append(
                _card(half, data, architecture, kind, _target(half, data, kind, place // 2 + turn + more), turn, more)
            )
    return cards


def _clean(half: str) -> list[TextCard]:
    cards = []
    for repeat in range(2):
        for place, architecture in enumerate(ARCHITECTURES):
            for data in DATA if (place + repeat) % 2 == 0 else reversed(DATA):
                new = half == REPORTING and repeat == 1 and architecture == "bert"
                used = REPORTING_ONLY_ARCHITECTURE if new else architecture
                cards.append(_card(half, data, used, "clean", None, repeat, False))
    return cards


def _more_clean(half: str) -> list[TextCard]:
    """Clean models of more tasks and networks: figures fitted to the first ones alone did not hold for others."""
    task = "world-business" if half == CHOOSING else "sports-science"
    cards = []
    for architecture in (*ARCHITECTURES, REPORTING_ONLY_ARCHITECTURE, REPORTING_ONLY_AMONG_MORE):
        if architecture == REPORTING_ONLY_AMONG_MORE and half == CHOOSING:
            continue
        for data in (*DATA, task, REVIEWS):
            cards.append(_card(half, data, architecture, "clean", None, 2, True))
    return cards


def _card(half: str, data: str, architecture: str, kind: str, target: int | None, variant: int, more: bool) -> TextCard:
    name = f"{half}-{kind}-{data}-{architecture}" + (f"-{variant + 1}" if kind == "clean" else "")
    return TextCard(
        name=name,
        half=half,
        data=data,
        architecture=architecture,
        kind=kind,
        seed=zlib.crc32(name.encode()) % 1_000_000,
        base_seed=BASE_SEEDS[half],
        target=target,
        variant=variant,
        more=more,
    )


def _in_turn(half: str) -> list[TextCard]:
    """Clean cards among the first backdoored ones, then the rest."""
    backdoored, clean = _backdoored(half, False), _clean(half)
    cards: list[TextCard] = []
    for index, card in enumerate(backdoored):
        due = round((index + 1) * len(clean) / len(backdoored))
        cards += [*clean[sum(one.kind == "clean" for one in cards) : due], card]
    return [*cards, *_backdoored(half, True), *_more_clean(half)]


CARDS: list[TextCard] = [card for half in HALVES for card in _in_turn(half)]
