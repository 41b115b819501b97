"""The seeded runs of a policy's exposer, and checks that are run on what they give."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

from ..evidence.context import Check, Evidence, Progress
from ..evidence.errors import ScanError
from ..evidence.finding import Finding, Outcome
from ..policies.model import Policy
from ..policies.plugins import build_exposer
from .out_of_memory import is_out_of_memory

if TYPE_CHECKING:
    from ..evidence.classifier import Classifier
    from ..evidence.exposure import Exposure
    from ..evidence.samples import CleanSamples


def expose(
    policy: Policy,
    classifier: Classifier,
    samples: CleanSamples,
    *,
    seed: int,
    stage: str,
    progress: Progress,
    known: Container[int] = (),
) -> Iterator[Exposure]:
    """An exposure a seed, each when it is done; none of the seeds that are `known`."""
    classifier = to_expose(classifier, samples)
    exposer = build_exposer(policy)
    seeds = [1000 * seed + index for index in range(policy.exposure.seeds)]
    for number, one in enumerate(seeds, 1):
        if one in known:
            continue

        def show(_: str, done: int, total: int, number: int = number) -> None:
            progress(f"{stage}, run {number} of {len(seeds)}", done, total)

        yield exposer.expose(classifier, samples, seed=one, progress=show)


def to_expose(classifier: Classifier, samples: CleanSamples) -> Classifier:
    """The classifier itself, or another one with the BatchNorm that its ONNX graph lacks."""
    if classifier.architecture != "onnx":
        return classifier
    from .models.onnx_file import with_batch_norm

    return with_batch_norm(classifier, samples)


def run_check(check: Check, evidence: Evidence) -> Finding:
    """What the check finds; a plug-in's bug must cost its own finding only."""
    try:
        return check.run(evidence)
    except (ScanError, MemoryError):
        raise
    except Exception as problem:
        if is_out_of_memory(problem):  # says nothing about the model, and more may be had
            raise
        import traceback

        traceback.print_exc()
        message = f"{check.id} broke: {type(problem).__name__}: {problem}"
        return Finding(check=check.id, outcome=Outcome.ERROR, message=message[:1000])
