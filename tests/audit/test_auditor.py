"""The loop of an audit: tiers, what is not done twice, retries, models that are the same, two audits at once."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.evidence.audit import Audit
from ebyd_scan.evidence.finding import Outcome
from ebyd_scan.evidence.result import Verdict
from ebyd_scan.scanner import events
from ebyd_scan.scanner.audit.assemble import audit_from
from ebyd_scan.scanner.audit.auditor import State
from ebyd_scan.scanner.audit.audits import audits
from ebyd_scan.scanner.audit.claims import Claims
from ebyd_scan.scanner.audit.executors.interface import Ended, Task
from ebyd_scan.scanner.audit.since import since_last
from ebyd_scan.scanner.audit.store import Store
from ebyd_scan.scanner.supervisor import Stop

from .audit_parts import POLICY, Scripted, audit, finding, plan_of

pytest.importorskip("torch")
OLD = 1_700_000_000  # long ago, so that a file's time of change is trusted; ctime cannot be set


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Three files of three contents; the moments after a change are waited for elsewhere."""
    monkeypatch.setattr("ebyd_scan.scanner.audit.signature.SETTLED_SECONDS", -60)
    found = {}
    for name in ("a", "bad", "c"):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(name.encode() * 20)
        os.utime(path, (OLD, OLD))
        found[name] = path
    return found


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY, encoding="utf-8")
    return path


def told(store: Path, number: int = -1) -> Audit:
    opened = Store(store)
    try:
        return audit_from(opened, audits(opened)[number])
    finally:
        opened.close()


def verdicts(store: Path) -> dict[str, Verdict]:
    return {model.name: model.result.verdict for model in told(store).models}


def test_cheap_tiers_of_all_models_come_first_and_the_most_suspicious_is_searched_first(
    tmp_path: Path, paths: dict[str, Path], policy: Path
) -> None:
    class Suspicious(Scripted):
        def usual(self, task: Task) -> list[Any]:
            said = super().usual(task)
            for index, one in enumerate(said):
                if isinstance(one, events.FindingEvent) and one.finding.check == "backdoor-label":
                    score = 0.9 if "bad" in task.request.model.name else 0.1
                    said[index] = events.FindingEvent(finding=one.finding.model_copy(update={"score": score}))
            return said

    executor = Suspicious()
    came = audit(plan_of(tmp_path, paths, policy), tmp_path / "s.sqlite", executor)
    assert came.finished and not came.resumed
    assert [tier for _, tier in executor.order] == ["static"] * 3 + ["exposure"] * 3 + ["search"] * 3
    assert executor.order[6][0] == "bad.safetensors"
    assert set(verdicts(tmp_path / "s.sqlite").values()) == {Verdict.PASSED}


def test_later_tiers_are_told_what_the_earlier_ones_found(tmp_path: Path, paths: dict[str, Path], policy: Path) -> None:
    executor = Scripted()
    audit(plan_of(tmp_path, {"a": paths["a"]}, policy), tmp_path / "s.sqlite", executor)
    parts = [task.request.part for task in executor.tasks]
    assert parts[0] and parts[1] and parts[2]
    assert parts[0].sha256 is None and parts[1].sha256 is not None
    assert [one.check for one in parts[2].findings] == ["file-safety", "sample-fit", "backdoor-label"]
    assert [run.seed for run in parts[2].exposures] == [0]


def test_a_second_run_asks_the_store_alone(tmp_path: Path, paths: dict[str, Path], policy: Path) -> None:
    plan, store = plan_of(tmp_path, paths, policy), tmp_path / "s.sqlite"
    audit(plan, store, Scripted())
    executor = Scripted()
    came = audit(plan, store, executor)
    assert came.finished and came.audit == 2 and executor.tasks == []
    assert {model.source for model in told(store).models} == {"store"}
    assert [m.result.findings for m in told(store, 0).models] == [m.result.findings for m in told(store, 1).models]


def test_a_changed_model_is_scanned_again(tmp_path: Path, paths: dict[str, Path], policy: Path) -> None:
    plan, store = plan_of(tmp_path, paths, policy), tmp_path / "s.sqlite"
    audit(plan, store, Scripted())
    paths["a"].write_bytes(b"other" * 20)
    executor = Scripted()
    audit(plan, store, executor)
    assert {name for name, _ in executor.order} == {"a.safetensors"}


@pytest.mark.parametrize("change", [{"mean": (0.4,)}, {"seed": 1}, {"arch_args": {"channels": 1, "width": 8}}])
def test_other_settings_are_another_question(
    tmp_path: Path, paths: dict[str, Path], policy: Path, change: dict[str, Any]
) -> None:
    store = tmp_path / "s.sqlite"
    audit(plan_of(tmp_path, paths, policy), store, Scripted())
    executor = Scripted()
    audit(plan_of(tmp_path, paths, policy, **change), store, executor)
    assert len(executor.tasks) > 0


def test_limits_are_not(tmp_path: Path, paths: dict[str, Path], policy: Path) -> None:
    store = tmp_path / "s.sqlite"
    audit(plan_of(tmp_path, paths, policy), store, Scripted())
    executor = Scripted()
    audit(plan_of(tmp_path, paths, policy, timeout=7.0, device="cpu"), store, executor)
    assert executor.tasks == []


def test_the_same_model_under_two_names_is_scanned_once(tmp_path: Path, paths: dict[str, Path], policy: Path) -> None:
    twin = tmp_path / "twin.safetensors"
    twin.write_bytes(paths["a"].read_bytes())
    executor = Scripted()
    audit(plan_of(tmp_path, {**paths, "twin": twin}, policy), tmp_path / "s.sqlite", executor)
    assert sum(tier == "search" for _, tier in executor.order) == 3
    models = {model.name: model for model in told(tmp_path / "s.sqlite").models}
    assert models["twin"].result.verdict is Verdict.PASSED
    assert models["twin"].result.model.path == str(twin)
    assert models["twin"].result.findings == models["a"].result.findings


def test_only_suspects(tmp_path: Path, paths: dict[str, Path], policy: Path) -> None:
    executor = Scripted()
    store = tmp_path / "s.sqlite"
    audit(plan_of(tmp_path, paths, policy), store, executor, search="suspects")
    assert [name for name, tier in executor.order if tier == "search"] == ["bad.safetensors"]
    found = told(store).models
    assert [model.result.verdict for model in found] == [
        Verdict.INCONCLUSIVE, Verdict.PASSED, Verdict.INCONCLUSIVE,
    ]  # fmt: skip
    assert "only suspects are searched" in found[0].result.findings[-1].message
    later = Scripted()
    audit(plan_of(tmp_path, paths, policy), store, later)  # the cheap tiers are known
    assert [tier for _, tier in later.order] == ["search", "search"]


def test_a_scan_that_stops_is_an_answer(tmp_path: Path, paths: dict[str, Path], policy: Path) -> None:
    def script(task: Task) -> list[Any] | None:
        if "bad" in task.request.model.name and task.request.part and task.request.part.tier == "static":
            said = Scripted().usual(task)
            failed = events.FindingEvent(finding=finding("file-safety", Outcome.FAILED))
            return [said[0], failed, Ended(stopped="the file check stopped the scan")]
        return None

    executor = Scripted(script)
    store = tmp_path / "s.sqlite"
    audit(plan_of(tmp_path, paths, policy), store, executor)
    assert [tier for name, tier in executor.order if name.startswith("bad")] == ["static"]
    assert verdicts(store)["bad"] is Verdict.ERROR  # as a scan answers where the file is not safe
    again = Scripted()
    audit(plan_of(tmp_path, paths, policy), store, again)
    assert again.tasks == []


def test_a_lost_worker_is_tried_again_and_a_second_time_it_is_an_error(
    tmp_path: Path, paths: dict[str, Path], policy: Path
) -> None:
    lost: list[str] = []

    def script(task: Task) -> list[Any] | None:
        part = task.request.part
        assert part
        if part.tier == "search" and "bad" in task.request.model.name:
            lost.append("bad")
            return [Ended("was killed", again=True, lost=True)]
        if part.tier == "search" and "c." in task.request.model.name and "c" not in lost:
            lost.append("c")
            return [Ended("was killed", again=True, lost=True)]
        return None

    store = tmp_path / "s.sqlite"
    audit(plan_of(tmp_path, paths, policy), store, Scripted(script))
    assert lost.count("bad") == 2
    assert verdicts(store) == {"a": Verdict.PASSED, "bad": Verdict.ERROR, "c": Verdict.PASSED}


def test_errors_of_circumstances_are_tried_by_the_next_audit(
    tmp_path: Path, paths: dict[str, Path], policy: Path
) -> None:
    def script(task: Task) -> list[Any] | None:
        part = task.request.part
        assert part
        slow = part.tier == "exposure" and "bad" in task.request.model.name
        return [Ended("took longer than the limit", again=True)] if slow else None

    store = tmp_path / "s.sqlite"
    audit(plan_of(tmp_path, paths, policy), store, Scripted(script))
    assert verdicts(store)["bad"] is Verdict.ERROR
    executor = Scripted()
    audit(plan_of(tmp_path, paths, policy), store, executor)
    assert executor.order == [("bad.safetensors", "exposure"), ("bad.safetensors", "search")]
    assert verdicts(store)["bad"] is Verdict.PASSED
    assert told(store, 0).models[1].result.verdict is Verdict.ERROR  # what it said then, it says still


def test_what_the_file_is_does_not_change_by_trying(tmp_path: Path, paths: dict[str, Path], policy: Path) -> None:
    def script(task: Task) -> list[Any] | None:
        return [Ended("is no model")] if "bad" in task.request.model.name else None

    store = tmp_path / "s.sqlite"
    audit(plan_of(tmp_path, paths, policy), store, Scripted(script))
    executor = Scripted()
    audit(plan_of(tmp_path, paths, policy), store, executor)
    assert executor.tasks == [] and verdicts(store)["bad"] is Verdict.ERROR


def test_a_stopped_audit_goes_on(tmp_path: Path, paths: dict[str, Path], policy: Path) -> None:
    executor, stop = stopped_after(5)
    plan, store = plan_of(tmp_path, paths, policy), tmp_path / "s.sqlite"
    came = audit(plan, store, executor, stop=stop)
    assert not came.finished and told(store).ended is None
    assert all(model.result.verdict is Verdict.ERROR for model in told(store).models)
    rest = Scripted()
    came = audit(plan, store, rest)
    assert came.resumed and came.finished and came.audit == 1
    assert len(rest.tasks) == 5 and set(verdicts(store).values()) == {Verdict.PASSED}


def test_samples_that_change_on_the_way_spoil_what_is_said(
    tmp_path: Path, paths: dict[str, Path], policy: Path
) -> None:
    class Changed(Scripted):
        def usual(self, task: Task) -> list[Any]:
            return [
                one.model_copy(update={"samples": one.samples.model_copy(update={"sha256": "0" * 64})})
                if isinstance(one, events.SamplesEvent)
                else one
                for one in super().usual(task)
            ]

    store = tmp_path / "s.sqlite"
    audit(plan_of(tmp_path, {"a": paths["a"]}, policy), store, Changed())
    found = told(store).models[0].result
    assert found.verdict is Verdict.ERROR and "has changed since the audit began" in found.reason
    assert [one.check for one in found.findings if one.outcome is Outcome.PASSED] == ["file-safety"]


@pytest.mark.parametrize("when", ["before the search", "while it is searched"])
def test_code_that_changes_on_the_way_spoils_what_is_said(
    when: str, tmp_path: Path, paths: dict[str, Path], policy: Path
) -> None:
    """What was found with the code as it was is kept; what may have been found with another is not."""
    code = tmp_path / "nets.py"
    code.write_text("def make(): ...\n")

    class Edited(Scripted):
        def run(self, next_task: Any, hear: Any, more: Any, stop: Stop) -> None:
            def edited() -> Any:
                if when == "before the search" and len(self.tasks) == 2:
                    code.write_text("def make(): return 1\n")
                return next_task()

            super().run(edited, hear, more, stop)

        def usual(self, task: Task) -> Any:
            for one in super().usual(task):
                if when == "while it is searched" and task.request.part and task.request.part.tier == "search":
                    code.write_text("def make(): return 2\n")
                yield one

    store = tmp_path / "s.sqlite"
    plan = plan_of(tmp_path, {"a": paths["a"]}, policy, architecture=f"{code}:make", arch_args={})
    executor = Edited()
    came = audit(plan, store, executor)
    assert came.finished
    assert len(executor.tasks) == (3 if when == "while it is searched" else 2)
    found = told(store).models[0].result
    assert found.verdict is Verdict.ERROR and f"{code} has changed since the audit began" in found.reason
    passed = [one.check for one in found.findings if one.outcome is Outcome.PASSED]
    assert passed == ["file-safety", "sample-fit", "backdoor-label"]
    again = Scripted()
    came = audit(plan, store, again)
    assert came.finished and len(again.tasks) == 3  # under another key, from the start
    assert told(store).models[0].result.verdict is Verdict.PASSED


def test_an_audit_goes_on_once_what_has_changed_is_put_back(
    tmp_path: Path, paths: dict[str, Path], policy: Path
) -> None:
    code, text = tmp_path / "nets.py", "def make(): ...\n"
    code.write_text(text)
    beside = tmp_path / os.fsdecode(b"\xff.py")
    stop = Stop()

    class Edited(Scripted):
        def usual(self, task: Task) -> Any:
            for one in super().usual(task):
                if task.request.part and task.request.part.tier == "exposure":
                    try:
                        beside.write_text("")
                    except OSError:  # a file system that takes no such names
                        code.write_text("")
                    stop.reason = "stopped"
                yield one

    store = tmp_path / "s.sqlite"
    plan = plan_of(tmp_path, paths, policy, architecture=f"{code}:make", arch_args={})
    came = audit(plan, store, Edited(), stop=stop)
    assert not came.finished
    beside.unlink(missing_ok=True)
    code.write_text(text)  # touched, and what it was
    rest = Scripted()
    came = audit(plan, store, rest)
    assert came.resumed and came.finished
    assert set(verdicts(store).values()) == {Verdict.PASSED}
    assert len(rest.tasks) == 6  # nothing of the cheap tier is done again, and all of the others


def test_what_another_audit_is_scanning_is_waited_for(tmp_path: Path, paths: dict[str, Path], policy: Path) -> None:
    store = tmp_path / "s.sqlite"
    audit(plan_of(tmp_path, paths, policy), store, Scripted(), search="suspects")
    other = Store(store)
    claims = Claims(other)
    key = other.rows("SELECT key FROM scans ORDER BY rowid")[0][0]
    assert claims.claim(key)

    class Waits(Scripted):
        """Gives the claim up once nothing else is left."""

        def run(self, next_task: Any, hear: Any, more: Any, stop: Stop) -> None:
            given_up = False
            while more():
                task = next_task()
                if task is None:
                    if not given_up:
                        assert state.waiting == 1
                        claims.close()
                        given_up = True
                    continue
                self.tasks.append(task)
                for one in self.usual(task):
                    hear(task, one)

    state = State()
    executor = Waits()
    came = audit(plan_of(tmp_path, paths, policy), store, executor, state=state)
    other.close()
    assert came.finished and len(executor.tasks) == 2


def test_no_finding_is_kept_twice(tmp_path: Path, paths: dict[str, Path], policy: Path) -> None:
    class Repeats(Scripted):
        def usual(self, task: Task) -> list[Any]:
            return [two for one in super().usual(task) for two in ([one] if isinstance(one, Ended) else [one, one])]

    store = tmp_path / "s.sqlite"
    audit(plan_of(tmp_path, paths, policy), store, Repeats())
    with sqlite3.connect(store) as db:
        assert db.execute("SELECT count(*), count(DISTINCT key || name) FROM findings").fetchone() == (12, 12)


def test_a_model_without_samples_is_an_error_and_the_others_are_scanned(
    tmp_path: Path, paths: dict[str, Path], policy: Path
) -> None:
    plan = plan_of(tmp_path, paths, policy)
    gone = plan.planned[1]
    options = {**gone.options, "samples": tmp_path / "gone.npz"}
    wrong = type(gone)(gone.name, gone.path, options, gone.where)
    plan = type(plan)(plan.source, (plan.planned[0], wrong, plan.planned[2]))
    store = tmp_path / "s.sqlite"
    came = audit(plan, store, Scripted())
    assert came.finished and verdicts(store)["bad"] is Verdict.ERROR
    assert [model.name for model in told(store).models] == ["a", "bad", "c"]  # in the plan's order


def test_a_policy_of_static_checks_needs_no_other_tier(tmp_path: Path, paths: dict[str, Path]) -> None:
    policy = tmp_path / "static.yaml"
    policy.write_text("version: 1\nname: static\nchecks: {file-safety: {}}\n", encoding="utf-8")
    executor, store = Scripted(), tmp_path / "s.sqlite"
    audit(plan_of(tmp_path, paths, policy), store, executor)
    assert {tier for _, tier in executor.order} == {"static"} and len(executor.tasks) == 3
    assert set(verdicts(store).values()) == {Verdict.PASSED}


def stopped_after(count: int) -> tuple[Scripted, Stop]:
    """An executor whose audit is stopped at a task."""
    stop = Stop()

    def script(task: Task) -> list[Any] | None:
        if len(executor.tasks) == count:
            stop.reason = "stopped"
            return [Ended("stopped", again=True)]
        return None

    executor = Scripted(script)
    return executor, stop


def test_an_audit_that_goes_on_asks_anew_where_the_policy_has_changed(
    tmp_path: Path, paths: dict[str, Path], policy: Path
) -> None:
    plan, store = plan_of(tmp_path, paths, policy), tmp_path / "s.sqlite"
    executor, stop = stopped_after(8)
    audit(plan, store, executor, stop=stop)
    assert sum(model.result.verdict is Verdict.PASSED for model in told(store).models) == 1
    policy.write_text(POLICY.replace("steps: 100", "steps: 110"), encoding="utf-8")
    rest = Scripted()
    came = audit(plan, store, rest)
    assert came.resumed and came.finished and len(rest.tasks) == 9


def test_an_audit_that_goes_on_looks_again_at_what_has_changed(
    tmp_path: Path, paths: dict[str, Path], policy: Path
) -> None:
    plan, store = plan_of(tmp_path, paths, policy), tmp_path / "s.sqlite"
    executor, stop = stopped_after(8)
    audit(plan, store, executor, stop=stop)
    done = next(model.name for model in told(store).models if model.result.verdict is Verdict.PASSED)
    paths[done].write_bytes(b"another" * 30)
    rest = Scripted()
    came = audit(plan, store, rest)
    assert came.resumed and len([name for name, _ in rest.order if name == paths[done].name]) == 3


def test_a_check_that_broke_is_tried_by_the_next_audit(tmp_path: Path, paths: dict[str, Path], policy: Path) -> None:
    class Breaks(Scripted):
        def usual(self, task: Task) -> list[Any]:
            return [
                events.FindingEvent(finding=finding("model-detection", Outcome.ERROR))
                if isinstance(one, events.FindingEvent) and one.finding.check == "model-detection"
                else one
                for one in super().usual(task)
            ]

    plan, store = plan_of(tmp_path, paths, policy), tmp_path / "s.sqlite"
    audit(plan, store, Breaks())
    assert set(verdicts(store).values()) == {Verdict.ERROR}
    again = Scripted()
    audit(plan, store, again)
    assert {tier for _, tier in again.order} == {"exposure", "search"}  # what the first has found is told
    parts = [task.request.part for task in again.tasks]
    assert all(part and [one.check for one in part.findings][:1] == ["file-safety"] for part in parts)
    assert set(verdicts(store).values()) == {Verdict.PASSED}


def test_a_file_that_an_onnx_model_lacked_may_have_come(tmp_path: Path, paths: dict[str, Path], policy: Path) -> None:
    model = tmp_path / "net.onnx"
    model.write_bytes(b"x")
    plan, store = plan_of(tmp_path, {"net": model}, policy), tmp_path / "s.sqlite"
    audit(plan, store, Scripted(lambda task: [Ended("net.onnx.data is missing")]))
    again = Scripted()
    audit(plan, store, again)
    assert len(again.tasks) == 3


def test_an_error_names_the_model_it_is_told_of(tmp_path: Path, paths: dict[str, Path], policy: Path) -> None:
    twin = tmp_path / "twin.safetensors"
    twin.write_bytes(paths["a"].read_bytes())

    def script(task: Task) -> list[Any] | None:
        part = task.request.part
        assert part
        return [Ended(f"{task.request.model}: does not run", again=True)] if part.tier == "exposure" else None

    store = tmp_path / "s.sqlite"
    audit(plan_of(tmp_path, {"a": paths["a"], "twin": twin}, policy), store, Scripted(script))
    reasons = {model.name: model.result.reason for model in told(store).models}
    assert str(twin) in reasons["twin"] and str(twin) not in reasons["a"]


def test_the_code_of_an_architecture_is_part_of_the_question(
    tmp_path: Path, paths: dict[str, Path], policy: Path
) -> None:
    code = tmp_path / "code" / "nets.py"
    code.parent.mkdir()
    code.write_text("from layers import net\n")
    (code.parent / "layers.py").write_text("def net(): ...\n")
    plan = plan_of(tmp_path, {"a": paths["a"]}, policy, architecture=f"{code}:net", arch_args={})
    store = tmp_path / "s.sqlite"
    audit(plan, store, Scripted())
    same = Scripted()
    audit(plan, store, same)
    (code.parent / "layers.py").write_text("def net(): ...  # mended\n")
    mended = Scripted()
    audit(plan, store, mended)
    assert not same.tasks and len(mended.tasks) > 0


def test_since_the_last_audit(tmp_path: Path, paths: dict[str, Path], policy: Path) -> None:
    plan, path = plan_of(tmp_path, paths, policy), tmp_path / "s.sqlite"
    store = Store(path)
    with pytest.raises(ValueError, match="no earlier audit"):
        since_last(plan, store)
    audit(plan, path, Scripted())
    changed = since_last(plan, store)
    assert [one.name for one in plan.planned if changed(one)] == []
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"older than the audit" * 5)
    os.utime(other, (OLD, OLD))
    other.replace(paths["c"])  # keeps its times
    changed = since_last(plan, store)
    assert [one.name for one in plan.planned if changed(one)] == ["c"]
    store.close()
