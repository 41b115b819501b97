"""What is made of a worker's repair: scanned anew, published whole or not at all, and what the verdict is then."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.evidence.errors import UsageError
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.evidence.removal import CandidateInfo
from ebyd_scan.evidence.result import ModelInfo, PolicyInfo, SamplesInfo, ScanResult, ToolInfo, Verdict
from ebyd_scan.policies.decide import decide
from ebyd_scan.policies.load import LoadedPolicy, load_policy
from ebyd_scan.scanner.models.identify import identify
from ebyd_scan.scanner.removal import Removal, check_removal, remove, with_method
from ebyd_scan.scanner.removal_order import Repaired
from ebyd_scan.scanner.request import ScanRequest

MODELS = Path(__file__).parents[2] / "fixtures" / "models"
GOOD = CandidateInfo(
    method="fine-tuning",
    applied=True,
    reason="trained",
    accuracy_before=0.95,
    accuracy_after=0.94,
    triggers=1,
    witness_success_before=0.9,
    witness_success_after=0.02,
    new_trigger_success=0.0,
    residual_exposure=False,
    accepted=True,
    why="All met.",
)
BAD = GOOD.model_copy(update={"accepted": False, "why": "A trigger still has success."})


class Scans:
    """Answers as the supervisor would; what the worker writes are the bytes of the clean digit model."""

    def __init__(self, policy: LoadedPolicy, **said: Any) -> None:
        self.policy = policy
        self.first = said.get("first", Outcome.FAILED)
        self.fresh = said.get("fresh", Outcome.PASSED)
        self.candidates: list[CandidateInfo] = said.get("candidates", [GOOD])
        self.repaired: Repaired | None = said.get(
            "repaired",
            Repaired(
                outcome="removed",
                reason="All met.",
                method="fine-tuning",
                accuracy=0.95,
                tensors_changed=3,
                tensors_total=20,
            ),
        )
        self.meanwhile: Callable[[Path], None] = said.get("meanwhile", lambda staging: None)
        self.requests: list[ScanRequest] = []

    def __call__(self, request: ScanRequest, on_repair: Any) -> ScanResult:
        self.requests.append(request)
        if on_repair is None:
            result = self._result(request, self.fresh)
            self.meanwhile(request.model)
            return result
        assert request.removal
        if self.repaired and self.repaired.method:
            request.removal.staging.write_bytes((MODELS / "digits-clean.safetensors").read_bytes())
        on_repair(self.candidates, self.repaired)
        return self._result(request, self.first)

    def _result(self, request: ScanRequest, outcome: Outcome) -> ScanResult:
        names = list(self.policy.policy.checks)
        findings = [Finding(check=name, outcome=Outcome.PASSED, message=f"{name}.") for name in names[:-1]]
        findings.append(Finding(check=names[-1], outcome=outcome, message=f"of {request.model}", label=7, score=3.0))
        verdict, reason = decide(self.policy.policy, findings)
        artifact = identify(request.model)
        model = artifact.model_dump(include={"sha256", "format"})
        return ScanResult(
            tool=ToolInfo(version="0"),
            model=ModelInfo(path=str(request.model), **model),
            samples=SamplesInfo(path="samples", sha256="5"),
            policy=PolicyInfo(name="p", sha256=self.policy.sha256),
            seed=request.seed,
            started="2026-01-01T00:00:00+00:00",
            verdict=verdict,
            reason=reason,
            findings=findings,
            timings={"total": 2.0},
        )


def _policy(tmp_path: Path, removal: str = "{}") -> LoadedPolicy:
    path = tmp_path / "policy.yaml"
    path.write_text(f"version: 1\nname: p\nchecks: {{file-safety: , model-detection: }}\nremoval: {removal}\n")
    return load_policy(str(path))


def _run(tmp_path: Path, scans: Scans, force: bool = False) -> tuple[ScanResult, Path]:
    out = tmp_path / "outs" / "out.safetensors"
    out.parent.mkdir()
    request = ScanRequest(
        model=MODELS / "digits-badnets.safetensors", samples=Path("s.npz"), policy=scans.policy.policy, seed=4
    )
    return remove(request, scans.policy, Removal(out, force=force), scans), out


def _names(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir())


def test_removed(tmp_path: Path) -> None:
    scans = Scans(_policy(tmp_path))
    result, out = _run(tmp_path, scans)
    assert result.verdict is Verdict.FAILED and result.removal and result.removal.output
    assert result.removal.outcome == "removed" and result.removal.verdict_before is Verdict.FAILED
    assert _names(out) == ["out.safetensors", "out.safetensors.provenance.json"]
    assert result.removal.output.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    first, second = scans.requests
    assert first.removal and second.removal is None and second.model == first.removal.staging and second.seed == 6
    assert str(second.model) not in result.model_dump_json()
    assert result.timings == {"total": 4.0, "scan of what was written": 2.0}
    saved = json.loads(out.with_name("out.safetensors.provenance.json").read_text())
    assert saved["figures"]["accepted"] and "with seed 6 is passed" in saved["notes"][-1]


def test_weights_that_did_not_change_are_no_repair(tmp_path: Path) -> None:
    same = Repaired(outcome="removed", reason="All met.", method="fine-tuning", accuracy=0.95, tensors_total=20)
    result, _ = _run(tmp_path, Scans(_policy(tmp_path), repaired=same))
    assert result.verdict is Verdict.FAILED and result.removal and result.removal.outcome == "not-accepted"
    assert "has the weights that the model had" in result.removal.reason


@pytest.mark.parametrize("fresh", [Outcome.FAILED, Outcome.INCONCLUSIVE])
def test_the_scan_of_what_was_written_has_the_last_word(fresh: Outcome, tmp_path: Path) -> None:
    result, out = _run(tmp_path, Scans(_policy(tmp_path), fresh=fresh))
    assert result.verdict is Verdict.FAILED and result.removal and result.removal.outcome == "not-accepted"
    assert "A scan of what was written is" in result.removal.reason
    saved = json.loads(out.with_name("out.safetensors.provenance.json").read_text())
    assert not saved["figures"]["accepted"]


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ({}, Verdict.PASSED),
        ({"first": Outcome.INCONCLUSIVE}, Verdict.PASSED),
        ({"fresh": Outcome.FAILED}, Verdict.FAILED),
        ({"first": Outcome.INCONCLUSIVE, "fresh": Outcome.INCONCLUSIVE}, Verdict.FAILED),
        ({"first": Outcome.INCONCLUSIVE, "repaired": None}, Verdict.FAILED),
    ],
)
def test_verdict_of_the_repaired_model(said: dict[str, Any], verdict: Verdict, tmp_path: Path) -> None:
    policy = _policy(tmp_path, "{verdict_of: repaired}")
    result, out = _run(tmp_path, Scans(policy, **said))
    assert result.verdict is verdict and result.removal and result.removal.verdict_of == "repaired"
    assert decide(policy.policy, result.judged.findings) == (verdict, result.reason)
    assert (result.judged.model.path == str(out)) == (verdict is Verdict.PASSED)


def test_nothing_to_remove(tmp_path: Path) -> None:
    nothing = Repaired(outcome="nothing-to-remove", reason="2 checks passed.", accuracy=0.99)
    scans = Scans(_policy(tmp_path), first=Outcome.PASSED, candidates=[], repaired=nothing)
    result, out = _run(tmp_path, scans)
    assert result.verdict is Verdict.PASSED and result.removal and result.removal.outcome == "nothing-to-remove"
    assert out.read_bytes() == (MODELS / "digits-badnets.safetensors").read_bytes()
    assert len(scans.requests) == 1


def _change(staging: Path) -> None:
    staging.write_bytes((MODELS / "digits-badnets.safetensors").read_bytes())


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"repaired": None}, "was not reached"),
        ({"repaired": Repaired(outcome="error", reason="No remover.", accuracy=0)}, "No remover."),
        ({"repaired": Repaired(outcome="nothing-to-remove", reason="", accuracy=0)}, "not trusted"),
        ({"candidates": []}, "not trusted"),
        ({"candidates": [BAD]}, "not trusted"),
        ({"fresh": Outcome.ERROR}, "could not be scanned"),
        ({"meanwhile": _change}, "has changed since it was scanned"),
        (
            {"meanwhile": lambda staging: (staging.parent.parent / staging.name).write_bytes(b"mine")},
            "is there already and is not overwritten",
        ),
    ],
)
def test_errors_leave_nothing(said: dict[str, Any], why: str, tmp_path: Path) -> None:
    result, out = _run(tmp_path, Scans(_policy(tmp_path), **said))
    assert result.removal and result.removal.outcome == "error" and result.removal.output is None
    assert why in result.removal.reason
    assert result.verdict is Verdict.FAILED  # of the original, as it was
    assert _names(out) in ([], ["out.safetensors"]) and (not out.exists() or out.read_bytes() == b"mine")


def test_a_forced_repair_that_breaks_is_no_pass(tmp_path: Path) -> None:
    broken = Repaired(outcome="error", reason="No remover.", accuracy=0)
    result, _ = _run(tmp_path, Scans(_policy(tmp_path), first=Outcome.PASSED, repaired=broken), force=True)
    assert result.verdict is Verdict.ERROR and "removal: No remover." in result.reason


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(_staging: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, Scans(_policy(tmp_path), meanwhile=interrupt))
    assert not list((tmp_path / "outs").iterdir())


def test_method(tmp_path: Path) -> None:
    policy = _policy(tmp_path)
    changed = with_method(policy, Removal(Path("o"), method="nad"))
    assert changed.policy.removal.tried == ["nad"] and changed.sha256 == policy.sha256
    with pytest.raises(UsageError, match="did you mean 'nad'"):
        with_method(policy, Removal(Path("o"), method="nadd"))
    blind = replace(policy, policy=policy.policy.model_copy(update={"checks": {"file-safety": {}}}))
    with pytest.raises(UsageError, match="no check that looks for a backdoor"):
        with_method(blind, Removal(Path("o")))


def test_refusals_name_the_option(tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    model.write_bytes((MODELS / "digits-clean.safetensors").read_bytes())
    request = ScanRequest(model=model, samples=Path("s"), policy=_policy(tmp_path).policy)
    with pytest.raises(UsageError, match=r"^--remove-to .*would overwrite"):
        check_removal(request, Removal(model, option="--remove-to"), [model])
    check_removal(request, Removal(tmp_path / "out.safetensors"), [model])
