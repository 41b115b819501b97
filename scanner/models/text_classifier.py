"""A Hugging Face folder with a text classifier -> classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...checks.folder_files import CONFIG
from ...evidence.artifact import Artifact
from ...evidence.classifier import Classifier
from ...evidence.errors import ScanError
from ...evidence.tokens import Tokens
from .architecture import first_line
from .huggingface import load_folder
from .outputs import return_scores
from .placement import group_of, put_on

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .tokenizer import FolderCodec

_BY_PADDING: Final = 0.01  # of the largest score: what rounding may change


def load_text_classifier(
    artifact: Artifact, codec: FolderCodec, device: str, *, remote_code: bool = False
) -> Classifier:
    """Load the folder's sequence classifier, in eval mode, float32 and on `device`, and try it on two short texts.

    `device` may be a group (placement.py); the classifier's is then its first member.
    Raises MissingExtra without transformers, ScanError, one sentence, for what cannot be loaded or does not run.
    """
    from .probe import check_finite

    module, name = load_folder(artifact, "AutoModelForSequenceClassification", remote_code=remote_code)
    check_finite(artifact, module)
    if (problem := getattr(module.config, "problem_type", None)) not in (None, "single_label_classification"):
        raise ScanError(
            f"{artifact.path}: {CONFIG} says {str(problem)[:60]!r}: only models that give a text one of their classes "
            "are scanned"
        )
    if artifact.base and module.config.pad_token_id is None:  # type: ignore[union-attr]
        module.config.pad_token_id = codec.padding  # type: ignore[union-attr]  # as whoever trained it had to do
    rows = len(_table(artifact, module).weight)
    if len(codec.vocabulary) > rows:
        raise ScanError(
            f"{artifact.path}: the tokenizer has {len(codec.vocabulary)} tokens and the model {rows}: the two do not "
            "belong together"
        )
    try:
        module = return_scores(put_on(module, device))
    except (RuntimeError, AssertionError) as error:
        raise ScanError(f"{artifact.path} cannot be put on {device} ({first_line(error)}): try --device cpu") from None
    for parameter in module.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    classifier = Classifier(
        module, 0, (), (), group_of(device)[0], name, trainable=True, has_batch_norm=False, codec=codec
    )  # fmt: skip
    scores = _probe(artifact, classifier, codec.encode(["a short text", "and one that is a little longer"]))
    from dataclasses import replace

    return replace(classifier, num_classes=scores.shape[1])


def _table(artifact: Artifact, module: Any) -> nn.Embedding:
    """The vectors of the tokens, by which trigger words are searched."""
    from torch import nn

    try:
        table = module.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        table = None
    # Encoder-decoders see a text twice, the second time moved by one place.
    if not isinstance(table, nn.Embedding) or getattr(module.config, "is_encoder_decoder", False):
        raise ScanError(
            f"{artifact.path} ({type(module).__name__}) does not look up each token once in a table of vectors, in "
            "which trigger words are searched: this kind of model is not supported"
        )
    return table


def _probe(artifact: Artifact, classifier: Classifier, texts: Tokens) -> Tensor:
    import torch

    try:
        with torch.no_grad():
            scores = classifier.logits(texts.to(classifier.device))
            alone = classifier.logits(texts[:1].to(classifier.device))
    except ScanError as error:
        raise ScanError(f"{artifact.path}: {error}") from None
    except Exception as error:
        raise ScanError(f"{artifact.path} does not run on texts ({first_line(error)}): is it whole?") from None
    if scores.ndim != 2 or len(scores) != len(texts) or scores.shape[1] < 2:
        raise ScanError(
            f"{artifact.path} answers {len(texts)} texts with {list(scores.shape)}: a classifier with two classes or "
            "more is needed"
        )
    if not bool(torch.isfinite(scores).all()):
        raise ScanError(f"{artifact.path} answers short texts with NaN or infinity: its weights are broken")
    if float((scores[0] - alone[0]).abs().max()) > _BY_PADDING * max(1.0, float(scores.abs().max())):
        raise ScanError(
            f"{artifact.path} answers a text differently when it is padded on the right: check that the tokenizer's "
            f"token for padding is pad_token_id in {CONFIG}; models that need another side are not supported"
        )
    return scores
