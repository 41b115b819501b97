"""Removers in order, on a backdoored digit model: what is kept, what is passed over, and why."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.evidence.context import Evidence
from ebyd_scan.evidence.finding import Finding, Outcome, Witness
from ebyd_scan.evidence.removal import CandidateInfo
from ebyd_scan.evidence.repair import KnownTrigger, Repair, RepairRun
from ebyd_scan.policies.load import load_policy
from ebyd_scan.policies.model import AcceptSettings, Policy
from ebyd_scan.scanner import repair as repairing
from ebyd_scan.scanner import repair_figures as figures
from ebyd_scan.scanner.repair import repair, suspected_labels
from ebyd_scan.scanner.repair_figures import FreshLook, accuracy, shortfalls, success

torch = pytest.importorskip("torch")
MODELS = Path(__file__).parents[2] / "fixtures" / "models"
TARGET = 7


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    from ebyd_scan.scanner.inputs import inputs_of
    from ebyd_scan.scanner.models.identify import identify
    from ebyd_scan.scanner.request import ScanRequest

    torch.set_num_threads(1)
    request = ScanRequest(
        model=MODELS / "digits-badnets.safetensors",
        samples=MODELS / "digits-samples.npz",
        policy=load_policy("release-gate").policy,
        architecture="ebyd_scan.fixtures.networks:plain_convnet",
        arch_args={"channels": 1, "width": 16},
        mean=(0.3,),
        std=(0.35,),
    )
    artifact = identify(request.model)
    inputs = inputs_of(request, artifact)
    samples = inputs.samples()
    return Evidence(artifact=artifact, seed=0, classifier=inputs.classifier(artifact, samples, "cpu"), samples=samples)


@pytest.fixture(scope="module")
def trigger() -> KnownTrigger:
    """The attacker's own, as if a check had found it whole."""

    def put(pixels: Any) -> Any:
        from ebyd_scan.fixtures.attacks.badnets import BadNets

        pictures = (pixels.permute(0, 2, 3, 1) * 255).round().byte().cpu().numpy()
        marked = BadNets(target=TARGET).apply(pictures)
        return torch.from_numpy(marked).permute(0, 3, 1, 2).float() / 255

    return KnownTrigger("patch", TARGET, put)


FAILED = Finding(check="model-detection", outcome=Outcome.FAILED, message="", label=TARGET)


class Gives:
    """A remover that gives what it was told to."""

    id = "gives"

    def __init__(self, change: Any, *, applied: bool = True) -> None:
        self.change, self.applied = change, applied
        self.seen: list[Any] = []

    def remove(self, classifier: Any, samples: Any, known: Any, *, seed: int, progress: Any) -> Repair:
        self.seen.append((known, seed))
        module = copy.deepcopy(classifier.module)
        self.change(module)
        run = RepairRun(method=self.id, seed=seed, applied=self.applied, reason="as told")
        return Repair(classifier.with_module(module), run)


def _breaks(_module: Any) -> None:
    raise ZeroDivisionError("oh")


def _ruins(module: Any) -> None:
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)


def _as_it_is(_module: Any) -> None:
    pass


def _policy(*names: str, **accept: Any) -> Policy:
    policy = load_policy("release-gate").policy
    removal = policy.removal.model_copy(
        update={"candidates": list(names), "accept": AcceptSettings(**accept) if accept else policy.removal.accept}
    )
    return policy.model_copy(update={"removal": removal})


@pytest.fixture
def removers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Gives]:
    given = {
        "ruins": Gives(_ruins),
        "nothing": Gives(_as_it_is),
        "breaks": Gives(_breaks),
        "idle": Gives(_as_it_is, applied=False),
    }
    monkeypatch.setattr(repairing, "build_remover", lambda name, options: given[name])
    return given


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[FreshLook]:
    """What the fresh looks see, one after the other; without any left a look is a mistake."""
    answers: list[FreshLook] = []
    monkeypatch.setattr(repairing, "look_afresh", lambda *args, **more: answers.pop(0))
    return answers


def test_figures_of_the_shipped_model(evidence: Evidence, trigger: KnownTrigger) -> None:
    assert evidence.classifier and evidence.samples
    assert accuracy(evidence.classifier, evidence.samples.held_out) > 0.97
    assert success(evidence.classifier, evidence.samples.held_out, trigger) > 0.9
    shifted = replace(trigger, label=-1)  # each class to the next: only sixes go to 7
    assert success(evidence.classifier, evidence.samples.held_out, shifted) < 0.3


def test_none_is_good_enough(evidence: Evidence, trigger: KnownTrigger, removers: Any, looks: Any) -> None:
    told: list[CandidateInfo] = []
    policy = _policy("breaks", "idle", "ruins", "nothing")
    outcome = repair(policy, evidence, [FAILED], [trigger], ["exposed"], seed=5, on_candidate=told.append)  # type: ignore[list-item]
    assert told == outcome.candidates
    broke, idle, ruined, same = outcome.candidates
    assert not broke.applied and "ZeroDivisionError: oh" in broke.why
    assert not idle.applied and idle.why == "It did nothing: as told"
    assert ruined.applied and ruined.accuracy_after is not None and ruined.accuracy_after < 0.3
    assert "clean accuracy falls" in ruined.why.lower() and ruined.new_trigger_success is None
    assert same.witness_success_after == same.witness_success_before and "still has" in same.why
    assert not outcome.accepted and outcome.chosen in (2, 3) and outcome.repaired is not None
    known, seed = removers["nothing"].seen[0]
    assert (known.labels, known.triggers, known.exposed, seed) == ((TARGET,), (trigger,), ("exposed",), 5)


def test_the_first_good_one_is_kept(evidence: Evidence, removers: Any, looks: list[FreshLook]) -> None:
    looks += [FreshLook(0.4, residual_exposure=False), FreshLook(0.0, residual_exposure=False)]
    outcome = repair(_policy("nothing", "nothing", "ruins"), evidence, [FAILED], [], [], seed=0)
    # Names are tried once each; no trigger is known, so that only the fresh look can tell.
    assert [info.method for info in outcome.candidates] == ["nothing", "ruins"]
    assert not outcome.accepted and outcome.chosen == 0
    assert "suspicious new trigger has 40% success" in outcome.candidates[0].why
    outcome = repair(_policy("nothing", "ruins"), evidence, [FAILED], [], [], seed=0)
    assert outcome.accepted and outcome.chosen == 0 and len(outcome.candidates) == 1


def test_nothing_to_choose_from(evidence: Evidence, removers: Any, looks: Any) -> None:
    outcome = repair(_policy("breaks", "no-such"), evidence, [FAILED], [], [], seed=0)
    assert (outcome.repaired, outcome.chosen, outcome.accepted) == (None, None, False)
    assert [info.applied for info in outcome.candidates] == [False, False]


def test_shortfalls() -> None:
    good = CandidateInfo(
        method="m",
        applied=True,
        reason="",
        accuracy_before=0.95,
        accuracy_after=0.94,
        witness_success_after=0.1,
        new_trigger_success=0.0,
        residual_exposure=False,
    )
    accept = AcceptSettings()
    assert not shortfalls(good, accept)
    for name, value, beyond in [
        ("accuracy_after", 0.91, 1.0),
        ("witness_success_after", 0.3, 2.0),
        ("new_trigger_success", 0.2, 1.0),
        ("new_trigger_success", None, 1.0),
        ("residual_exposure", True, 1.0),
        ("residual_exposure", None, 1.0),
    ]:
        missed = shortfalls(good.model_copy(update={name: value}), accept)
        assert list(missed.values()) == pytest.approx([beyond]), name
    residual = good.model_copy(update={"residual_exposure": True})
    assert not shortfalls(residual, AcceptSettings(allow_residual_exposure=True))
    unknown = good.model_copy(update={"new_trigger_success": None, "residual_exposure": None})
    assert not shortfalls(unknown, accept, fresh=False)


def test_suspected_labels(trigger: KnownTrigger) -> None:
    passed = FAILED.model_copy(update={"outcome": Outcome.PASSED})
    assert suspected_labels([passed], [trigger]) == ()
    unsure = Finding(check="x", outcome=Outcome.INCONCLUSIVE, message="", label=3)
    assert suspected_labels([unsure], [trigger]) == (3,)
    many = FAILED.model_copy(update={"metrics": {"suspect_labels": "7 2"}})
    everywhere = replace(trigger, label=-1)
    assert suspected_labels([many], [trigger, everywhere]) == (7, 2)


@pytest.mark.parametrize(
    ("outcomes", "share"),
    [
        ([Outcome.PASSED], 0.0),
        ([Outcome.SKIPPED], None),
        ([Outcome.ERROR, Outcome.PASSED], None),
        ([Outcome.INCONCLUSIVE], 0.25),
        ([Outcome.FAILED], 1.0),
    ],
)
def test_success_of_new_triggers(
    outcomes: list[Outcome], share: float | None, evidence: Evidence, trigger: KnownTrigger
) -> None:
    assert evidence.classifier and evidence.samples
    witness = Witness(family="patch", label=7, size=1, control_sizes={}, attack_success_rate=0.25, samples=9)
    findings = [Finding(check="model-detection", outcome=one, message="", witness=witness) for one in outcomes]
    premise = Finding(check="backdoor-label", outcome=Outcome.FAILED, message="")
    found = figures._new_trigger_success(
        [premise, *findings], [trigger], evidence.classifier, evidence.samples.held_out
    )
    assert found == (share if share != 1.0 else pytest.approx(1.0, abs=0.1))


def test_triggers_leave_the_check(evidence: Evidence) -> None:
    """`model-detection` hands over what fails the model, and what leads where nothing does."""
    from ebyd_scan.checks.model_detection import ModelDetection

    for steps, outcome in ((150, Outcome.FAILED), (60, Outcome.PASSED)):
        known: list[KnownTrigger] = []
        check = ModelDetection(families=("patch",), steps=steps)
        finding = check.run(replace(evidence, keep_known=known.append))
        assert finding.outcome is outcome and [one.label for one in known] == [TARGET]
        assert evidence.classifier and evidence.samples and finding.witness
        replayed = success(evidence.classifier, evidence.samples.held_out, known[0])
        assert replayed == pytest.approx(finding.witness.attack_success_rate)


def test_whole_way(evidence: Evidence, trigger: KnownTrigger) -> None:
    """Fine-tuning with the trigger that is known, judged by a fresh look of its own."""
    policy = _policy("trigger-unlearning")
    fast = {"exposure": policy.exposure.model_copy(update={"seeds": 3})}
    checks = {"backdoor-label": {}, "model-detection": {"families": ["patch"], "steps": 60}}
    policy = policy.model_copy(update=fast | {"checks": checks})
    stages: set[str] = set()
    seen = replace(evidence, progress=lambda stage, done, total: stages.add(stage))
    outcome = repair(policy, seen, [FAILED], [trigger], [], seed=0)
    info = outcome.candidates[0]
    assert outcome.repaired is not None and evidence.classifier and evidence.samples
    assert info.witness_success_before is not None and info.witness_success_before > 0.9
    assert info.witness_success_after is not None and info.witness_success_after < 0.2
    assert success(outcome.repaired, evidence.samples.held_out, trigger) == info.witness_success_after
    assert success(evidence.classifier, evidence.samples.held_out, trigger) == info.witness_success_before
    assert any(stage.startswith("repair 1 of 1, trigger-unlearning: ") for stage in stages)
