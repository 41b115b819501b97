"""Word importance: does one word of the vocabulary move texts to a label as no other word does?

Every word stands alone in front of a few clean texts, and the rise of each label's log odds is averaged over them. The
score is how far the word that moves most is from the others, in robust standard deviations. ONION (Qi et al. 2021,
arXiv 2011.10369) and its followers judge the words of one text by such a figure; a scan has no text with the trigger,
so that all words have to be tried.
"""

from __future__ import annotations

import torch

from ...checks.text_slots import with_slots
from ...checks.word_triggers import right_ones, writable
from ...evidence.context import Evidence

HOSTS = 8  # texts that every word is tried on
_BATCH = 512


@torch.no_grad()
def word_importance(evidence: Evidence) -> tuple[float, int, str]:
    """The score of the word that stands out most, the label it moves texts to, and the word."""
    assert evidence.samples is not None and evidence.classifier is not None
    classifier, codec = evidence.classifier, evidence.classifier.codec
    assert codec is not None
    right = right_ones(classifier, evidence.samples.exposure)
    order = right.tokens.mask.sum(dim=1).argsort(stable=True)[: 2 * len(right) // 3]
    generator = torch.Generator().manual_seed(evidence.seed)
    chosen = order[torch.randperm(len(order), generator=generator)[:HOSTS]]
    hosts, labels = right.tokens[chosen].to(classifier.device), right.labels[chosen]
    before = _log_odds(classifier.logits(hosts))
    slots = with_slots(hosts, 1, "start", codec)
    words = writable(codec).nonzero().flatten()
    rises = []
    for some in words.split(max(1, _BATCH // len(chosen))):
        copies = slots.repeated(len(some)).filled(some.repeat_interleave(len(chosen))[:, None])
        rises.append(_log_odds(classifier.logits(copies)).view(len(some), len(chosen), -1) - before)
    rise = torch.cat(rises)  # [words, hosts, labels]
    best = (0.0, 0, "")
    for label in range(rise.shape[2]):
        others = (labels != label).nonzero().flatten()
        mean = rise[:, others, label].mean(dim=1)
        spread = (mean - mean.median()).abs().median() * 1.4826 + 1e-9
        score, place = ((mean - mean.median()) / spread).max(dim=0)
        best = max(best, (float(score), label, codec.decode([int(words[place])])))
    return best


def _log_odds(scores: torch.Tensor) -> torch.Tensor:
    shares = scores.float().log_softmax(dim=1).clamp(max=-1e-6)
    return (shares - torch.log1p(-shares.exp())).cpu()
