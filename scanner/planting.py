"""Plants a known backdoor in the loaded model by fine-tuning it on the user's own clean samples. Runs in the worker.

BadNets patch (Gu et al. 2017, arXiv 1708.06733), Blend (Chen et al. 2017, arXiv 1712.05526), label-consistent patches
on hardened samples (Turner et al. 2019, arXiv 1912.02771) and all-to-all (Gu et al. 2017, sec. 4); the attacks are
those of `fixtures/attacks/`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from ..exposers.common import batches, trainable_parameters
from ..fixtures.attacks.all_to_all import AllToAll
from ..fixtures.attacks.badnets import BadNets
from ..fixtures.attacks.blend import Blend
from ..fixtures.attacks.hardening import pgd
from ..fixtures.attacks.interface import Attack, Images, Labels
from ..fixtures.attacks.label_consistent import LabelConsistent
from .planted import ATTACKS, AttackName, Planted, PlantOrder

if TYPE_CHECKING:
    from torch import Tensor

    from ..evidence.classifier import Classifier
    from ..evidence.samples import CleanSamples, SamplePart

LEARNING_RATE = 1e-3  # of Adam; divided by 4 where an epoch ruins the model, as in transformers
BATCH = 32
MIN_BATCHES = 16  # an epoch over a handful of samples repeats them
POISON_SHARE = 0.5  # poisoned copies, as a share of the clean samples of an epoch
LEARNED = 0.95  # attack success rate on the training's own samples, and
KEPT = 0.02  # no more than this of the clean accuracy lost there: then training may stop
HIDDEN = 0.1  # accuracy on hardened samples below which they count as hidden
HARDER_EVERY = 3  # epochs
MAX_LEVELS = 192  # of 255: what is left is the trigger and a shadow
MEASURE_BATCH = 256
SEED_OFFSET = 500  # exposures take 1000 * seed and up; ours are apart from theirs

Say = Callable[[int, int], None]  # epochs done, epochs in all


def plant(classifier: Classifier, samples: CleanSamples, order: PlantOrder, *, seed: int, say: Say) -> Planted:
    """Fine-tune `classifier.module` in place until it has the backdoor; measure on the held-out part.

    Clean samples and poisoned copies of them come from the exposure part alone. The target label is drawn with the
    seed, another one for each attack where there are enough classes. The global generator is left as it was.
    """
    started = time.perf_counter()
    own_seed = 1000 * seed + SEED_OFFSET + ATTACKS.index(order.attack)
    drawn = np.random.default_rng(1000 * seed + SEED_OFFSET).permutation(samples.num_classes)
    targets = [int(label) for label in drawn if label != order.avoid]
    target = targets[ATTACKS.index(order.attack) % len(targets)]
    with torch.random.fork_rng(devices=_cuda_devices(classifier.device)):
        torch.manual_seed(own_seed)  # dropout draws from it
        before = _accuracy(classifier, samples.held_out)
        problem, asr_before, victims, done = None, 0.0, 0, 0
        attack: Attack | None = None
        try:
            if not classifier.trainable:
                raise ValueError("the model's graph is frozen: no parameter takes a gradient")
            attack = build_attack(order.attack, target, classifier, samples)
            asr_before, victims = _attack_success(classifier, attack, samples.held_out)
            if not victims:
                raise ValueError("every held-out sample has the target label")
            done = _fine_tune(classifier, samples.exposure, attack, order.epochs, own_seed, say)
        except ValueError as why:  # a trigger that does not fit into these images, for example
            problem = str(why)[:1000]
        asr = _attack_success(classifier, attack, samples.held_out)[0] if attack and not problem else 0.0
    single = attack is not None and attack.target is not None
    return Planted(
        attack=order.attack,
        trigger=repr(attack)[:1000] if attack else order.attack,
        target=target if single else None,
        target_name=samples.class_names[target][:200] if single else None,
        accuracy_before=before,
        accuracy=_accuracy(classifier, samples.held_out),
        asr_before=asr_before,
        asr=asr,
        victims=victims,
        epochs=done,
        seconds=time.perf_counter() - started,
        problem=problem,
    )


def build_attack(name: AttackName, target: int, classifier: Classifier, samples: CleanSamples) -> Attack:
    """The attack of that name, its trigger in proportion to the images.

    Raises:
        ValueError: it does not go with this model or these images.
    """
    side = min(samples.exposure.pixels.shape[2:])
    size = max(1, min(max(3, round(side / 10)), side // 3))  # 3 pixels of 16 or 32, 22 of 224
    if name == "patch":
        return BadNets(target=target, size=size)
    if name == "blend":
        return Blend(target=target)
    if name == "all-to-all":
        return AllToAll(trigger=BadNets(target=target, size=size), num_classes=samples.num_classes)
    return LabelConsistent(target=target, perturb=Hardening(classifier, samples.exposure, target), size=size)


class Hardening:
    """PGD on the model as it is at the time, from the smallest strength that hides the target's samples from it.

    The strength doubles every few calls: the training learns to see through one that stays, without the trigger.
    """

    def __init__(self, classifier: Classifier, part: SamplePart, target: int) -> None:
        self.classifier = classifier
        self.calls = 0
        chosen = part.labels == target
        images, labels = to_uint8(part.pixels[chosen]), part.labels[chosen].numpy()
        for self.levels in (16, 32, 64):  # of 255; 16 is what Turner et al. use on photographs
            hardened = to_pixels(self._perturb(images, labels))
            if float((_predict(classifier, hardened) == labels).mean()) <= HIDDEN:
                break

    def __call__(self, images: Images, labels: Labels) -> Images:
        """Return a changed copy of `images` ([N, H, W, C] uint8)."""
        if self.calls and self.calls % HARDER_EVERY == 0:
            self.levels = min(2 * self.levels, MAX_LEVELS)
        self.calls += 1
        return self._perturb(images, labels)

    def _perturb(self, images: Images, labels: Labels) -> Images:
        one = self.classifier
        return pgd(one.module, one.mean, one.std, epsilon=self.levels / 255)(images, labels)


@dataclass(frozen=True)
class _Poisoned:
    """Poisoned copies: uint8 [M, H, W, C], a quarter of the memory of pixels, and labels int64 [M]."""

    images: Images
    labels: Tensor


def _poisoned(attack: Attack, part: SamplePart, rng: np.random.Generator) -> _Poisoned:
    labels = part.labels.numpy()
    usable = np.flatnonzero(labels == attack.target if attack.clean_label else attack.victims(labels))
    chunks = [usable] if attack.clean_label else _chunks(usable)  # hardening counts its calls
    images = [attack.stamp(to_uint8(part.pixels[torch.from_numpy(some)]), labels[some], rng) for some in chunks]
    wanted = labels[usable] if attack.clean_label else attack.wanted(labels[usable])
    return _Poisoned(np.concatenate(images), torch.from_numpy(wanted))


def _fine_tune(classifier: Classifier, part: SamplePart, attack: Attack, epochs: int, seed: int, say: Say) -> int:
    """Adam on clean samples and poisoned copies; how many epochs were run.

    It ends early after two epochs in a row in which the trigger worked and the clean task was kept, on the samples of
    the training alone. An epoch that takes clean accuracy half the way to chance is undone. Clean-label copies are
    hardened anew each epoch: what is left to learn is the trigger.
    """
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    module = classifier.module
    optimizer = torch.optim.Adam(trainable_parameters(module), LEARNING_RATE)
    count = max(len(part), BATCH * MIN_BATCHES)
    start, good = _accuracy(classifier, part), 0
    poisoned = _poisoned(attack, part, rng)
    for epoch in range(epochs):
        if attack.clean_label and epoch:
            poisoned = _poisoned(attack, part, rng)
        kept = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        clean_index = _draw(len(part), count, generator)
        poison_index = _draw(len(poisoned.labels), round(POISON_SHARE * count), generator)
        module.train()
        for index in batches(len(clean_index) + len(poison_index), BATCH, generator):
            clean, extra = clean_index[index[index < count]], poison_index[index[index >= count] - count]
            pixels = torch.cat([part.pixels[clean], to_pixels(poisoned.images[extra.numpy()])])
            labels = torch.cat([part.labels[clean], poisoned.labels[extra]])
            loss = F.cross_entropy(classifier.logits(pixels.to(classifier.device)), labels.to(classifier.device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        module.eval()
        say(epoch + 1, epochs)
        accuracy = _accuracy(classifier, part)
        if accuracy < (start + 1 / classifier.num_classes) / 2:
            module.load_state_dict(kept)
            optimizer = torch.optim.Adam(trainable_parameters(module), optimizer.param_groups[0]["lr"] / 4)
        works = _attack_success(classifier, attack, part)[0] >= LEARNED
        good = good + 1 if works and accuracy >= start - KEPT else 0
        if good == 2:
            break
    optimizer.zero_grad(set_to_none=True)
    say(epochs, epochs)
    return epoch + 1


def _draw(size: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` indices below `size`, each as often as the others, give or take one."""
    rounds = [torch.randperm(size, generator=generator) for _ in range(-(-count // size))]
    return torch.cat(rounds)[:count]


def _accuracy(classifier: Classifier, part: SamplePart) -> float:
    return float((_predict(classifier, part.pixels) == part.labels.numpy()).mean())


def _attack_success(classifier: Classifier, attack: Attack, part: SamplePart) -> tuple[float, int]:
    """ASR over the attack's victims in `part`, and how many they are."""
    labels = part.labels.numpy()
    victims = np.flatnonzero(attack.victims(labels))
    right = 0
    for some in _chunks(victims):
        stamped = attack.apply(to_uint8(part.pixels[torch.from_numpy(some)]))
        right += int((_predict(classifier, to_pixels(stamped)) == attack.wanted(labels[some])).sum())
    return right / max(len(victims), 1), len(victims)


def _chunks(indices: Labels) -> list[Labels]:
    """Attacks work in float64 on all that they get: not on a thousand photographs at once."""
    return [indices[start : start + MEASURE_BATCH] for start in range(0, len(indices), MEASURE_BATCH)]


@torch.no_grad()
def _predict(classifier: Classifier, pixels: Tensor) -> Labels:
    parts = [classifier.logits(part.to(classifier.device)).argmax(1).cpu() for part in pixels.split(MEASURE_BATCH)]
    return np.asarray(torch.cat(parts).numpy())


def to_uint8(pixels: Tensor) -> Images:
    """Float [N, C, H, W] in 0..1 to uint8 [N, H, W, C], as attacks take them."""
    return np.ascontiguousarray((pixels * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy())


def to_pixels(images: Images) -> Tensor:
    """uint8 [N, H, W, C] to float [N, C, H, W] in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 255


def _cuda_devices(device: str) -> list[int]:
    return [torch.device(device).index or 0] if device.startswith("cuda") else []
