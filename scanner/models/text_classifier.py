"""A Hugging Face folder with a text classifier -> classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...evidence.artifact import Artifact
from ...evidence.classifier import Classifier
from ...evidence.errors import ScanError
from ...evidence.tokens import Tokens
from .architecture import first_line
from .huggingface import load_folder
from .outputs import return_scores

if TYPE_CHECKING:
    from torch import Tensor

    from .tokenizer import FolderCodec


def load_text_classifier(
    artifact: Artifact, codec: FolderCodec, device: str, *, remote_code: bool = False
) -> Classifier:
    """Load the folder's sequence classifier, in eval mode, float32 and on `device`, and try it on two short texts.

    Raises MissingExtra without transformers, ScanError, one sentence, for what cannot be loaded or does not run.
    """
    import torch

    from .probe import check_finite

    module, name = load_folder(artifact, "AutoModelForSequenceClassification", remote_code=remote_code)
    check_finite(artifact, module)
    rows = module.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    if len(codec.vocabulary) > rows:
        raise ScanError(
            f"{artifact.path}: the tokenizer has {len(codec.vocabulary)} tokens and the model {rows}: the two do not "
            "belong together"
        )
    try:
        module = return_scores(module.to(torch.device(device)))
    except (RuntimeError, AssertionError) as error:
        raise ScanError(f"{artifact.path} cannot be put on {device} ({first_line(error)}): try --device cpu") from None
    for parameter in module.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    classifier = Classifier(
        module, 0, (), (), device, name, trainable=True, has_batch_norm=False, codec=codec
    )  # fmt: skip
    scores = _probe(artifact, classifier, codec.encode(["a short text", "and one that is a little longer"]))
    from dataclasses import replace

    return replace(classifier, num_classes=scores.shape[1])


def _probe(artifact: Artifact, classifier: Classifier, texts: Tokens) -> Tensor:
    import torch

    try:
        with torch.no_grad():
            scores = classifier.logits(texts.to(classifier.device))
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
    return scores
