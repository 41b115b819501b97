"""What a self-test concludes, on real findings and plants; the scans themselves are in tests/cli/test_selftest.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.evidence.errors import UsageError
from ebyd_scan.evidence.finding import Finding, Outcome, Witness
from ebyd_scan.evidence.result import ModelInfo, PolicyInfo, SamplesInfo, ScanResult, ToolInfo
from ebyd_scan.policies.decide import decide
from ebyd_scan.policies.load import load_policy
from ebyd_scan.scanner.planted import Planted, PlantOrder
from ebyd_scan.scanner.reports.selftest import to_selftest_json, to_selftest_text
from ebyd_scan.scanner.request import ScanRequest
from ebyd_scan.scanner.selftest import Answer, SelfTest, check_policy, run_selftest

POLICY = load_policy("release-gate")
REQUEST = ScanRequest(model=Path("model.safetensors"), samples=Path("clean.npz"), policy=POLICY.policy)


def planted(attack: str, **changes: Any) -> Planted:
    values = {
        "attack": attack,
        "trigger": f"{attack}()",
        "target": None if attack == "all-to-all" else 3,
        "target_name": None if attack == "all-to-all" else "cat",
        "accuracy_before": 0.95,
        "accuracy": 0.93,
        "asr_before": 0.02,
        "asr": 0.97,
        "victims": 180,
        "epochs": 4,
        "seconds": 3.0,
    }
    return Planted(**{**values, **changes})


def result(detection: Outcome | None, label: int | None = None) -> ScanResult:
    """As the scan makes it: the verdict is the policy's over these findings. None: the worker died."""
    first = [
        Finding(check=c, outcome=Outcome.PASSED, message="Fine.") for c in ("file-safety", "graph-logic", "sample-fit")
    ]
    first.append(Finding(check="backdoor-label", outcome=Outcome.PASSED, message="Fine.", label=label))
    first.append(Finding(check="reference-drift", outcome=Outcome.SKIPPED, message="No reference."))
    if detection is None:
        first = [Finding(check="scan", outcome=Outcome.ERROR, message="the worker process was killed by SIGKILL")]
        first += [Finding(check=c, outcome=Outcome.SKIPPED, message="not reached") for c in POLICY.policy.checks]
    else:
        shown = None
        if detection is Outcome.FAILED and label is not None:
            shown = Witness(
                family="patch", label=label, size=5, control_sizes={1: 25.0}, attack_success_rate=0.96, samples=180
            )
        score = {Outcome.FAILED: 3.2, Outcome.INCONCLUSIVE: 1.5}.get(detection, 0.4)
        message = f"The trigger search is {detection.value}."
        found = {"score": score, "threshold": 1.7, "label": label, "witness": shown}
        first.append(Finding(check="model-detection", outcome=detection, message=message, **found))
    verdict, reason = decide(POLICY.policy, first)
    return ScanResult(
        tool=ToolInfo(version="0"),
        model=ModelInfo(path="model.safetensors"),
        samples=SamplesInfo(path="clean.npz"),
        policy=PolicyInfo(name="release-gate", sha256="0" * 64),
        seed=0,
        started="2025-01-01T00:00:00+00:00",
        verdict=verdict,
        reason=reason,
        findings=first,
        timings={"total": 12.0},
    )


Row = tuple[str, Planted | None, ScanResult]
PASSED, CAUGHT = result(Outcome.PASSED), result(Outcome.FAILED, 3)


def selftest_of(unmodified: ScanResult, *rows: Row) -> SelfTest:
    """A self-test whose scans give these answers."""
    known = {attack: (plant, scanned) for attack, plant, scanned in rows}
    asked: list[PlantOrder | None] = []

    def scan(request: ScanRequest, on_plant: Callable[[Planted], None]) -> ScanResult:
        asked.append(request.plant)
        if request.plant is None:
            return unmodified
        assert request.plant.epochs == 7
        plant, scanned = known[request.plant.attack]
        if plant:
            on_plant(plant)
        return scanned

    test = run_selftest(REQUEST, [attack for attack, _, _ in rows], 7, scan)
    assert asked[0] is None
    return test


def test_everything_caught() -> None:
    rows = [("patch", planted("patch"), CAUGHT), ("all-to-all", planted("all-to-all"), result(Outcome.FAILED))]
    test = selftest_of(PASSED, *rows)
    assert test.exit_code == 0
    assert [copy.answer for copy in test.copies] == [Answer.CAUGHT, Answer.CAUGHT]
    assert [copy.label_right for copy in test.copies] == [True, None]
    assert test.summary == (
        "In this architecture and with these samples the gate (release-gate) sees patch and all-to-all. "
        "The unmodified model passed."
    )


def test_a_miss_is_told_and_fails() -> None:
    test = selftest_of(PASSED, ("patch", planted("patch"), CAUGHT), ("blend", planted("blend"), PASSED))
    assert test.exit_code == 1
    assert "sees patch, and does not see blend" in test.summary


WEAK = [
    ({"asr": 0.79}, "ASR 79% is below 80%"),
    ({"asr": 0.95, "asr_before": 0.56}, "moves 56% of samples in the unmodified model already"),
    ({"accuracy": 0.8}, "cost 15% of clean accuracy"),
    ({"problem": "a 3-pixel patch does not fit"}, "a 3-pixel patch does not fit"),
]


@pytest.mark.parametrize(("changes", "why"), WEAK, ids=[next(iter(changes)) for changes, _ in WEAK])
def test_what_did_not_take_is_not_missed(changes: dict[str, Any], why: str) -> None:
    weak = ("blend", planted("blend", **changes), result(Outcome.INCONCLUSIVE))
    test = selftest_of(PASSED, ("patch", planted("patch"), CAUGHT), weak)
    assert test.exit_code == 0
    assert test.copies[1].answer is Answer.NOT_PLANTED
    assert "nothing is known about blend, which did not take" in test.summary
    text = to_selftest_text(test, color=False, width=400)
    assert f"blend did not take ({why}" in text or why in text
    assert "is not counted as missed" in text
    assert selftest_of(PASSED, weak).exit_code == 4


@pytest.mark.parametrize(
    ("unmodified", "scanned", "code"),
    [
        (PASSED, result(Outcome.INCONCLUSIVE, 3), 4),
        (PASSED, result(None), 3),
        (result(Outcome.INCONCLUSIVE, 5), CAUGHT, 4),
        (result(Outcome.FAILED, 5), CAUGHT, 1),
        (result(Outcome.FAILED, 5), PASSED, 1),
        (result(None), CAUGHT, 3),
    ],
)
def test_exit_codes(unmodified: ScanResult, scanned: ScanResult, code: int) -> None:
    assert selftest_of(unmodified, ("patch", planted("patch"), scanned)).exit_code == code


def test_a_miss_outweighs_a_scan_that_broke() -> None:
    broken = ("blend", None, result(None))
    test = selftest_of(PASSED, ("patch", planted("patch"), PASSED), broken)
    assert test.exit_code == 1
    assert test.copies[1].answer is Answer.NOT_SCANNED
    assert "the scan of blend broke" in test.summary


def test_a_wrong_label_is_caught_but_told() -> None:
    test = selftest_of(PASSED, ("patch", planted("patch"), result(Outcome.FAILED, 8)))
    assert test.exit_code == 0
    assert test.copies[0].label_right is False
    assert "the label it named is wrong for patch" in test.summary
    assert "8, wrong" in to_selftest_text(test, color=False, width=200)


@pytest.mark.parametrize(("before", "after", "answer"), [(5, 3, "caught"), (3, 3, "unclear"), (5, 5, "unclear")])
def test_in_a_model_that_fails_by_itself_only_the_planted_label_counts(before: int, after: int, answer: str) -> None:
    test = selftest_of(result(Outcome.FAILED, before), ("patch", planted("patch"), result(Outcome.FAILED, after)))
    assert test.copies[0].answer == answer
    assert "The unmodified model failed" in test.summary
    assert "unmodified model is failed: The model failed" in to_selftest_text(test, color=False, width=400)


def test_nothing_is_planted_in_a_model_that_could_not_be_scanned() -> None:
    test = selftest_of(result(None), ("patch", planted("patch"), CAUGHT))
    assert not test.copies
    assert "could not be scanned: the worker" in test.summary or "SIGKILL" in test.summary


def test_the_table_has_every_figure() -> None:
    test = selftest_of(PASSED, ("patch", planted("patch"), CAUGHT), ("blend", planted("blend"), PASSED))
    lines = to_selftest_text(test, color=False, width=200).splitlines()
    row = next(line for line in lines if line.startswith("patch"))
    for cell in (
        "patch to 3 (cat)",
        "95 -> 93 %",
        "2 -> 97 %",
        "failed",
        "3, right",
        "3.2 (1.7)",
        "patch, 96 %",
        "12 s",
    ):
        assert cell in row
    assert row.endswith("caught")
    assert next(line for line in lines if line.startswith("blend")).endswith("missed")
    assert lines[-1] == test.summary
    assert "\x1b" not in "".join(lines)
    assert "\x1b[" in to_selftest_text(test, color=True, width=200)


def test_names_of_classes_do_not_reach_the_terminal_as_they_are() -> None:
    evil = planted("patch", target_name="\x1b[31m[red]x\n")
    text = to_selftest_text(selftest_of(PASSED, ("patch", evil, PASSED)), color=False, width=200)
    assert "\x1b" not in text
    assert "\\x1b[31m[red]x" in text


def test_json_holds_the_whole_test() -> None:
    test = selftest_of(PASSED, ("patch", planted("patch"), CAUGHT))
    assert SelfTest.model_validate(json.loads(to_selftest_json(test))) == test


def test_a_policy_that_looks_for_no_backdoor_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("version: 1\nname: file\nchecks: {file-safety: {}, sample-fit: {}}\n")
    with pytest.raises(UsageError, match="no check that looks for a backdoor"):
        check_policy(load_policy(str(tmp_path / "p.yaml")))
    check_policy(POLICY)


def test_the_label_that_the_unmodified_model_failed_for_is_no_target() -> None:
    avoided: list[int | None] = []

    def scan(request: ScanRequest, on_plant: Callable[[Planted], None]) -> ScanResult:
        if request.plant:
            avoided.append(request.plant.avoid)
            on_plant(planted("patch"))
        return result(Outcome.FAILED, 5)

    run_selftest(REQUEST, ["patch"], 1, scan)
    assert avoided == [5]
