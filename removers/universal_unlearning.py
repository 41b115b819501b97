"""Universal unlearning: a student learns from the original to answer as it does, with triggers or without.

The student is a copy that was fine-tuned on the clean samples, which shakes a backdoor and costs accuracy. The original
teaches it anew by distillation (Hinton et al. 2015, arXiv 1503.02531) on pictures near the clean samples, which brings
back what it knew and uses no label. Meanwhile universal triggers climb toward the suspected labels (all
labels, where none is suspected) and the student learns to answer for a triggered picture what the original answers
without the trigger. Triggers and student take their steps from the same gradients, as in free adversarial training
(Shafahi et al. 2019, arXiv 1904.12843); unlearning universal perturbations is I-BAU's idea (Zeng et al. 2022, arXiv
2110.03735), with the kinds of trigger that detection knows in place of a bounded noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from .common import CopyRemover, Repairing
from .losses import LOSS_DESCRIPTION, LOSSES, LossName
from .tuning import Training, on_labels, train

if TYPE_CHECKING:
    from torch import Tensor

    from .universal_triggers import Triggers

FAMILIES = ("patch", "blend", "filter", "warp")
CLIP = 5.0  # L2 of a gradient
WARM_UP = 0.2  # share of the steps


class UniversalUnlearning(CopyRemover):
    """Self-distillation under universal triggers that are kept alive, of a copy that was fine-tuned first."""

    id: ClassVar[str] = "universal-unlearning"
    title: ClassVar[str] = "Universal unlearning"

    def __init__(
        self,
        *,
        first_epochs: Annotated[
            int, Field(ge=0, le=1000, description="passes of the fine-tuning before (pictures)")
        ] = 20,
        first_rate: Annotated[float, Field(gt=0, le=1, description="its learning rate, of SGD, at the start")] = 0.02,
        loss: Annotated[LossName, Field(description=LOSS_DESCRIPTION)] = "cross-entropy",
        steps: Annotated[int, Field(ge=10, le=100_000, description="steps of the optimiser (pictures)")] = 400,
        learning_rate: Annotated[float, Field(gt=0, le=1, description="largest rate of AdamW, in one cycle")] = 3e-3,
        batch_size: Annotated[int, Field(ge=2, le=4096, description="pictures near the clean ones, a step")] = 48,
        rows: Annotated[int, Field(ge=2, le=1000, description="triggers kept alive in each family")] = 8,
        row_size: Annotated[int, Field(ge=1, le=256, description="pictures a trigger and step")] = 4,
        suspected: Annotated[
            float, Field(ge=0, le=1, description="share of the triggers that lead to suspected labels, if any are")
        ] = 0.7,
        trigger_weight: Annotated[float, Field(ge=0, le=100, description="weight of triggered pictures")] = 0.5,
        random_weight: Annotated[float, Field(ge=0, le=100, description="weight of randomly changed ones")] = 0.3,
        restart: Annotated[int, Field(ge=1, description="triggers start anew after so many steps of their own")] = 25,
        lead: Annotated[int, Field(ge=0, le=1000, description="steps of a new trigger before the student's")] = 10,
        word_steps: Annotated[int, Field(ge=1, le=100_000, description="steps of the optimiser (texts)")] = 300,
    ) -> None:
        self.first = Training(epochs=first_epochs, learning_rate=first_rate, batch_size=32, shift=0.1)
        self.loss: LossName = loss
        self.steps = steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.rows = rows
        self.row_size = row_size
        self.suspected = suspected
        self.trigger_weight = trigger_weight
        self.random_weight = random_weight
        self.restart = restart
        self.lead = lead
        self.word_steps = word_steps

    def __repr__(self) -> str:
        return f"UniversalUnlearning(steps={self.steps}, learning_rate={self.learning_rate}, loss={self.loss!r})"

    def _repair(self, run: Repairing) -> str:
        import torch

        if run.original.codec is not None:
            from .universal_words import WordOptions, unlearn_words

            return unlearn_words(run, WordOptions(steps=self.word_steps))
        if self.first.epochs:
            train(run, self.first, on_labels(run.repaired, LOSSES[self.loss]), stage="shake the backdoor")
        lesson = _Lesson(self, run)
        student = run.repaired.module.eval()  # normalisation as it is: batches of triggered pictures are no statistics
        parameters = [p for p in student.parameters() if p.is_floating_point()]
        optimizer = torch.optim.AdamW(parameters, self.learning_rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=self.steps, pct_start=WARM_UP
        )
        for step in range(self.steps):
            loss, climb, triggers = lesson.losses(step)
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            triggers.step(torch.autograd.grad(climb, triggers.parameters))
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            torch.nn.utils.clip_grad_norm_(parameters, CLIP)
            optimizer.step()
            schedule.step()
            run.progress("unlearn universal triggers", step + 1, self.steps)
        about = f"toward {len(lesson.suspects)} suspected label(s)" if lesson.suspects else "toward every label"
        return f"{self.steps} steps against universal triggers {about}"


class _Lesson:
    """What the student is asked and what it is to answer."""

    def __init__(self, how: UniversalUnlearning, run: Repairing) -> None:
        import torch

        self.how, self.run = how, run
        self.generator = run.generator()
        self.teacher, self.student = run.original, run.repaired
        self.pixels, self.labels = run.part.pixels, run.part.labels
        with torch.no_grad():
            parts = [self.teacher.logits(part.to(self.teacher.device)) for part in self.pixels.split(256)]
        self.taught = torch.cat(parts).log_softmax(1)
        self.suspects = list(run.known.labels)
        kinds = dict.fromkeys(one.family for one in run.known.triggers if one.family in FAMILIES)
        self.order = [name for kind in FAMILIES for name in (kind, *kinds)] if kinds else list(FAMILIES)
        self.alive: dict[str, tuple[Triggers, int]] = {}

    def losses(self, step: int) -> tuple[Tensor, Tensor, Triggers]:
        """The student's loss, the triggers' own, and the triggers."""
        import torch

        how, device = self.how, self.student.device
        near = self._near().to(device)
        triggers, index, triggered, excess = self._triggered(step)
        asked, truths = [near, triggered.flatten(0, 1)], [index.flatten()]
        for more, where in self._changed(step):
            asked.append(more.to(device))
            truths.append(where)
        answers = self.student.logits(torch.cat(asked)).split([len(some) for some in asked])
        with torch.no_grad():
            near_taught = self.teacher.logits(near).log_softmax(1)
        loss = _distance(answers[0], near_taught)
        weights = (how.trigger_weight, how.random_weight, how.trigger_weight)
        for weight, answer, where in zip(weights, answers[1:], truths, strict=False):
            loss = loss + weight * _distance(answer, self.taught[where.to(device)])
        climb = triggers.loss(answers[1].unflatten(0, index.shape), self.labels[index], excess)
        return loss, climb, triggers

    def _draw(self, *shape: int) -> Tensor:
        import torch

        return torch.randint(0, len(self.pixels), shape, generator=self.generator)

    def _near(self) -> Tensor:
        from .vicinity import vicinity

        return vicinity(self.pixels[self._draw(self.how.batch_size)], self.generator)

    def _changed(self, step: int) -> list[tuple[Tensor, Tensor]]:
        """Pictures changed at random, and with a trigger that is known; with their places."""
        import torch

        from .vicinity import disturbed

        index = self._draw(self.how.batch_size // 2)
        changed = [(disturbed(self.pixels[index], self.generator), index)]
        if known := self.run.known.triggers:
            index = self._draw(self.how.batch_size // 4)
            with torch.no_grad():
                some = known[step % len(known)].apply(self.pixels[index].to(self.student.device))
            changed.append((some, index))
        return changed

    def _triggered(self, step: int) -> tuple[Triggers, Tensor, Tensor, Tensor]:
        family = self.order[step % len(self.order)]
        triggers, age = self.alive.get(family, (None, 0))
        if triggers is None or age >= self.how.restart:
            triggers, age = self._fresh(family), 0
        self.alive[family] = triggers, age + 1
        index = self._draw(len(triggers.labels), self.how.row_size)
        return triggers, index, *triggers.apply(self.pixels[index].to(self.student.device))

    def _fresh(self, family: str) -> Triggers:
        """New triggers that have climbed a little already."""
        import torch

        from .universal_triggers import Triggers

        shape = tuple(self.pixels.shape[1:])
        triggers = Triggers(family, self._labels(family), shape, self.student.device, self.generator)
        for _ in range(self.how.lead):
            index = self._draw(len(triggers.labels), self.how.row_size)
            triggered, excess = triggers.apply(self.pixels[index].to(self.student.device))
            logits = self.student.logits(triggered.flatten(0, 1)).unflatten(0, index.shape)
            climb = triggers.loss(logits, self.labels[index], excess)
            triggers.step(torch.autograd.grad(climb, triggers.parameters))
        return triggers

    def _labels(self, family: str) -> Tensor:
        """A label a row: suspected ones first, then the others in turn."""
        import torch

        from ..checks.trigger_inversion import NEXT

        rows = self.how.rows
        labels = torch.randperm(self.run.num_classes, generator=self.generator).tolist()
        others = [label for label in (NEXT, *labels) if label not in self.suspects]
        if family != "patch":  # all-to-all is searched among patches
            others = [label for label in others if label != NEXT]
        share = self.how.suspected if others else 1.0
        count = round(share * rows) if self.suspects else 0
        chosen = [self.suspects[row % len(self.suspects)] for row in range(count)]
        chosen += [others[row % len(others)] for row in range(rows - count)]
        return torch.tensor(chosen)


def _distance(logits: Tensor, taught: Tensor) -> Tensor:
    """Kullback-Leibler divergence of scores [N, C] from the teacher's logarithms of probabilities."""
    import torch.nn.functional as F

    return F.kl_div(logits.log_softmax(1), taught, log_target=True, reduction="batchmean")
