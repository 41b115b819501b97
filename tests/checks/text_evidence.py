"""The tiny text classifiers as a scan has them before its checks run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ebyd_scan.evidence.context import Evidence
from ebyd_scan.scanner.models.identify import identify
from ebyd_scan.scanner.models.text_classifier import load_text_classifier
from ebyd_scan.scanner.models.tokenizer import read_codec
from ebyd_scan.scanner.request import TextOptions
from ebyd_scan.scanner.samples.texts import load_text_samples

from ..tiny_texts import NAMES, TextModels


def evidence_of(models: TextModels, name: str) -> Evidence:
    """`name` is `clean` or `backdoored`."""
    return evidence_beside(getattr(models, name), models.samples, NAMES)


def evidence_beside(place: Path, samples: Path, names: Sequence[str]) -> Evidence:
    """Of any folder with a table of texts."""
    codec = read_codec(place)
    texts = load_text_samples(
        samples, codec, options=TextOptions(), class_names=dict(enumerate(names)), seed=0, held_out=0.5,
        min_per_class=5, max_count=2000,
    )  # fmt: skip
    artifact = identify(place)
    return Evidence(artifact, 0, classifier=load_text_classifier(artifact, codec, "cpu"), samples=texts)
