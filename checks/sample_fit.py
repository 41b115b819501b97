"""sample-fit: do the clean samples and their preprocessing fit the model?

Every later figure rests on this one. A scan whose samples are normalised differently from the training set, whose
classes are counted in another order or which belong to another model measures noise, and noise passes too easily.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ..evidence.classifier import Classifier
from ..evidence.context import Evidence, Progress, silent
from ..evidence.finding import Finding, Outcome
from ..evidence.samples import CleanSamples
from ..evidence.tokens import Tokens

if TYPE_CHECKING:
    from torch import Tensor

_BATCH = 256
_PROBE = 512  # samples that other preprocessings are tried on; standard error of an accuracy at most 2.2 points
_CONSTANT = 0.98  # share of predictions from which a model answers "always the same"

_ALL = "no normalisation", (0.0,), (1.0,)
_HALF = "normalisation to -1..1", (0.5,), (0.5,)
_BYTES = "pixels in 0..255", (0.0,), (1 / 255,)
# What people train with: name, mean, std. One value stands for every channel.
NORMALISATIONS: dict[int, tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...]] = {
    1: (
        _ALL,
        _HALF,
        _BYTES,
        ("MNIST statistics", (0.1307,), (0.3081,)),
        ("Fashion-MNIST statistics", (0.2860,), (0.3530,)),
    ),
    3: (
        _ALL,
        _HALF,
        _BYTES,
        ("ImageNet statistics", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("CIFAR-10 statistics", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ),
}


@dataclass(frozen=True)
class _Cause:
    name: str  # for machines: "normalisation", "channel-order", "class-order", ...
    accuracy: float  # that the model reaches once it is mended
    text: str  # cause and way out, for a person


class SampleFit:
    """Accuracy of the original model on all clean samples, and the likely cause where it is too low.

    Skill is the share of the way from chance to 1: (accuracy - chance) / (1 - chance), with chance the share of the
    largest class, which a model reaches that always answers the same. Inconclusive, never failed: samples that do
    not fit say nothing about a backdoor.
    """

    id: ClassVar[str] = "sample-fit"
    stage: ClassVar[Literal["model"]] = "model"

    def __init__(
        self,
        *,
        min_skill: Annotated[
            float, Field(ge=0, le=1, description="share of the way from chance to 1 that accuracy must reach")
        ] = 0.25,
        min_gain: Annotated[
            float,
            Field(
                ge=0, le=1, description="gain in accuracy from which another preprocessing is held to be the right one"
            ),
        ] = 0.1,
    ) -> None:
        self.min_skill = min_skill
        self.min_gain = min_gain

    def __repr__(self) -> str:
        return f"SampleFit(min_skill={self.min_skill}, min_gain={self.min_gain})"

    def run(self, evidence: Evidence) -> Finding:
        """Measure accuracy, and diagnose it where it is low or where another preprocessing beats it clearly."""
        classifier, samples = evidence.classifier, evidence.samples
        if classifier is None or samples is None:
            return Finding(check=self.id, outcome=Outcome.SKIPPED, message="No model and samples were loaded.")
        import torch

        parts = samples.exposure.inputs, samples.held_out.inputs
        labels = torch.cat([samples.exposure.labels, samples.held_out.labels])
        try:
            predictions = torch.cat([_predict(classifier, part, evidence.progress) for part in parts])
        except torch.OutOfMemoryError:  # a RuntimeError too, but nothing is wrong with the samples
            raise
        except (RuntimeError, ValueError) as error:  # torch's way to say that a shape does not fit
            reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
            return Finding(
                check=self.id,
                outcome=Outcome.ERROR,
                message=f"The model does not run on the samples{_way_out(samples, reason)}",
            )
        return self._judge(evidence, classifier, samples, labels, predictions)

    def _judge(
        self,
        evidence: Evidence,
        classifier: Classifier,
        samples: CleanSamples,
        labels: Tensor,
        predictions: Tensor,
    ) -> Finding:
        import torch

        accuracy = _accuracy(predictions, labels)
        chance = max(float(labels.bincount().max()) / len(labels), 1 / samples.num_classes)
        threshold = chance + self.min_skill * (1 - chance)
        lower = wilson_lower(accuracy, len(labels))
        fits = accuracy >= threshold and lower > chance
        metrics: dict[str, float | int | str] = {
            "accuracy": accuracy,
            "accuracy_lower_bound": lower,
            "chance": chance,
            "samples": len(labels),
            "classes": samples.num_classes,
        }
        causes = [self._class_order(samples, predictions)]
        # Else no preprocessing could be that much better; a tokenizer belongs to its model and is not guessed.
        if accuracy + self.min_gain <= 1 and classifier.codec is None:
            pixels = torch.cat([samples.exposure.pixels, samples.held_out.pixels])
            causes.append(self._preprocessing(evidence, classifier, pixels, labels, predictions))
        cause = max((one for one in causes if one), key=lambda one: one.accuracy, default=None)
        if not fits and (cause is None or cause.accuracy < threshold):
            cause = _unexplained(samples, predictions, accuracy, accuracy >= threshold)
        said = f"The model classifies {accuracy:.1%} of the {len(labels)} clean samples correctly"
        if cause is not None:
            metrics |= {"likely_cause": cause.name, "accuracy_once_mended": cause.accuracy}
            said += f" (chance is {chance:.1%}, needed are {threshold:.1%})" if not fits else ""
            said += f"; {cause.text}."
        else:
            said += f", well above chance ({chance:.1%})."
        return Finding(
            check=self.id,
            outcome=Outcome.PASSED if cause is None else Outcome.INCONCLUSIVE,
            message=said[:4000],
            score=accuracy,
            threshold=threshold,
            metrics=metrics,
        )

    def _preprocessing(
        self, evidence: Evidence, classifier: Classifier, pixels: Tensor, labels: Tensor, predictions: Tensor
    ) -> _Cause | None:
        """The normalisation or channel order that beats the given one by `min_gain` or more, if there is one."""
        import torch

        generator = torch.Generator().manual_seed(evidence.seed)
        probe = torch.randperm(len(labels), generator=generator)[:_PROBE]
        given = _accuracy(predictions[probe], labels[probe])
        channels = max(pixels.shape[1], len(classifier.mean))
        best: _Cause | None = None

        def consider(name: str, text: str, candidate: Classifier, change: Callable[[Tensor], Tensor]) -> None:
            nonlocal best
            found = _accuracy(_predict(candidate, change(pixels[probe])), labels[probe])
            if self._beats(found, given, len(probe)) and (best is None or found > best.accuracy):
                best = _Cause(name, found, f"with {text}, it reaches {found:.1%} of {len(probe)} samples")

        for name, mean, std in NORMALISATIONS.get(channels, ()):
            options = f"`--mean {_option(mean)} --std {_option(std)}`"
            other = replace(classifier, mean=_spread(mean, channels), std=_spread(std, channels))
            consider("normalisation", f"{name} ({options}) instead", other, lambda batch: batch)
        if channels == 3:
            text = "the channels in the order blue, green, red (save the samples in that order) instead"
            consider("channel-order", text, classifier, lambda batch: batch.flip(1))
        return best

    def _beats(self, found: float, given: float, count: int) -> bool:
        """Whether accuracy `found` on `count` samples is clearly better than `given` on the same ones."""
        return found >= given + self.min_gain and wilson_lower(found, count) > given

    def _class_order(self, samples: CleanSamples, predictions: Tensor) -> _Cause | None:
        """Match the model's classes to the samples' on the exposure part, and measure the match on the held-out part.

        Greedy, largest count first. Matching and measuring on the same samples would find an order in pure noise where
        a class has only a few samples.
        """
        import torch

        fitted, tried = predictions.split_with_sizes([len(samples.exposure), len(samples.held_out)])
        counts = Counter(zip(samples.exposure.labels.tolist(), fitted.tolist(), strict=True))
        size = max(samples.num_classes, int(predictions.max()) + 1)
        meaning = [-1] * size  # the samples' class that each of the model's classes stands for
        for (label, predicted), _ in sorted(counts.items(), key=lambda cell: (-cell[1], cell[0])):
            if predicted >= 0 and meaning[predicted] < 0 and label not in meaning:
                meaning[predicted] = label
        swapped = [predicted for predicted, label in enumerate(meaning) if label not in (predicted, -1)]
        renamed = torch.tensor([*meaning, -1])[tried]  # -1, no prediction, picks the last
        found = _accuracy(renamed, samples.held_out.labels)
        if not self._beats(found, _accuracy(tried, samples.held_out.labels), len(tried)):
            return None
        pairs = [f"the model's class {i} is {_named(samples, meaning[i])}" for i in swapped[:5]]
        more = f" and {len(swapped) - 5} more" if len(swapped) > 5 else ""
        of_texts = isinstance(samples.exposure.inputs, Tokens)
        way = (
            "write the model's indices, or its own names, into the column of the labels"
            if of_texts
            else "rename the class folders to the model's indices, or say them in classes.txt"
        )
        return _Cause(
            "class-order",
            found,
            f"the order of the classes probably differs: {found:.1%} of the held-out samples fit if {', '.join(pairs)}"
            f"{more}; {way}",
        )


def wilson_lower(accuracy: float, count: int, z: float = 1.96) -> float:
    """Lower end of Wilson's score interval for a share `accuracy` of `count` trials, 95 % two-sided by default."""
    centre = accuracy + z * z / (2 * count)
    spread = z * math.sqrt(accuracy * (1 - accuracy) / count + z * z / (4 * count * count))
    return (centre - spread) / (1 + z * z / count)


def _way_out(samples: CleanSamples, reason: str) -> str:
    if isinstance(samples.exposure.inputs, Tokens):
        return f": {reason}."
    shape = "x".join(str(side) for side in samples.exposure.pixels.shape[1:])
    return (
        f" (channels x height x width {shape}): {reason}. Give the model's input size with --size, and --mean with as "
        "many values as it has channels."
    )


def _predict(classifier: Classifier, inputs: Tensor | Tokens, progress: Progress = silent) -> Tensor:
    """Predicted classes, int64 [N], on the CPU; -1 where a score is not a number. ValueError for odd scores."""
    import torch

    parts = []
    batches = range(0, len(inputs), _BATCH)
    with torch.no_grad():
        for done, start in enumerate(batches, 1):
            scores = classifier.logits(inputs[start : start + _BATCH].to(classifier.device))
            if not isinstance(scores, torch.Tensor) or scores.ndim != 2 or scores.shape[1] != classifier.num_classes:
                got = list(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
                raise ValueError(f"it answers {got} instead of one score for each of {classifier.num_classes} classes")
            broken = scores.isnan().any(dim=1)
            parts.append(scores.argmax(dim=1).masked_fill(broken, -1).cpu())
            progress(SampleFit.id, done, len(batches))
    return torch.cat(parts)


def _accuracy(predictions: Tensor, labels: Tensor) -> float:
    return float((predictions == labels).double().mean())


def _unexplained(samples: CleanSamples, predictions: Tensor, accuracy: float, few: bool) -> _Cause:
    if bool((predictions < 0).all()):
        return _Cause("not-a-number", accuracy, "its scores are not numbers (NaN); check the weights and --std")
    if few:
        return _Cause("few-samples", accuracy, "too few to tell it from chance; give more samples of every class")
    counts = predictions[predictions >= 0].bincount()
    share = float(counts.max()) / len(predictions)
    if share >= _CONSTANT:
        always = _named(samples, int(counts.argmax()))
        text = f"it answers class {always} for {share:.1%} of them; check the weights file and the architecture"
        return _Cause("constant", accuracy, text)
    return _Cause(
        "unknown",
        accuracy,
        "no common normalisation, channel order or class order explains it, so these are probably samples for another "
        "model, wrong labels, or an untrained model",
    )


def _named(samples: CleanSamples, label: int) -> str:
    name = samples.class_names[label] if 0 <= label < len(samples.class_names) else str(label)
    return str(label) if name == str(label) else f"{label} {name[:40]!r}"


def _option(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:.4g}" for value in values)


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values
