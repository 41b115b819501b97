"""What a worker has said about one model, and the result that this makes.

Plain data without a process: an audit keeps it between the parts of a scan.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..evidence.finding import Finding, Outcome
from ..evidence.removal import MAX_CANDIDATES, CandidateInfo
from ..evidence.result import (
    ExposureInfo,
    ModelInfo,
    PolicyInfo,
    SamplesInfo,
    ScanResult,
    ToolInfo,
    Verdict,
)
from ..policies.decide import decide
from ..policies.load import LoadedPolicy
from . import events
from .handover import MAX_TRIGGERS, Handed, WordsForm
from .planted import Planted
from .removal_order import Repaired
from .request import ScanRequest
from .tool import tool_version


@dataclass
class Heard:
    """What the worker has said so far."""

    model: ModelInfo
    samples: SamplesInfo
    environment: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    exposure: ExposureInfo | None = None
    recovered: list[Handed] = field(default_factory=list)
    words: list[WordsForm] = field(default_factory=list)
    planted: Planted | None = None
    candidates: list[CandidateInfo] = field(default_factory=list)
    repaired: Repaired | None = None
    timings: dict[str, float] = field(default_factory=dict)
    stopped: str | None = None
    error: str | None = None
    usage: bool = False
    again: bool = False  # the error came of circumstances, a limit say: another try may go better
    lost: bool = False  # the worker went away by itself; nobody knows whether the model is to blame
    done: bool = False
    said: int = 0  # bytes

    @classmethod
    def nothing(cls, request: ScanRequest) -> Heard:
        """Before the first word."""
        return cls(
            ModelInfo(path=str(request.model), architecture=request.architecture),
            SamplesInfo(path=str(request.samples)),
        )

    def take(self, event: events.Event, request: ScanRequest) -> None:
        """Understand one event; progress is nothing to keep."""
        match event:
            case events.ModelEvent():
                self.model = event.model
            case events.SamplesEvent():
                self.samples = event.samples
            case events.EnvironmentEvent():
                self.environment = event.environment
            case events.FindingEvent():
                self.findings.append(event.finding)
            case events.ExposureEvent():
                earlier = self.exposure.runs if self.exposure else []
                self.exposure = ExposureInfo(method=event.run.method, runs=[*earlier, event.run])
            case events.RecoveredEvent():
                if not request.keep_witness or len(self.recovered) >= MAX_TRIGGERS:
                    self.error = f"{request.model}: the worker process handed over what nobody asked for"
                self.recovered.append(Handed(event.form))
            case events.PieceEvent():
                self._take(event.data, request)
            case events.WordsEvent():
                if not request.keep_witness or len(self.words) >= MAX_TRIGGERS:
                    self.error = f"{request.model}: the worker process handed over what nobody asked for"
                self.words.append(event.form)
            case events.PlantedEvent():
                if not request.plant or self.planted or event.planted.attack != request.plant.attack:
                    self.error = f"{request.model}: the worker process planted what nobody asked for"
                self.planted = event.planted
            case events.CandidateEvent():
                if not request.removal or len(self.candidates) >= MAX_CANDIDATES:
                    self.error = f"{request.model}: the worker process repaired what nobody asked for"
                else:
                    self.candidates.append(event.candidate)
            case events.RepairedEvent():
                if not request.removal or self.repaired:
                    self.error = f"{request.model}: the worker process repaired what nobody asked for"
                self.repaired = event.repaired
            case events.TimingEvent():
                self.timings[event.stage] = event.seconds
            case events.StoppedEvent():
                self.stopped = event.reason
            case events.ErrorEvent():
                self.error, self.usage, self.again = event.message, event.usage, event.again
            case events.DoneEvent():
                self.done = True

    def _take(self, data: str, request: ScanRequest) -> None:
        try:
            self.recovered[-1].add(data)
        except (IndexError, ValueError):
            self.error = f"{request.model}: the worker process handed over something else than it announced"


def result_of(request: ScanRequest, policy: LoadedPolicy, heard: Heard, started: str) -> ScanResult:
    """Every check of the policy gets a finding, so that no report is silent about one."""
    findings = list(heard.findings)
    silent_about = set(request.policy.checks) - {finding.check for finding in findings}
    if heard.done and not heard.stopped and silent_about:
        heard.error = f"{request.model}: the worker process gave no answer about {', '.join(sorted(silent_about))}"
    if heard.error:
        findings.append(Finding(check="scan", outcome=Outcome.ERROR, message=heard.error[:4000]))
    reached = {finding.check for finding in findings}
    why = heard.error or heard.stopped or "the scan did not reach it"
    for name in request.policy.checks:
        if name not in reached:
            message = f"not reached: {why}"[:4000]
            findings.append(Finding(check=name, outcome=Outcome.SKIPPED, message=message))
    verdict, reason = decide(request.policy, findings)
    if heard.error and verdict is not Verdict.FAILED:
        verdict, reason = Verdict.ERROR, heard.error
    return ScanResult(
        tool=ToolInfo(version=tool_version()),
        model=heard.model,
        samples=heard.samples,
        policy=PolicyInfo(name=request.policy.name, sha256=policy.sha256),
        seed=request.seed,
        started=started,
        verdict=verdict,
        reason=reason,
        findings=findings,
        exposure=heard.exposure,
        timings={stage: round(seconds, 3) for stage, seconds in heard.timings.items()},
        environment=heard.environment,
    )
