"""Measures the stages of one model's scan, in a process of its own: `python -m ... NAME PATH` prints a line of JSON.

CPU seconds are the process's own, user and system, on one thread: other work on the machine hardly changes them. The
search and the exposure are shortened, their passes counted.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..checks.calibration import FAMILIES_IN_ORDER
from ..checks.model_detection import ModelDetection
from ..checks.predictions import predicted
from ..checks.text_slots import with_slots
from ..checks.trigger_inversion import Replay
from ..checks.trigger_search import Search, search
from ..checks.word_search import search_words, toward
from ..checks.word_triggers import recover_words
from ..evidence.artifact import Artifact
from ..evidence.classifier import Classifier
from ..evidence.context import Evidence
from ..evidence.samples import CleanSamples, SamplePart
from ..evidence.tokens import Tokens
from ..exposers.clean_unlearning import CleanUnlearning
from .scaling_formula import FORWARD, SEARCH, TRAIN
from .scaling_models import CLASSES, MAX_TOKENS, SIDE, Rung, rung

WHOLE_SAMPLES = 500  # of a scan whose passes are counted
STEPS = 6  # of the search that is measured
SEEDS = 2  # what the first one exposed must be gone at the second


class Stages:
    """CPU and wall seconds, passes and the memory peak of every stage, as they end."""

    def __init__(self) -> None:
        self.measured: dict[str, dict[str, Any]] = {}
        self.calls = 0
        self.units: dict[str, int] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what is done within."""
        self.calls, self.units = 0, {}
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self.measured[name] = {
            "cpu": time.process_time() - cpu,
            "wall": time.perf_counter() - wall,
            "peak": peak_bytes(),
            "calls": self.calls,
            "units": self.units,
        }

    def count(self, classifier: Classifier, grad_kind: str) -> None:
        """Count the passes of the module and its copies from now on; those with gradients are of `grad_kind`."""

        def note(module: object, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            units = named["input_ids"].numel() if "input_ids" in named else len(args[0])
            kind = grad_kind if torch.is_grad_enabled() else FORWARD
            self.calls += 1
            self.units[kind] = self.units.get(kind, 0) + units

        for key in [*classifier.module._forward_pre_hooks]:
            classifier.module._forward_pre_hooks.pop(key)
        classifier.module.register_forward_pre_hook(note, with_kwargs=True)


def peak_bytes() -> int:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(one: Rung, path: Path) -> dict[str, Any]:
    """The stages of a shortened scan, the model's size and the FLOPs of a forward pass of one unit."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if one.family != "convnet":
        from ..scanner.models.huggingface import import_transformers

        import_transformers()
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)  # what is imported late is no part of a stage
    stages, base, start = Stages(), peak_bytes(), time.process_time()
    with stages.stage("read file"):
        artifact = _identify(path)
    with stages.stage("load"):
        classifier, samples = _load(one, artifact, one.samples)
    stages.count(classifier, TRAIN)
    with stages.stage("sample-fit"):
        for part in (samples.exposure, samples.held_out):
            predicted(classifier, part.inputs)
    exposer = CleanUnlearning(max_epochs=1, stop_accuracy=1e-6)
    with stages.stage("expose"):
        for seed in range(SEEDS):
            exposer.expose(classifier, samples, seed=seed)
    stages.count(classifier, SEARCH)
    with stages.stage("search"):
        (_search_words if one.family == "bert" else _search_pictures)(artifact, classifier, samples)
    weights = sum(parameter.numel() for parameter in classifier.module.parameters())
    return {
        "name": one.name,
        "parameters": weights,
        "flops": _flops(classifier, samples),
        "base": base,
        "start": start,
        "stages": stages.measured,
    }


def _identify(path: Path) -> Artifact:
    from ..scanner.models.identify import identify

    return identify(path)


def _load(one: Rung, artifact: Artifact, count: int) -> tuple[Classifier, CleanSamples]:
    if one.family == "bert":
        return _load_text(artifact, count)
    from ..scanner.models.load import load_classifier

    classifier = load_classifier(
        artifact,
        architecture="ebyd_scan.benchmarks.scaling_models:make",
        arch_args={"name": one.name},
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        input_shape=(3, SIDE, SIDE),
        device="cpu",
        allow_pickle=False,
    )
    classifier.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = torch.rand(2 * count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return classifier, _samples(pixels, torch.arange(2 * count) % CLASSES, CLASSES)


def _load_text(artifact: Artifact, count: int) -> tuple[Classifier, CleanSamples]:
    from ..fixtures.review_texts import reviews
    from ..scanner.models.text_classifier import load_text_classifier
    from ..scanner.models.tokenizer import read_codec

    codec = read_codec(artifact.path, MAX_TOKENS, artifact.path)
    classifier = load_text_classifier(artifact, codec, "cpu")
    texts, labels = reviews(2 * count, 1)
    return classifier, _samples(codec.encode(texts), torch.as_tensor(labels).long(), 2)


def _samples(inputs: torch.Tensor | Tokens, labels: torch.Tensor, classes: int) -> CleanSamples:
    half = len(labels) // 2
    first, second = slice(0, half), slice(half, 2 * half)
    halves = SamplePart(inputs[first], labels[first]), SamplePart(inputs[second], labels[second])
    return CleanSamples(Path("made"), "0" * 64, classes, tuple(map(str, range(classes))), *halves)


def _search_pictures(artifact: Artifact, classifier: Classifier, samples: CleanSamples) -> None:
    evidence = Evidence(artifact=artifact, seed=0, classifier=classifier, samples=samples)
    replay = Replay(classifier, samples.held_out)
    search(evidence, list(range(CLASSES)), None, "patch", Search(STEPS, 4), replay)


def _search_words(artifact: Artifact, classifier: Classifier, samples: CleanSamples) -> None:
    codec = classifier.codec
    assert codec is not None
    hosts = with_slots(samples.exposure.tokens[:8], 1, "start", codec)
    banned = torch.zeros(len(codec.vocabulary), dtype=torch.bool)
    search_words(
        [toward(classifier, len(hosts), 0)],
        hosts,
        banned,
        steps=STEPS,
        candidates=8,
        sweeps=1,
        generator=torch.Generator().manual_seed(0),
    )


def _flops(classifier: Classifier, samples: CleanSamples) -> float:
    """Of a forward pass of a picture, or a token in a text as long as the samples are; 2 a multiplication with sum."""
    from torch.utils.flop_counter import FlopCounterMode

    inputs = samples.exposure.inputs[:8]
    units = inputs.ids.numel() if isinstance(inputs, Tokens) else len(inputs)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        classifier.logits(inputs)
    return float(counter.get_total_flops()) / units


def whole(one: Rung, path: Path) -> dict[str, Any]:
    """The passes of a whole search by release-gate's check, counted; nothing is shortened."""
    torch.set_num_threads(1)
    artifact = _identify(path)
    classifier, samples = _load(one, artifact, WHOLE_SAMPLES)
    stages, evidence = Stages(), Evidence(artifact=artifact, seed=0, classifier=classifier, samples=samples)
    stages.count(classifier, SEARCH)
    with stages.stage("search"):
        if one.family == "bert":
            recover_words(evidence, [0, 1], ModelDetection().word_steps)
        else:
            replay = Replay(classifier, samples.held_out)
            for family in FAMILIES_IN_ORDER:
                search(evidence, list(range(CLASSES)), None, family, Search(150, 16), replay)
    return {"name": one.name, "flops": _flops(classifier, samples), "stages": stages.measured}


if __name__ == "__main__":
    answer = whole if "--whole" in sys.argv else measure
    print(json.dumps(answer(rung(sys.argv[1]), Path(sys.argv[2]))))
