"""A plan of the shipped models, and an executor whose answers are written down beforehand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ebyd_scan.evidence.exposure import ExposureRun, TrajectoryStep
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.evidence.result import ModelInfo, SamplesInfo
from ebyd_scan.scanner import events
from ebyd_scan.scanner.audit.auditor import Settings, State
from ebyd_scan.scanner.audit.executors.interface import Ended, Task
from ebyd_scan.scanner.audit.options import NOTHING_SAID
from ebyd_scan.scanner.audit.plan import Plan, Planned
from ebyd_scan.scanner.audit.run import Run, run_audit
from ebyd_scan.scanner.audit.store import Store
from ebyd_scan.scanner.digests import file_digest
from ebyd_scan.scanner.supervisor import Stop

MODELS = Path(__file__).parents[2] / "fixtures" / "models"
SAMPLES = MODELS / "digits-samples.npz"
POLICY = """\
version: 1
name: short
exposure: {method: clean-unlearning, seeds: 1}
checks:
  file-safety: {}
  sample-fit: {}
  backdoor-label: {}
  model-detection: {families: [patch], steps: 100, min_per_class: 10}
samples: {max_count: 400}
limits: {timeout: 300, memory: 6}
"""


def options(path: Path, policy: Path | str = "quick", **more: Any) -> dict[str, Any]:
    """What `read_request` takes for a digits model."""
    return {
        **NOTHING_SAID,
        "model": path,
        "samples": SAMPLES,
        "architecture": "ebyd_scan.fixtures.networks:plain_convnet",
        "arch_args": {"channels": 1, "width": 16},
        "mean": (0.3,),
        "std": (0.35,),
        "policy_name": str(policy),
        **more,
    }


def plan_of(source: Path, paths: dict[str, Path], policy: Path | str = "quick", **more: Any) -> Plan:
    """A plan of these models by name."""
    planned = [Planned(name, path, options(path, policy, **more), "here") for name, path in paths.items()]
    return Plan(source, tuple(planned))


def audit(
    plan: Plan,
    store: Path,
    executor: Any,
    *,
    stop: Stop | None = None,
    state: State | None = None,
    **settings: Any,
) -> Run:
    """Run an audit with a connection of its own."""
    opened = Store(store)
    try:
        return run_audit(
            plan, opened, lambda: executor, Settings(**settings), state=state or State(), stop=stop or Stop()
        )
    finally:
        opened.close()


def finding(check: str, outcome: Outcome = Outcome.PASSED, **more: Any) -> Finding:
    """What a check says."""
    return Finding(check=check, outcome=outcome, message="it said so", **more)


def exposure(seed: int = 0) -> ExposureRun:
    """A run of two steps."""
    step = TrajectoryStep(step=0, accuracy=0.5, histogram=[1, 1])
    return ExposureRun(
        method="clean-unlearning", seed=seed, converged=True, reason="done", trajectory=[step], before=step, after=step
    )


class Scripted:
    """Answers by what is written for a model's name and tier; without that, a scan in which all checks pass."""

    name = "scripted"
    slots = 1

    def __init__(self, script: Callable[[Task], list[Any] | None] = lambda task: None) -> None:
        self.script = script
        self.tasks: list[Task] = []

    def run(self, next_task: Any, hear: Any, more: Any, stop: Stop) -> None:
        """One after the other."""
        while more():
            task = next_task()
            if task is None:  # what was left may have come to its end without one
                assert not more(), "nothing is to be done, and there is more"
                return
            self.tasks.append(task)
            said = self.script(task)
            for one in self.usual(task) if said is None else said:
                hear(task, one)
                if isinstance(one, Ended):
                    break

    def usual(self, task: Task) -> list[Any]:
        """All checks pass."""
        path = task.request.model
        model = ModelInfo(path=str(path), sha256=file_digest(path), format="safetensors")
        samples = SamplesInfo(path=str(SAMPLES), sha256=file_digest(SAMPLES), count=4, classes=2)
        part = task.request.part
        assert part
        said: list[Any] = [events.ModelEvent(model=model)]
        if part.tier == "static":
            return [*said, events.FindingEvent(finding=finding("file-safety")), Ended()]
        said += [events.SamplesEvent(samples=samples), events.EnvironmentEvent(environment={"device": "cpu"})]
        if part.tier == "exposure":
            label = finding("backdoor-label", label=self.label(task), score=0.3)
            checks = [events.FindingEvent(finding=one) for one in (finding("sample-fit"), label)]
            return [*said, events.ExposureEvent(run=exposure()), *checks, Ended(timings={"expose": 1.0})]
        return [*said, events.FindingEvent(finding=finding("model-detection")), Ended()]

    def label(self, task: Task) -> int | None:
        """That exposure names."""
        return 7 if "bad" in task.request.model.name else None

    def close(self) -> None:
        """Nothing is open."""

    @property
    def order(self) -> list[tuple[str, str]]:
        """Model and tier of each task, as they were given."""
        return [(task.request.model.name, task.request.part.tier) for task in self.tasks if task.request.part]
