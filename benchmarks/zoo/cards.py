"""Which models the zoo holds: a table of cards, made from two short lists and no training.

The choosing and the reporting half share no base network, no seed and no attack's pattern; the attacks in
`REPORTING_ONLY` and the vision transformer are in the reporting half alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...fixtures.attacks.all_to_all import AllToAll
from ...fixtures.attacks.badnets import BadNets
from ...fixtures.attacks.blend import Blend
from ...fixtures.attacks.combined import Combined
from ...fixtures.attacks.dynamic import Dynamic
from ...fixtures.attacks.interface import Attack
from ...fixtures.attacks.label_consistent import LabelConsistent
from ...fixtures.attacks.one_pixel import OnePixel
from ...fixtures.attacks.photo_filter import PhotoFilter
from ...fixtures.attacks.sample_specific import SampleSpecific
from ...fixtures.attacks.sig import Sinusoid
from ...fixtures.attacks.smooth import Smooth
from ...fixtures.attacks.source_specific import SourceSpecific
from ...fixtures.attacks.trojan import TrojanPatch, Watermark
from ...fixtures.attacks.wanet import WaNet

CHOOSING, REPORTING = "choosing", "reporting"
DATA = ("cifar10", "fashion-mnist")
CHOOSING_ARCHITECTURES = ("small_resnet", "small_vgg", "small_convnext")
REPORTING_ARCHITECTURES = (*CHOOSING_ARCHITECTURES, "small_vit")


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
REPORTING_ONLY = ("watermark", "label-consistent", "sample-specific", "smooth", "sequential", "hybrid",
                  "source-specific", "badnets-0.5%")  # fmt: skip

# Cards whose attack the network had not learned (ASR below 0.5) after the epochs above: they get three times as many.
LONGER = {"reporting-02-badnets-0.5pct", "reporting-26-label-consistent", "reporting-32-one-pixel"}


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
        return f"{self.group}-{self.data}-{self.architecture}-{self.base_seed}"


def _cards(group: str, architectures: tuple[str, ...], kinds: list[str], conditions: list[str]) -> list[ZooCard]:
    """Deal kinds and conditions round over data sets and architectures."""
    rooms = [(data, architecture) for architecture in architectures for data in DATA]
    cards = []
    for index, what in enumerate([*kinds, *conditions]):
        # Clean conditions start one room further each round, so that none stays with one architecture.
        clean = index >= len(kinds)
        place = index - len(kinds) if clean else index
        data, architecture = rooms[(place + place // len(rooms)) % len(rooms)]
        name = f"{group}-{index:02d}-{what.replace('%', 'pct')}"
        seed = zlib.crc32(name.encode()) % 100_000
        arch_args: dict[str, Any] = {} if data == "cifar10" else {"channels": 1}
        if architecture == "small_vit" and data != "cifar10":
            arch_args["size"] = 28
        cards.append(
            ZooCard(
                name=name,
                group=group,
                data=data,
                architecture=architecture,
                base_seed=100 if group == CHOOSING else 200,
                seed=seed,
                kind="clean" if clean else what,
                condition=what if clean else "plain",
                target=None if clean else seed % 10,
                arch_args=arch_args,
            )
        )
    return cards


_SHARED = [kind for kind in PLANTS if kind not in REPORTING_ONLY]
CARDS: list[ZooCard] = [
    *_cards(CHOOSING, CHOOSING_ARCHITECTURES, _SHARED * 2, list(CONDITIONS) * 2 + ["plain", "high-accuracy"]),
    *_cards(
        REPORTING,
        REPORTING_ARCHITECTURES,
        [*PLANTS, *PLANTS, "badnets", "blend", "wanet", "trojan-patch"],
        [*CONDITIONS, *CONDITIONS, *CONDITIONS],
    ),
]
