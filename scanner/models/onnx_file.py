"""ONNX: a graph as a module that can be trained, and the proof that it is the same function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...evidence.artifact import Artifact
from ...evidence.errors import MissingExtra, ScanError
from ...evidence.finding import Finding, Outcome
from .onnx_graph.module import OnnxClassifier

if TYPE_CHECKING:
    from onnx import ModelProto

    from ...evidence.classifier import Classifier
    from ...evidence.samples import CleanSamples
    from .onnx_graph.ends import Ends

PARITY = "onnx-parity"
_SAMPLES = 32  # that both run


def load_onnx(artifact: Artifact, shape: tuple[int, int, int]) -> OnnxClassifier:
    """The module of a file in eval mode, for pictures of `shape` (channels, H, W).

    Raises ScanError, one sentence, where the file or the weights beside it cannot be read or an operator is not known;
    MissingExtra without onnx.
    """
    model, ends = _read(artifact, shape)
    from .onnx_graph.batches import settle
    from .onnx_graph.build import opsets_of, plan_of

    try:
        plan = plan_of(model.graph, opsets_of(model), ends.batch, wanted=(ends.scores,))
        module = OnnxClassifier(plan, ends.input, ends.layout).eval()
        if ends.batch is not None:
            settle(module, ends.batch, shape)
    except ScanError as error:
        raise ScanError(f"{artifact.path}: {error}") from None
    return module


def _read(artifact: Artifact, shape: tuple[int, int, int]) -> tuple[ModelProto, Ends]:
    """The file, and where pictures go in and scores come out."""
    try:
        from ...checks.onnx_read import read_model
        from .onnx_graph.ends import find_ends
        from .onnx_graph.linear import spell_out
    except ModuleNotFoundError:
        raise MissingExtra("onnx", "onnx") from None
    model = spell_out(read_model(artifact.path))
    try:
        return model, find_ends(model.graph, shape)
    except ScanError as error:
        raise ScanError(f"{artifact.path}: {error}") from None


def with_batch_norm(classifier: Classifier, samples: CleanSamples) -> Classifier:
    """To expose: with BatchNorm after the convolutions where the graph normalises nothing; else as it is.

    Exporters fold BatchNorm into convolutions, and what clean unlearning then collapses onto is often a wrong label
    (docs/results.md). Statistics are those of the exposure samples; the scores are not quite those of the file.
    """
    from .onnx_graph.insert import insert_batch_norm, lacks_normalisation

    module = classifier.module
    if not isinstance(module, OnnxClassifier) or module.apart or not lacks_normalisation(module.plan):
        return classifier
    pixels = samples.exposure.pixels
    mean, std = (pixels.new_tensor(values).view(1, -1, 1, 1) for values in (classifier.mean, classifier.std))
    inserted = insert_batch_norm(module, (pixels - mean) / std, even=True)
    return classifier.with_module(inserted)


def prove(artifact: Artifact, classifier: Classifier, samples: CleanSamples) -> Finding:
    """Whether the module gives the scores that onnxruntime gives for the file, on the user's samples.

    Inconclusive where it does not: what is then found says nothing about the file.
    """
    from .onnx_graph.parity import TOLERANCE, compare

    pixels = samples.held_out.pixels[:_SAMPLES].to(classifier.device)
    shape = (int(pixels.shape[1]), int(pixels.shape[2]), int(pixels.shape[3]))
    model, ends = _read(artifact, shape)
    assert isinstance(classifier.module, OnnxClassifier)
    mean, std = (pixels.new_tensor(values).view(1, -1, 1, 1) for values in (classifier.mean, classifier.std))
    try:
        parity = compare(model, classifier.module, (pixels - mean) / std, ends.batch)
    except ScanError:
        raise
    except Exception as error:  # whatever onnxruntime says of a file that it does not take
        reason = " ".join(str(error).split())[:300]
        return Finding(check=PARITY, outcome=Outcome.INCONCLUSIVE, message=f"onnxruntime cannot run the file: {reason}")
    difference = min(parity.difference, 1e9)
    if parity.holds:
        message = "The scores are those that onnxruntime gives."
    else:
        message = (
            f"The graph, read as a torch module, does not give onnxruntime's scores (off by {parity.difference:.2g}): "
            f"the first node that differs is {parity.node}. What the checks would find would not be about this file."
        )
    return Finding(
        check=PARITY,
        outcome=Outcome.PASSED if parity.holds else Outcome.INCONCLUSIVE,
        message=message,
        score=difference,
        threshold=TOLERANCE,
        metrics={"difference": difference, "samples": len(pixels)},
    )
