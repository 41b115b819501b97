"""Universal unlearning of text classifiers: a student that answers as the original does, with or without a trigger.

Three things are done to the copy. Tokens that lead to a label by themselves and are in no clean text get the mean
vector. Its matrices are shrunk toward noise (as in Ash and Adams 2020, arXiv 1910.08475), so that what nothing asks for
again is forgotten. Then it learns the original's scores (Hinton et al. 2015, arXiv 1503.02531) of variations of the
clean texts, and that universal triggers, which climb toward every label meanwhile, change nothing. No label of the
samples is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..exposers.common import trainable_parameters, training_mode
from .soft_triggers import Kind, SoftTrigger, places_of
from .strong_tokens import reset_vectors, strong_tokens, words_of
from .text_edits import Variation, inner, slots_on, varied, with_room

if TYPE_CHECKING:
    from ..evidence.tokens import Tokens
    from .common import Repairing

_AT_ONCE = 128  # texts a forward pass without gradients
_CLIP = 1.0  # norm of a gradient
_WARM_UP = 0.15  # of the steps
_VARIATION = Variation()


@dataclass(frozen=True)
class WordOptions:
    """How text classifiers are repaired."""

    steps: int = 300
    batch_size: int = 40
    learning_rate: float = 6e-4
    strong: int = 40  # tokens a label that lose their meaning
    kept: float = 0.7  # of each matrix outside the table
    noise: float = 0.3  # in standard deviations of the matrix
    marked: int = 8  # texts with strong tokens in them, a step
    rows: int = 8  # universal triggers of each kind, at least one a label
    row_size: int = 4  # texts a universal trigger and step
    suspected: float = 0.75  # share of the triggers that lead to suspected labels, if any are
    weight: float = 1.0  # of texts with triggers
    widths: Sequence[int] = (1, 3, 5)  # of universal triggers
    longest: float = 1.5  # their vectors, in norms of the median word
    drift: float = 0.5  # of hidden states, in norms of their own
    restart: int = 20  # steps of a universal trigger until it is drawn anew
    lead: int = 3  # steps that it is ahead then
    variation: Variation = _VARIATION


def unlearn_words(run: Repairing, options: WordOptions | None = None) -> str:
    """Repair `run.repaired` in place and say what was done, in a sentence."""
    return _Unlearning(run, options or WordOptions()).repair()


class _Unlearning:
    """One run: the texts, what the original says of them, and the triggers."""

    def __init__(self, run: Repairing, options: WordOptions) -> None:
        self.run, self.options, self.generator = run, options, run.generator()
        self.teacher, self.student = run.original, run.repaired
        codec = run.original.codec
        assert codec is not None
        self.codec, self.tokens = codec, run.part.tokens
        self.scores = _scores(run, self.tokens)
        self.predicted = self.scores.argmax(dim=1).cpu()
        self.hosts = [(self.predicted != label).nonzero().flatten() for label in range(run.num_classes)]
        self.labels = self._labels()
        layers = len(places_of(self.student))
        self.kinds = [Kind(width=width) for width in options.widths] + [Kind(layer=at) for at in range(min(2, layers))]
        self.triggers: dict[int, SoftTrigger] = {}
        self.hits: list[float] = []

    def repair(self) -> str:
        run, options = self.run, self.options
        self.strong = strong_tokens(
            self.teacher, self.tokens, self.predicted, options.strong, self.generator,
            lambda done, total: run.progress("try single words", done, total),
        )  # fmt: skip
        pool = self._pool()
        reset_vectors(self.student, self.strong.flatten().unique())
        _shrink(self.student.module, options.kept, options.noise, self.generator)
        training_mode(self.student.module)
        parameters = trainable_parameters(self.student.module)
        optimizer = torch.optim.AdamW(parameters, options.learning_rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, options.learning_rate, total_steps=options.steps, pct_start=_WARM_UP
        )
        for step in range(options.steps):
            loss = self._clean(pool) + options.weight * (self._marked() + self._known())
            trigger, index, rows = self._trigger(step)
            scores = trigger.logits(self.tokens[index], rows)
            climb = torch.autograd.grad(self._climb(scores, rows), trigger.vectors, retain_graph=True)[0]
            loss = loss + options.weight * _apart(scores, self.scores[index.to(self.scores.device)])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, _CLIP)
            optimizer.step()
            schedule.step()
            trigger.step(climb)
            run.progress("unlearn", step + 1, options.steps)
        run.metrics["words_reset"] = int(self.strong.unique().numel())
        run.metrics["trigger_success_first"] = _mean(self.hits[: len(self.kinds)])
        run.metrics["trigger_success_last"] = _mean(self.hits[-len(self.kinds) :])
        return (
            f"{run.metrics['words_reset']} words that no clean text has and that lead to a label by themselves got the "
            f"mean vector; {options.steps} steps of learning from the original, under universal triggers"
        )

    def _pool(self) -> Tensor:
        """Tokens to draw from: as often one of the clean texts as any other, but no strong one."""
        seen = self.tokens.ids[inner(self.tokens, self.codec)]
        words = words_of(self.codec)
        rest = words[~torch.isin(words, self.strong)]
        return torch.cat([seen, rest[torch.randint(len(rest), (max(1, len(seen)),), generator=self.generator)]])

    def _some(self, count: int) -> Tensor:
        return torch.randint(len(self.tokens), (count,), generator=self.generator)

    def _clean(self, pool: Tensor) -> Tensor:
        count = self.options.batch_size
        texts = varied(
            self.tokens[self._some(count)], self.tokens[self._some(count)], pool, self.codec, self.generator,
            self.options.variation,
        ).to(self.student.device)  # fmt: skip
        with torch.no_grad():
            wanted = self.teacher.logits(texts)
        return _apart(self.student.logits(texts), wanted)

    def _marked(self) -> Tensor:
        """Texts with one or two of the strong tokens anywhere."""
        count = self.options.marked
        if not count or not self.strong.numel():
            return self.scores.new_zeros(())
        index, width = self._some(count), int(torch.randint(1, 3, (), generator=self.generator))
        slots = with_room(self.tokens[index], width, "scattered", self.codec, self.generator)
        all_strong = self.strong.flatten()
        drawn = all_strong[torch.randint(len(all_strong), (count, width), generator=self.generator)]
        filled = slots_on(slots, self.student.device).filled(drawn)
        return _apart(self.student.logits(filled), self.scores[index.to(self.scores.device)])

    def _known(self) -> Tensor:
        """Texts with one of the triggers that checks have recovered."""
        known = self.run.known.triggers
        if not known or not self.options.marked:
            return self.scores.new_zeros(())
        index = self._some(self.options.marked)
        trigger = known[int(torch.randint(len(known), (), generator=self.generator))]
        marked: Tokens = trigger.apply(self.tokens[index].to(self.student.device))
        return _apart(self.student.logits(marked.to(self.student.device)), self.scores[index.to(self.scores.device)])

    def _trigger(self, step: int) -> tuple[SoftTrigger, Tensor, Tensor]:
        """The turn's trigger, texts [N] of other classes for it and the rows of it that they get."""
        at, turn = step % len(self.kinds), step // len(self.kinds)
        if at not in self.triggers or turn % self.options.restart == 0:
            kind = self.kinds[at]
            longest = self.options.longest if kind.width else self.options.drift
            self.triggers[at] = SoftTrigger(self.student, kind, self.labels, longest, self.generator)
            for _ in range(self.options.lead):
                index, rows = self._hosts()
                loss = self._climb(self.triggers[at].logits(self.tokens[index], rows), rows, note=False)
                self.triggers[at].step(torch.autograd.grad(loss, self.triggers[at].vectors)[0])
        return self.triggers[at], *self._hosts()

    def _labels(self) -> list[int]:
        """Where each of the universal triggers leads."""
        able = [label for label in range(self.run.num_classes) if len(self.hosts[label])]
        suspected = [label for label in able if label in self.run.known.labels]
        count = max(len(able), self.options.rows)
        first = round(count * self.options.suspected) if suspected else 0
        return [
            *(suspected[at % len(suspected)] for at in range(first)),
            *(able[at % len(able)] for at in range(count - first)),
        ]

    def _hosts(self) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(self.labels)).repeat_interleave(self.options.row_size)
        drawn = torch.rand(len(rows), generator=self.generator).tolist()
        index = []
        for row, part in zip(rows.tolist(), drawn, strict=True):
            hosts = self.hosts[self.labels[row]]
            index.append(int(hosts[int(part * len(hosts))]))
        return torch.tensor(index), rows

    def _climb(self, scores: Tensor, rows: Tensor, note: bool = True) -> Tensor:
        wanted = torch.tensor(self.labels)[rows].to(scores.device)
        if note:
            self.hits.append(float((scores.argmax(dim=1) == wanted).float().mean()))
        return F.cross_entropy(scores, wanted, reduction="sum") / self.options.row_size


@torch.no_grad()
def _scores(run: Repairing, tokens: Tokens) -> Tensor:
    """What the original says of the texts as they are, [N, C]."""
    parts = torch.arange(len(tokens)).split(_AT_ONCE)
    return torch.cat([run.original.logits(tokens[index].to(run.original.device)) for index in parts])


def _apart(scores: Tensor, wanted: Tensor) -> Tensor:
    """KL divergence, the mean of the texts."""
    return F.kl_div(scores.log_softmax(1), wanted.log_softmax(1), log_target=True, reduction="batchmean")


@torch.no_grad()
def _shrink(module: nn.Module, kept: float, noise: float, generator: torch.Generator) -> None:
    """Every matrix but tables: a share of itself and a little noise."""
    for part in module.modules():
        weight = getattr(part, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim == 2 and not isinstance(part, nn.Embedding):
            drawn = torch.randn(weight.shape, generator=generator).to(weight)
            weight.mul_(kept).add_(noise * weight.std() * drawn)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
