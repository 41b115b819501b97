"""The order of the stages, what stops them, and a check that breaks."""

from __future__ import annotations

import itertools
import weakref
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.evidence.artifact import Artifact
from ebyd_scan.evidence.context import Evidence
from ebyd_scan.evidence.errors import ScanError, UsageError
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.policies.load import load_policy
from ebyd_scan.scanner import events
from ebyd_scan.scanner import scan as scan_module
from ebyd_scan.scanner.compute import resolve_device
from ebyd_scan.scanner.expose import expose
from ebyd_scan.scanner.request import ScanRequest
from ebyd_scan.scanner.scan import _run_checks, scan

torch = pytest.importorskip("torch")
MODELS = Path(__file__).parents[2] / "fixtures" / "models"
EVIDENCE = Evidence(artifact=Artifact(path=Path("m"), format="safetensors", sha256="0" * 64, size=1), seed=0)


class Breaks:
    id = "breaks"
    stage = "model"

    def run(self, evidence: Evidence) -> Finding:
        raise ZeroDivisionError("oh")


class Counts:
    id = "counts"
    stage = "model"

    def run(self, evidence: Evidence) -> Finding:
        return Finding(check="counts", outcome=Outcome.PASSED, message="", score=len(evidence.findings))


class GivesUp(Breaks):
    def run(self, evidence: Evidence) -> Finding:
        raise ScanError("no way")


def test_a_check_that_breaks_costs_its_own_finding_only() -> None:
    said: list[events.Event] = []
    checks: list[Any] = [Breaks(), Counts()]
    after = _run_checks(checks, "model", EVIDENCE, said.append)
    assert [finding.outcome for finding in after.findings] == [Outcome.ERROR, Outcome.PASSED]
    assert "breaks broke: ZeroDivisionError: oh" in after.findings[0].message
    assert after.findings[1].score == 1  # it has seen what came before
    assert len([event for event in said if isinstance(event, events.FindingEvent)]) == 2
    assert not _run_checks(checks, "exposure", EVIDENCE, said.append).findings


def test_an_error_that_a_person_can_act_on_ends_the_scan() -> None:
    checks: list[Any] = [GivesUp()]
    with pytest.raises(ScanError, match="no way"):
        _run_checks(checks, "model", EVIDENCE, lambda event: None)


def _request(tmp_path: Path, checks: str, **changes: Any) -> ScanRequest:
    (tmp_path / "policy.yaml").write_text(f"version: 1\nname: test\nchecks: {checks}\nexposure: {{seeds: 1}}\n")
    values: dict[str, Any] = {
        "model": MODELS / "digits-clean.safetensors",
        "samples": MODELS / "digits-samples.npz",
        "architecture": "ebyd_scan.fixtures.networks:plain_convnet",
        "arch_args": {"channels": 1, "width": 16},
        "mean": (0.3,),
        "std": (0.35,),
        "device": "cpu",
        "policy": load_policy(str(tmp_path / "policy.yaml")).policy,
        **changes,
    }
    return ScanRequest(**values)


def test_what_a_seed_exposed_is_let_go_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory formula of docs/scaling.md has one exposed copy in it, not two."""
    still_there: list[bool] = []

    def watched(*args: Any, **options: Any) -> Any:
        runs = expose(*args, **options)
        while one := list(itertools.islice(runs, 1)):
            exposed = weakref.ref(one[0].classifier.module)
            yield one.pop()
            still_there.append(exposed() is not None)

    monkeypatch.setattr(scan_module, "expose", watched)
    samples, other = MODELS / "digits-samples.npz", MODELS / "digits-badnets.safetensors"
    request = _request(tmp_path, "{backdoor-label: {}, reference-drift: {}}", reference=other, samples=samples)
    policy = request.policy.model_copy(update={"exposure": request.policy.exposure.model_copy(update={"seeds": 2})})
    scan(request.model_copy(update={"policy": policy}), lambda event: None)
    assert still_there == [False] * 4  # two of the model, two of the reference


def test_the_stages_come_in_order(tmp_path: Path) -> None:
    said: list[events.Event] = []
    # Written backwards: the stage decides, not the policy.
    scan(_request(tmp_path, "{backdoor-label: {min_runs: 1}, sample-fit: {}, file-safety: {}}"), said.append)
    kinds = [event.kind for event in said if event.kind not in ("progress", "timing")]
    assert kinds == ["model", "finding", "samples", "environment", "model", "finding", "exposure", "finding"]
    found = [event.finding.check for event in said if isinstance(event, events.FindingEvent)]
    assert found == ["file-safety", "sample-fit", "backdoor-label"]
    stages = {event.stage for event in said if isinstance(event, events.TimingEvent)}
    assert {"read file", "load samples", "load model", "expose", "backdoor-label"} <= stages


def test_an_unsafe_file_is_never_loaded(tmp_path: Path) -> None:
    import pickle

    (tmp_path / "model.pkl").write_bytes(pickle.dumps(print))
    said: list[events.Event] = []
    # The samples do not exist: nobody gets as far as that.
    request = _request(tmp_path, "{file-safety: {}, sample-fit: {}}", model=tmp_path / "model.pkl", samples="nowhere")
    scan(request, said.append)
    assert said[-1].kind == "stopped"
    assert not any(event.kind in ("samples", "environment") for event in said)


def test_devices() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda:0" if torch.cuda.is_available() else "cpu")
    with pytest.raises(UsageError, match="--device cuda:99"):
        resolve_device("cuda:99")
