"""Scans one model of the zoo as the release gate does, and with every baseline; results are kept a model a file."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...evidence.artifact import Artifact
from ...evidence.context import Evidence
from ...evidence.finding import Finding, Outcome
from ...evidence.samples import CleanSamples
from ...policies.load import load_policy
from ...policies.plugins import build_checks, build_exposer
from ..baselines import BASELINES
from ..zoo.data import DATA_SETS
from ..zoo.read import ZooModel, clean_samples

SCAN = "ebyd-scan"
SAMPLE_SEED = 7  # of the draw of clean samples; calibration draws with others


def scan(model: ZooModel, samples: CleanSamples, *, seed: int, policy: str = "release-gate") -> dict[str, Any]:
    """Exposure and the checks after it, with the policy's settings; the file checks have nothing to say here."""
    rules = load_policy(policy).policy
    classifier = model.classifier()
    artifact = Artifact(path=model.path, format="safetensors", sha256="0" * 64, size=model.path.stat().st_size)
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    exposer = build_exposer(rules)
    runs = [exposer.expose(classifier, samples, seed=1000 * seed + index).run for index in range(rules.exposure.seeds)]
    seconds["expose"] = time.perf_counter() - started
    evidence = Evidence(artifact=artifact, seed=seed, classifier=classifier, samples=samples, exposures=runs)
    findings: dict[str, Finding] = {}
    for check in build_checks(rules):
        if check.stage == "exposure":
            begun = time.perf_counter()
            findings[check.id] = check.run(evidence)
            seconds[check.id] = time.perf_counter() - begun
    found = findings["model-detection"]
    return {
        "outcome": found.outcome.value,
        "score": found.score,
        "label": found.label,
        "labels": found.metrics.get("suspect_labels", ""),
        "family": found.witness.family if found.witness else None,
        "witness_asr": found.witness.attack_success_rate if found.witness else None,
        "metrics": found.metrics,
        "message": found.message,
        "collapse": findings["backdoor-label"].label if "backdoor-label" in findings else None,
        "seconds": {**seconds, "all": time.perf_counter() - started},
    }


def detected(result: dict[str, Any]) -> bool:
    """Whether the gate failed the model."""
    return bool(result["outcome"] == Outcome.FAILED)


def stored(model: ZooModel, out: Path) -> dict[str, Any]:
    """What is known about a model so far; only its card where nothing is."""
    path = out / f"{model.name}.json"
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"card": model.card}
    return known


def work(model: ZooModel, data: Path, out: Path, per_class: int, seed: int, baselines: tuple[str, ...]) -> str:
    """Measure what is not stored yet about one model, in a process of its own on one thread; returns its name."""
    import torch

    torch.set_num_threads(1)
    record = stored(model, out)
    samples = None
    for name in (SCAN, *baselines):
        if name in record:
            continue
        samples = samples or clean_samples(DATA_SETS[model.card["data"]](data), per_class, seed=seed + SAMPLE_SEED)
        if name == SCAN:
            record[name] = scan(model, samples, seed=seed)
        else:
            record[name] = asdict(BASELINES[name]().detect(model.classifier(), samples, seed=seed))
        partial = out / f"{model.name}.part"
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        partial.replace(out / f"{model.name}.json")
    return model.name
