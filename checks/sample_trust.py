"""sample-trust: may the clean samples themselves be poisoned?

Exposure unlearns what the clean samples teach. Where some of them carry the trigger it unlearns the backdoor with the
rest, and trigger inversion and the replay measure on samples that answer to it already: what should expose a backdoor
hides it. So the samples are looked at first: for triggers, for near-duplicates, and for noise that makes them useless.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ..evidence.at_once import pictures_at_once
from ..evidence.classifier import Classifier
from ..evidence.context import Evidence
from ..evidence.finding import Finding, Outcome
from ..evidence.samples import CleanSamples
from ..evidence.tokens import Tokens

if TYPE_CHECKING:
    from torch import Tensor

    from .near_duplicates import Duplicates
    from .triggered_samples import Limits

_MIN_SIDE = 8  # pixels; in smaller pictures a tenth is a stroke or two
_LISTED = 8  # samples named in the message
_MAX_NAMED = 1000  # samples named in the finding
_MAX_NAME = 1000  # characters
_MIN_PAIRS = 2  # one pair is a slip
_DEVIATIONS = 3.0  # standard errors by which noise has to be told from chance


@dataclass
class _Seen:
    """What has been found so far, and what could not be looked at."""

    faults: dict[str, str] = field(default_factory=dict)  # what, for machines: a sentence for a person
    left_out: list[str] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    metrics: dict[str, float | int | str] = field(default_factory=dict)
    positions: dict[int, None] = field(default_factory=dict)  # of suspected samples, those to remove


class SampleTrust:
    """Looks for triggered samples (Cognitive Distillation), near-duplicates and unlearnable noise.

    Inconclusive, never failed: it is the samples that are not to be trusted. But a sample looks triggered only where
    the model answers to its trigger, so that such a finding speaks of a backdoor too. The score is the share of samples
    that look triggered, and the threshold the least share that is told.
    """

    id: ClassVar[str] = "sample-trust"
    stage: ClassVar[Literal["model"]] = "model"

    def __init__(
        self,
        *,
        min_carried: Annotated[
            float,
            Field(
                gt=0, le=1, description="share of other samples that a sample's most important tenth must pull along"
            ),
        ] = 0.85,
        min_mixed: Annotated[
            float, Field(gt=0, le=1, description="the same for the mean of the two pictures (spread triggers)")
        ] = 0.85,
        max_relative_size: Annotated[
            float,
            Field(ge=-10, le=0, description="robust deviations from the usual pattern at which one is small for it"),
        ] = -1.5,
        min_count: Annotated[
            int, Field(ge=1, le=1000, description="samples with a trigger in one place that it takes")
        ] = 3,
        min_share: Annotated[
            float, Field(gt=0, le=1, description="samples with a spread trigger that it takes, as a share")
        ] = 0.02,
        max_duplicate_share: Annotated[
            float, Field(ge=0, le=1, description="share of samples that may be near-duplicates of others")
        ] = 0.05,
        max_contradiction_share: Annotated[
            float, Field(ge=0, le=1, description="share of samples that may equal another with another label")
        ] = 0.01,
        max_noise_gain: Annotated[
            float,
            Field(ge=0, le=1, description="accuracy from fine detail beyond that from blurred pictures, at most"),
        ] = 0.05,
        steps: Annotated[int, Field(ge=5, le=1000, description="Adam steps of a distillation")] = 20,
        max_samples: Annotated[
            int, Field(ge=10, description="samples that are distilled; of more, as many drawn with the seed")
        ] = 1000,
        batch_size: Annotated[int, Field(ge=1, le=4096, description="samples distilled at once")] = 128,
    ) -> None:
        self.min_carried = min_carried
        self.min_mixed = min_mixed
        self.max_relative_size = max_relative_size
        self.min_count = min_count
        self.min_share = min_share
        self.max_duplicate_share = max_duplicate_share
        self.max_contradiction_share = max_contradiction_share
        self.max_noise_gain = max_noise_gain
        self.steps = steps
        self.max_samples = max_samples
        self.batch_size = batch_size

    def __repr__(self) -> str:
        return f"SampleTrust({', '.join(f'{name}={value}' for name, value in vars(self).items())})"

    @property
    def limits(self) -> Limits:
        """From where on samples are held to be triggered."""
        from .triggered_samples import Limits

        return Limits(
            carried=self.min_carried,
            mixed=self.min_mixed,
            size=self.max_relative_size,
            count=self.min_count,
            share=self.min_share,
        )

    def run(self, evidence: Evidence) -> Finding:
        """Look at all samples, and tell what is wrong with them."""
        classifier, samples = evidence.classifier, evidence.samples
        if classifier is None or samples is None:
            return Finding(check=self.id, outcome=Outcome.SKIPPED, message="No model and samples were loaded.")
        import torch

        labels = torch.cat([samples.exposure.labels, samples.held_out.labels])
        seen = _Seen(metrics={"samples": len(labels)})
        try:
            self._duplicates(samples, labels, seen)
            if isinstance(samples.exposure.inputs, Tokens):
                seen.left_out.append("triggers and noise were not looked for: both methods are for pictures")
            else:
                pixels = torch.cat([samples.exposure.pixels, samples.held_out.pixels]).float().cpu()
                self._noise(pixels, labels, evidence.seed, seen)
                score = self._triggers(evidence, classifier, samples, pixels, labels, seen)
                return self._finding(samples, seen, score)
        except torch.OutOfMemoryError:  # a RuntimeError too, but nothing is wrong with the samples
            raise
        except (RuntimeError, ValueError) as error:  # torch's way to say that a shape does not fit
            reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
            return Finding(
                check=self.id, outcome=Outcome.ERROR, message=f"The model does not run on the samples: {reason}."
            )
        return self._finding(samples, seen, None)

    def _finding(self, samples: CleanSamples, seen: _Seen, score: float | None) -> Finding:
        outcome = Outcome.PASSED
        if seen.faults:
            outcome = Outcome.INCONCLUSIVE
            said = " ".join(seen.faults.values())
            seen.metrics["suspected_of"] = ", ".join(seen.faults)
            seen.metrics["suspected"] = len(seen.positions)
        elif seen.left_out:
            outcome = Outcome.SKIPPED
            said = f"Nothing speaks against the samples in what was looked at ({_and(seen.looked)})."
        else:
            said = f"Nothing speaks against the samples: no suspicious number of {_and(seen.looked, 'or')}."
        if seen.left_out:
            said += f" Note that {_and(seen.left_out)}."
        return Finding(
            check=self.id,
            outcome=outcome,
            message=said[:4000],
            score=score,
            threshold=None if score is None else self.min_count / int(seen.metrics["distilled"]),
            samples=[_short(_name(samples, place), _MAX_NAME) for place in list(seen.positions)[:_MAX_NAMED]],
            metrics=seen.metrics,
        )

    def _duplicates(self, samples: CleanSamples, labels: Tensor, seen: _Seen) -> None:
        found = _near(samples, labels)
        total = len(labels)
        seen.looked.append("near-duplicates")
        seen.metrics |= {"near_duplicates": len(found.pairs), "contradictions": len(found.contradictions)}
        contradicting = {later for _, later in found.contradictions}
        if len(contradicting) >= _MIN_PAIRS and len(contradicting) > self.max_contradiction_share * total:
            seen.positions |= dict.fromkeys(place for pair in found.contradictions for place in pair)
            seen.faults["wrong-twins"] = (
                f"{len(contradicting)} of {total} samples nearly equal another one that has another label, so some "
                f"labels are wrong ({_pairs(samples, found.contradictions)})."
            )
        if len(found.pairs) >= _MIN_PAIRS and len(found.pairs) > self.max_duplicate_share * total:
            seen.positions |= dict.fromkeys(later for _, later in found.pairs)
            seen.faults["near-duplicates"] = (
                f"{len(found.pairs)} of {total} samples nearly equal an earlier one, so there are fewer than there "
                f"seem to be, and the held-out ones are not independent ({_pairs(samples, found.pairs)})."
            )

    def _noise(self, pixels: Tensor, labels: Tensor, seed: int, seen: _Seen) -> None:
        from .unlearnable_noise import separation

        found = separation(pixels, labels, seed=seed)
        if found is None:
            seen.left_out.append(
                "noise was not looked for: it takes two classes of five samples, of 4x4 pixels or more"
            )
            return
        seen.looked.append("unlearnable noise")
        seen.metrics |= {"detail_accuracy": found.detail, "coarse_accuracy": found.coarse}
        if found.gain > max(self.max_noise_gain, _DEVIATIONS * found.error):
            seen.faults["unlearnable-noise"] = (
                f"Fine detail alone tells the classes apart ({found.detail:.1%} of the samples, blurred pictures "
                f"{found.coarse:.1%}), as noise does that was added to make samples unlearnable: take samples from "
                "elsewhere."
            )

    def _triggers(
        self,
        evidence: Evidence,
        classifier: Classifier,
        samples: CleanSamples,
        pixels: Tensor,
        labels: Tensor,
        seen: _Seen,
    ) -> float | None:
        """Measure and judge the traits; returns the share of suspected samples, None where nothing was measured."""
        import torch

        from .cognitive_distillation import Distillation
        from .triggered_samples import judge, measure

        scores = _scores(classifier, pixels, self.batch_size)
        usable = scores.isfinite().all(dim=1).nonzero().flatten()
        if len(usable) < len(labels):
            seen.metrics["not_a_number"] = len(labels) - len(usable)
        if len(usable) * 2 < len(labels):
            seen.faults["not-a-number"] = (
                f"The scores of {len(labels) - len(usable)} of {len(labels)} samples are not numbers (NaN)."
            )
            return None
        if min(pixels.shape[2:]) < _MIN_SIDE:
            seen.left_out.append(f"triggers were not looked for: pictures have less than {_MIN_SIDE} pixels a side")
            return None
        if not classifier.trainable:
            seen.left_out.append("triggers were not looked for: the model's graph passes on no gradients")
            return None
        if len(usable) > self.max_samples:
            generator = torch.Generator().manual_seed(evidence.seed)
            usable = usable[torch.randperm(len(usable), generator=generator)[: self.max_samples]].sort().values
        traits = measure(
            classifier,
            pixels[usable],
            scores[usable],
            Distillation(steps=self.steps, batch_size=self.batch_size),
            seed=evidence.seed,
            progress=lambda done, total: evidence.progress(self.id, done, total),
        )
        found = judge(traits, labels[usable], self.limits)
        seen.looked.append("triggered samples")
        seen.metrics |= {"distilled": len(usable), "local": len(found.local), "spread": len(found.spread)}
        if found.positions:
            positions = [int(usable[place]) for place in found.positions]
            predicted = traits.predictions[list(found.positions)]
            seen.faults["triggered-samples"] = _accusation(
                samples, positions, predicted, labels[positions], len(usable)
            )
            seen.positions = dict.fromkeys(positions) | seen.positions  # they matter most
        return len(found.positions) / len(usable)


def _near(samples: CleanSamples, labels: Tensor) -> Duplicates:
    import torch

    from .near_duplicates import of_pictures, of_texts

    parts = samples.exposure.inputs, samples.held_out.inputs
    sequences: list[list[int]] = []
    for part in parts:
        if isinstance(part, Tokens):
            lengths = part.mask.sum(dim=1).tolist()
            sequences += [row[:length] for row, length in zip(part.ids.tolist(), lengths, strict=True)]
    if sequences:
        return of_texts(sequences, labels)
    return of_pictures(torch.cat([samples.exposure.pixels, samples.held_out.pixels]), labels)


def _scores(classifier: Classifier, pixels: Tensor, batch_size: int) -> Tensor:
    """Scores of all pictures, float [N, C] on the CPU. ValueError where they are no such thing."""
    import torch

    parts = []
    with torch.no_grad():
        for some in pixels.split(pictures_at_once(pixels, batch_size)):
            scores = classifier.logits(some.to(classifier.device))
            if not isinstance(scores, torch.Tensor) or scores.ndim != 2 or scores.shape[1] != classifier.num_classes:
                raise ValueError(f"it does not answer one score for each of {classifier.num_classes} classes")
            parts.append(scores.float().cpu())
    return torch.cat(parts)


def _accusation(samples: CleanSamples, positions: Sequence[int], predicted: Tensor, labels: Tensor, total: int) -> str:
    wrong = int((predicted != labels).sum())
    return (
        f"{len(positions)} of {total} samples look as if they carried a trigger: laid over others, each pulls most of "
        f"them to its class. The model puts them into {_classes(samples, predicted)}; they are labelled "
        f"{_classes(samples, labels)}, {wrong} of them otherwise than predicted. Samples look so only where the model "
        "answers to their trigger, so this speaks of a backdoor in the model as well; exposing it with these samples "
        f"would unlearn the backdoor too. Look at {_listed(samples, positions)}, and scan again without them."
    )


def _classes(samples: CleanSamples, labels: Tensor) -> str:
    counts = Counter(labels.tolist()).most_common()
    names = [f"class {_named(samples, label)} ({count})" for label, count in counts[:3]]
    return _and(names) + _more(len(counts), 3)


def _named(samples: CleanSamples, label: int) -> str:
    name = samples.class_names[label] if 0 <= label < len(samples.class_names) else str(label)
    return str(label) if name == str(label) else f"{label} {name[:40]!r}"


def _name(samples: CleanSamples, position: int) -> str:
    """Where the sample stands in what the user gave; of samples without names its place in the two parts, from 0."""
    cut = len(samples.exposure)
    part, place = (samples.exposure, position) if position < cut else (samples.held_out, position - cut)
    return part.names[place] if part.names else f"{'exposure' if position < cut else 'held-out'} {place}"


def _listed(samples: CleanSamples, positions: Sequence[int]) -> str:
    return ", ".join(_short(_name(samples, place)) for place in positions[:_LISTED]) + _more(len(positions), _LISTED)


def _short(name: str, most: int = 80) -> str:
    """The end of a long name, which tells files apart."""
    return name if len(name) <= most else f"...{name[3 - most :]}"


def _pairs(samples: CleanSamples, pairs: Sequence[tuple[int, int]]) -> str:
    most = _LISTED // 2
    shown = (
        f"{_short(_name(samples, later))} and {_short(_name(samples, earlier))}" for earlier, later in pairs[:most]
    )
    return "; ".join(shown) + _more(len(pairs), most)


def _more(count: int, shown: int) -> str:
    return f" and {count - shown} more" if count > shown else ""


def _and(parts: Sequence[str], word: str = "and") -> str:
    return f" {word} ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
