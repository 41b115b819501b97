"""Unlearning of known triggers, as in Neural Cleanse (Wang et al. 2019, IEEE S&P, sec. VI-C).

The model is tuned on clean samples, a share of which carry a trigger that was recovered and keep their true labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from ..evidence.repair import KnownTrigger
from .common import CopyRemover, NotApplicable, Repairing
from .losses import LOSS_DESCRIPTION, LOSSES, LossName
from .tuning import Training, logits_of_parts, train

if TYPE_CHECKING:
    from torch import Tensor

    from .tuning import Inputs

FamilyName = Literal["patch", "blend", "warp", "filter"]
SEARCH_BATCH = 16  # samples a label and step
MAX_ALL_LABELS = 20  # searched in one batch, as detection does


class TriggerUnlearning(CopyRemover):
    """Fine-tuning on samples of which some carry the triggers that are known, or that it searches itself."""

    id: ClassVar[str] = "trigger-unlearning"
    title: ClassVar[str] = "Trigger unlearning"

    def __init__(
        self,
        *,
        share: Annotated[float, Field(gt=0, lt=1, description="share of each batch that carries a trigger")] = 0.2,
        epochs: Annotated[int, Field(ge=1, le=1000, description="passes over the samples")] = 20,
        learning_rate: Annotated[float, Field(gt=0, le=1, description="of SGD, at the start")] = 0.02,
        batch_size: Annotated[int, Field(ge=2, le=4096, description="samples a step")] = 32,
        shift: Annotated[
            float, Field(ge=0, le=0.5, description="pictures are moved by up to this share of their sides")
        ] = 0.1,
        loss: Annotated[LossName, Field(description=LOSS_DESCRIPTION)] = "cross-entropy",
        families: Annotated[
            tuple[FamilyName, ...],
            Field(min_length=1, description="kinds of trigger to search for where none is known"),
        ] = ("patch",),
        search_steps: Annotated[int, Field(ge=5, le=10000, description="steps of each search")] = 150,
        survivors: Annotated[
            int, Field(ge=1, le=10000, description="labels a search goes on with, and triggers that it gives")
        ] = 2,
    ) -> None:
        self.share = share
        self.training = Training(epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, shift=shift)
        self.loss: LossName = loss
        self.families = tuple(families)
        self.search_steps = search_steps
        self.survivors = survivors

    def __repr__(self) -> str:
        return (
            f"TriggerUnlearning(share={self.share}, epochs={self.training.epochs}, loss={self.loss!r}, "
            f"families={self.families})"
        )

    def _repair(self, run: Repairing) -> str:
        import torch

        triggers = run.known.triggers or self._search(run)
        run.metrics["triggers"] = len(triggers)
        loss_of, generator = LOSSES[self.loss], run.generator(1)

        def backward(inputs: Inputs, labels: Tensor) -> float:
            marked = max(1, round(self.share * len(inputs)))
            order = torch.randperm(len(inputs), generator=generator).to(labels.device)
            turn = torch.randperm(len(triggers), generator=generator)
            parts: list[Any] = [inputs[order[marked:]]]
            for place, index in enumerate(order[:marked].tensor_split(len(triggers))):
                if len(index):
                    with torch.no_grad():
                        parts.append(triggers[int(turn[place])].apply(inputs[index]))
            loss = loss_of(
                logits_of_parts(run.repaired, parts), torch.cat([labels[order[marked:]], labels[order[:marked]]])
            )
            loss.backward()
            return loss.item()

        train(run, self.training, backward)
        origin = "known" if run.known.triggers else "searched"
        return (
            f"trained on {len(run.part)} clean samples for {self.training.epochs} epochs, {self.share:.0%} of them "
            f"with {len(triggers)} {origin} triggers"
        )

    def _search(self, run: Repairing) -> Sequence[KnownTrigger]:
        """The smallest triggers of each family for the suspected labels, or for all. Raises NotApplicable."""
        if run.original.codec is not None:
            raise NotApplicable("no trigger is known, and for texts this method searches none of its own")
        from ..checks.trigger_inversion import invert_labels

        if not run.known.labels and run.num_classes > MAX_ALL_LABELS:
            raise NotApplicable(
                f"no trigger and no label is known, and {run.num_classes} classes are too many to search for all"
            )
        labels = run.known.labels or tuple(range(run.num_classes))
        found: list[KnownTrigger] = []
        for done, family in enumerate(self.families):
            triggers = invert_labels(
                run.original,
                run.part,
                labels,
                family=family,
                steps=self.search_steps,
                batch_size=SEARCH_BATCH,
                seed=run.seed,
                survivors=self.survivors,
                on_step=lambda step, done=done: run.progress(  # type: ignore[misc]
                    "search", done * self.search_steps + step, len(self.families) * self.search_steps
                ),
            )
            found += [KnownTrigger(family, t.label, t.apply) for t in triggers if t.found and t.searched]
        if not found:
            raise NotApplicable("no trigger is known, and the search found none")
        return found
