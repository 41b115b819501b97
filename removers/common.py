"""What all removers share: the copy, the seed, the mode of the network, the batches, and the record of the run."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ..evidence.context import Progress, silent
from ..evidence.repair import Known, Repair, RepairRun
from ..exposers.common import finite, forked_rng, generator_of

if TYPE_CHECKING:
    import torch

    from ..evidence.classifier import Classifier
    from ..evidence.samples import CleanSamples, SamplePart


class NotApplicable(Exception):
    """The method cannot work on this model; the message says why, in a sentence."""


@dataclass
class Repairing:
    """One run in progress: the original, and the copy to change in place."""

    original: Classifier
    repaired: Classifier
    part: SamplePart  # the exposure part: all that a remover may see
    known: Known
    seed: int
    progress: Progress
    metrics: dict[str, float | int | str] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        return self.original.num_classes

    def generator(self, offset: int = 0) -> torch.Generator:
        """A generator of this run's own."""
        return generator_of(self.seed + offset)


class CopyRemover(ABC):
    """A remover that works on a copy; a subclass says how, in `_repair`."""

    id: ClassVar[str]
    title: ClassVar[str]  # the method's name at the start of a sentence

    def remove(
        self, classifier: Classifier, samples: CleanSamples, known: Known, *, seed: int, progress: Progress = silent
    ) -> Repair:
        """Repair a copy of `classifier`; see `evidence.repair.Remover`.

        The copy comes back in eval mode, without gradients, and as the original where the method did not apply or its
        weights stopped being numbers.
        """
        started = time.perf_counter()
        run = Repairing(
            classifier,
            classifier.with_module(copy.deepcopy(classifier.module)),
            samples.exposure,
            known,
            seed,
            progress,
        )
        applied, reason = True, ""
        try:
            if not classifier.trainable:
                raise NotApplicable(f"{self.title} does not apply: the model's graph is frozen")
            with forked_rng(classifier.device, seed):
                reason = self._repair(run)
            if not finite(run.repaired.module):
                raise NotApplicable(f"{self.title} broke: the weights stopped being numbers")
        except NotApplicable as problem:
            applied, reason = False, str(problem)
        repaired = run.repaired if applied else classifier.with_module(copy.deepcopy(classifier.module))
        repaired.module.eval()
        for parameter in repaired.module.parameters():
            parameter.grad = None
            if parameter.is_floating_point():
                parameter.requires_grad_(True)
        record = RepairRun(
            method=self.id,
            seed=seed,
            applied=applied,
            reason=reason[:1000],
            metrics=run.metrics,
            seconds=time.perf_counter() - started,
        )
        return Repair(repaired, record)

    @abstractmethod
    def _repair(self, run: Repairing) -> str:
        """Change `run.repaired` in place and say what was done, in a sentence. Raises NotApplicable."""
