"""Which models the zoo holds: a table of cards, made from two short lists and no training.

The choosing and the reporting half share no base network, no seed and no attack's pattern; the attacks in
`REPORTING_ONLY` and the architecture in `REPORTING_ONLY_ARCHITECTURE` are in the reporting half alone.

The cards named "earlier" were the reporting half of the first report (docs/results.md). What went wrong there was
studied, so they are choosing models since; only one of each attack is kept.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ...fixtures.attacks.all_to_all import AllToAll
from ...fixtures.attacks.badnets import BadNets
from ...fixtures.attacks.blend import Blend
from ...fixtures.attacks.combined import Combined
from ...fixtures.attacks.dynamic import Dynamic
from ...fixtures.attacks.frequency import Frequency
from ...fixtures.attacks.interface import Attack
from ...fixtures.attacks.label_consistent import LabelConsistent
from ...fixtures.attacks.one_pixel import OnePixel
from ...fixtures.attacks.photo_filter import PhotoFilter
from ...fixtures.attacks.quantised import Quantised
from ...fixtures.attacks.sample_specific import SampleSpecific
from ...fixtures.attacks.sig import Sinusoid
from ...fixtures.attacks.smooth import Smooth
from ...fixtures.attacks.source_specific import SourceSpecific
from ...fixtures.attacks.trojan import TrojanPatch, Watermark
from ...fixtures.attacks.wanet import WaNet

CHOOSING, REPORTING = "choosing", "reporting"
DATA = ("cifar10", "fashion-mnist")
FIRST_ARCHITECTURES = ("small_resnet", "small_vgg", "small_convnext")
CHOOSING_ARCHITECTURES = (*FIRST_ARCHITECTURES, "small_vit")
REPORTING_ONLY_ARCHITECTURE = "small_mobilenet"


@dataclass(frozen=True)
class Plant:
    """An attack's kind in the zoo: how it is made for a target and a seed, and how it is trained in."""

    make: Callable[[int, int], Attack]  # target label, seed of the pattern
    rate: float = 0.1
    epochs: int = 3
    augment: bool = False  # crops move a patch and a short run does not learn it then


PLANTS: dict[str, Plant] = {
    "badnets": Plant(lambda t, s: BadNets(target=t)),
    "badnets-1%": Plant(lambda t, s: BadNets(target=t, size=4), rate=0.01, epochs=4),
    "badnets-0.5%": Plant(lambda t, s: BadNets(target=t, size=4), rate=0.005, epochs=5),
    "trojan-patch": Plant(lambda t, s: TrojanPatch(target=t, pattern_seed=s)),
    "watermark": Plant(lambda t, s: Watermark(target=t, pattern_seed=s)),
    "blend": Plant(lambda t, s: Blend(target=t, pattern_seed=s), augment=True),
    "sig": Plant(lambda t, s: Sinusoid(target=t), rate=0.08, epochs=4),
    "label-consistent": Plant(lambda t, s: LabelConsistent(target=t), rate=0.06, epochs=4),
    "dynamic": Plant(lambda t, s: Dynamic(target=t), epochs=4),
    "wanet": Plant(lambda t, s: WaNet(target=t, pattern_seed=s), epochs=5),
    "sample-specific": Plant(lambda t, s: SampleSpecific(target=t, key=s), epochs=4),
    "filter": Plant(lambda t, s: PhotoFilter(target=t), augment=True),
    "smooth": Plant(lambda t, s: Smooth(target=t, pattern_seed=s)),
    "one-pixel": Plant(lambda t, s: OnePixel(target=t), rate=0.1, epochs=4),
    "all-to-all": Plant(lambda t, s: AllToAll(trigger=BadNets(target=t, size=4)), rate=0.2, epochs=4),
    "source-specific": Plant(
        lambda t, s: SourceSpecific(trigger=BadNets(target=t, size=4), source=(t + 3) % 10), rate=0.05, epochs=4
    ),
    "frequency": Plant(lambda t, s: Frequency(target=t), epochs=4),
    "quantised": Plant(lambda t, s: Quantised(target=t), epochs=4),
    "parallel": Plant(
        lambda t, s: Combined(parts=[BadNets(target=t), Blend(target=(t + 4) % 10, pattern_seed=s)], mode="parallel"),
        rate=0.15,
    ),
    "sequential": Plant(
        lambda t, s: Combined(parts=[BadNets(target=t, size=4), Blend(target=t, pattern_seed=s)], mode="sequential"),
        epochs=4,
    ),
    "hybrid": Plant(
        lambda t, s: Combined(
            parts=[TrojanPatch(target=t, pattern_seed=s), Blend(target=t, pattern_seed=s)], mode="hybrid"
        ),
        rate=0.15,
    ),
}
REPORTING_ONLY = ("frequency", "quantised")
# What the first choosing half went without.
_NOT_FIRST = ("watermark", "label-consistent", "sample-specific", "smooth", "sequential", "hybrid", "source-specific",
              "badnets-0.5%", *REPORTING_ONLY)  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """How a clean model is trained; these are where false alarms come from."""

    epochs: int = 3
    augment: bool = False
    label_noise: float = 0.0  # share of the training labels drawn anew
    imbalance: float = 1.0  # how many times rarer the rarest class is, falling geometrically over the classes
    samples: int | None = None  # of the training set; None for all


CONDITIONS: dict[str, Condition] = {
    "plain": Condition(),
    "augmentation": Condition(augment=True, epochs=4),
    "label-noise-10%": Condition(label_noise=0.1),
    "imbalance-10": Condition(imbalance=10.0, augment=True),
    "low-accuracy": Condition(samples=3000, epochs=2),
    "high-accuracy": Condition(epochs=8, augment=True),
    "label-noise-25%": Condition(label_noise=0.25, augment=True),
    "imbalance-50": Condition(imbalance=50.0),
}


@dataclass(frozen=True)
class ZooCard:
    """One model to train."""

    name: str
    group: str
    data: str
    architecture: str  # a builder in fixtures/networks.py
    base_seed: int
    seed: int
    kind: str  # of the attack, or "clean"
    condition: str = "plain"
    target: int | None = None  # of the attack as drawn; all-to-all and several triggers have more
    arch_args: dict[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """Models with the same base start from the same early network."""
        return f"{self.data}-{self.architecture}-{self.base_seed}"


def _cards(
    prefix: str, base_seed: int, architectures: tuple[str, ...], kinds: list[str], conditions: list[str]
) -> list[ZooCard]:
    """Deal kinds and conditions round over data sets and architectures."""
    rooms = [(data, architecture) for architecture in architectures for data in DATA]
    cards = []
    for index, what in enumerate([*kinds, *conditions]):
        # Clean conditions start one room further each round, so that none stays with one architecture.
        clean = index >= len(kinds)
        place = index - len(kinds) if clean else index
        data, architecture = rooms[(place + place // len(rooms)) % len(rooms)]
        name = f"{prefix}-{index:02d}-{what.replace('%', 'pct')}"
        seed = zlib.crc32(name.replace("earlier", REPORTING).encode()) % 100_000  # as they were called when trained
        arch_args: dict[str, Any] = {} if data == "cifar10" else {"channels": 1}
        if architecture == "small_vit" and data != "cifar10":
            arch_args["size"] = 28
        cards.append(
            ZooCard(
                name=name,
                group=REPORTING if prefix == REPORTING else CHOOSING,
                data=data,
                architecture=architecture,
                base_seed=base_seed,
                seed=seed,
                kind="clean" if clean else what,
                condition=what if clean else "plain",
                target=None if clean else seed % 10,
                arch_args=arch_args,
            )
        )
    return cards


def _earlier() -> list[ZooCard]:
    """The first report's models: every clean one, and of the backdoored ones the first of each attack."""
    kinds = [kind for kind in PLANTS if kind not in REPORTING_ONLY]
    cards = _cards("earlier", 200, CHOOSING_ARCHITECTURES, [*kinds, *kinds, *_REPEATED], list(CONDITIONS) * 3)
    return [card for card in cards if card.kind == "clean"] + cards[: len(kinds)]


_REPEATED = ["badnets", "blend", "wanet", "trojan-patch"]  # in the first report, for a third time


def _distinct(cards: list[ZooCard]) -> list[ZooCard]:
    """The same with a seed for each: a seed that an earlier card has is passed over."""
    used: set[int] = set()
    distinct = []
    for card in cards:
        seed = card.seed
        while seed in used:
            seed += 1
        used.add(seed)
        distinct.append(replace(card, seed=seed, target=None if card.target is None else seed % 10))
    return distinct


CARDS: list[ZooCard] = _distinct(
    [
        *_cards(
            "choosing",
            100,
            FIRST_ARCHITECTURES,
            [kind for kind in PLANTS if kind not in _NOT_FIRST] * 2,
            [*CONDITIONS, *CONDITIONS, "plain", "high-accuracy"],
        ),
        *_earlier(),
        *_cards(
            REPORTING,
            300,
            (*CHOOSING_ARCHITECTURES, REPORTING_ONLY_ARCHITECTURE),
            list(PLANTS) * 2,
            list(CONDITIONS) * 5,
        ),
    ]
)
