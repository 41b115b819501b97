"""Repairs one model of the zoo by every remover and by `auto`, and measures with the true trigger what is left.

Results are kept a model a file. Removers get what a scan of the model gives them (triggers, labels, exposed models) and
the exposure part of the samples; accuracy and attack success are of pictures that neither the scan nor a remover saw.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...evidence.artifact import Artifact
from ...evidence.classifier import Classifier
from ...evidence.context import Evidence, silent
from ...evidence.finding import Finding
from ...evidence.repair import Known, KnownTrigger
from ...evidence.samples import CleanSamples
from ...fixtures.attacks.interface import Attack
from ...fixtures.planter import Recipe, accuracy, attack_success_rate
from ...policies.load import load_policy
from ...policies.model import Policy
from ...policies.plugins import build_checks, build_remover
from ...scanner.expose import expose, run_check
from ...scanner.repair import RepairOutcome, repair, suspected_labels
from ..detection.measure import stored
from ..zoo.build import make_attack
from ..zoo.cards import CARDS
from ..zoo.data import DATA_SETS, DataSet
from ..zoo.read import ZooModel, clean_samples

AUTO, SCAN = "auto", "scan"
SAMPLE_SEED = 11  # of the draw of clean samples; detection and calibration draw with others
NEEDS_SCAN = (AUTO, "rnp", "trigger-unlearning", "universal-unlearning")


@dataclass
class Scanned:
    """What a scan of the original gives to a repair."""

    evidence: Evidence
    findings: list[Finding]
    triggers: list[KnownTrigger]
    exposed: list[Classifier] = field(default_factory=list)

    @property
    def known(self) -> Known:
        """As removers get it."""
        return Known(tuple(self.triggers), suspected_labels(self.findings, self.triggers), tuple(self.exposed))


def scan(policy: Policy, classifier: Classifier, samples: CleanSamples, path: Path, seed: int) -> Scanned:
    """The exposure and the checks after it, with the policy's settings."""
    triggers: list[KnownTrigger] = []
    exposures = list(expose(policy, classifier, samples, seed=seed, stage="expose", progress=silent))
    evidence = Evidence(
        artifact=Artifact(path=path, format="safetensors", sha256="0" * 64, size=0),
        seed=seed,
        classifier=classifier,
        samples=samples,
        exposures=[exposure.run for exposure in exposures],
        keep_known=triggers.append,
    )
    findings = [run_check(check, evidence) for check in build_checks(policy) if check.stage == "exposure"]
    return Scanned(evidence, findings, triggers, [exposure.classifier for exposure in exposures])


class Truth:
    """What the attacker knows: the true trigger, on pictures that no scan sees."""

    def __init__(self, model: ZooModel, data: DataSet) -> None:
        card = next(card for card in CARDS if card.name == model.name)
        self.attack: Attack | None = make_attack(card)
        self.recipe = Recipe(epochs=1, mean=data.mean, std=data.std)
        self.images, self.labels = data.held

    def measure(self, classifier: Classifier) -> dict[str, float | None]:
        """Clean accuracy, and attack success where there is an attack."""
        images, labels, module = self.images, self.labels, classifier.module
        asr = attack_success_rate(module, self.attack, images, labels, self.recipe) if self.attack else None
        return {"accuracy": accuracy(module, images, labels, self.recipe), "asr": asr}


def work(model: ZooModel, data: Path, out: Path, per_class: int, seed: int, methods: Sequence[str]) -> str:
    """Measure what is not stored yet about one model, in a process of its own on one thread; returns its name."""
    import torch

    torch.set_num_threads(1)
    record = stored(model, out)
    missing = [name for name in methods if name not in record]
    if not missing:
        return model.name
    policy = load_policy("release-gate").policy
    of_zoo = DATA_SETS[model.card["data"]](data)
    samples = clean_samples(of_zoo, per_class, seed=seed + SAMPLE_SEED)
    classifier, truth = model.classifier(), Truth(model, of_zoo)
    classifier.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    record["before"] = truth.measure(classifier)
    scanned = None
    if set(missing) & set(NEEDS_SCAN):
        started = time.perf_counter()
        scanned = scan(policy, classifier, samples, model.path, seed)
        found = next(one for one in scanned.findings if one.check == "model-detection")
        record[SCAN] = {
            "outcome": found.outcome.value,
            "labels": list(scanned.known.labels),
            "families": [trigger.family for trigger in scanned.triggers],
            "seconds": time.perf_counter() - started,
        }
    for name in missing:
        if name == AUTO:
            assert scanned
            record |= _auto(policy, scanned, truth, seed)
        else:
            record[name] = _single(name, policy, classifier, samples, scanned, truth, seed)
        _save(record, out / f"{model.name}.json")
    return model.name


def _single(
    name: str,
    policy: Policy,
    classifier: Classifier,
    samples: CleanSamples,
    scanned: Scanned | None,
    truth: Truth,
    seed: int,
) -> dict[str, Any]:
    remover = build_remover(name, policy.removal.options.get(name, {}))
    made = remover.remove(classifier, samples, scanned.known if scanned else Known(), seed=seed)
    return {
        **truth.measure(made.classifier),
        "applied": made.run.applied,
        "reason": made.run.reason,
        "seconds": made.run.seconds,
    }


def _auto(policy: Policy, scanned: Scanned, truth: Truth, seed: int) -> dict[str, Any]:
    """As `remove --force` repairs; the remover that it took has the same seed alone, so its figures are known too."""
    started = time.perf_counter()
    made: RepairOutcome = repair(
        policy, scanned.evidence, scanned.findings, scanned.triggers, scanned.exposed, seed=seed
    )
    seconds = time.perf_counter() - started
    if made.repaired is None or made.chosen is None:
        return {AUTO: {"accepted": False, "applied": False, "seconds": seconds}}
    chosen, figures = made.candidates[made.chosen], truth.measure(made.repaired)
    passes = chosen.new_trigger_success
    if chosen.residual_exposure is None:  # it was not looked at afresh
        fresh = scan(policy, made.repaired, scanned.evidence.samples, scanned.evidence.artifact.path, seed + 1)  # type: ignore[arg-type]
        outcome = next(one for one in fresh.findings if one.check == "model-detection").outcome.value
    else:
        outcome = "passed" if passes == 0 else "not passed"
    auto = {
        **figures,
        "applied": True,
        "accepted": made.accepted,
        "method": chosen.method,
        "fresh": outcome,
        "candidates": [info.model_dump() for info in made.candidates],
        "seconds": seconds,
    }
    own = {**figures, "applied": True, "reason": chosen.reason, "seconds": chosen.seconds}
    return {AUTO: auto, chosen.method: own}


def _save(record: dict[str, Any], path: Path) -> None:
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
