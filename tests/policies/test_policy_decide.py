"""From findings to the verdict: nothing passes that was not looked at."""

from __future__ import annotations

from typing import Any

import pytest
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.evidence.result import Verdict
from ebyd_scan.policies.decide import decide
from ebyd_scan.policies.model import Policy

LETTERS = {
    "p": Outcome.PASSED,
    "f": Outcome.FAILED,
    "i": Outcome.INCONCLUSIVE,
    "s": Outcome.SKIPPED,
    "e": Outcome.ERROR,
}
NAMES = ("file-safety", "sample-fit", "backdoor-label", "model-detection")


def _policy(names: tuple[str, ...] = NAMES, **more: Any) -> Policy:
    overrides: dict[str, Any] = more.pop("overrides", {})
    checks = {name: {"on_inconclusive": overrides[name]} if name in overrides else {} for name in names}
    return Policy(version=1, name="p", checks=checks, **more)


def _findings(letters: str, names: tuple[str, ...] = NAMES) -> list[Finding]:
    pairs = zip(names, letters, strict=False)
    return [Finding(check=name, outcome=LETTERS[x], message=f"said {x}.") for name, x in pairs if x != "-"]


@pytest.mark.parametrize(
    "letters, on_inconclusive, expected, reason",
    [
        ("pppp", "inconclusive", "passed", "4 checks passed."),
        ("ppsp", "inconclusive", "passed", "3 checks passed; backdoor-label skipped."),
        ("ppps", "inconclusive", "inconclusive", "No check looked for a backdoor: model-detection: said s."),
        ("fsss", "inconclusive", "error", "The file could not be scanned safely: file-safety: said f."),
        ("esss", "pass", "error", "The file could not be scanned safely: file-safety: said e."),
        ("fppf", "inconclusive", "error", "The file could not be scanned safely: file-safety: said f."),
        ("pppf", "pass", "failed", "The model failed: model-detection: said f."),
        ("ppff", "pass", "failed", "The model failed: backdoor-label: said f. (and 1 more)"),
        ("ppef", "inconclusive", "failed", "The model failed: model-detection: said f."),
        ("ppep", "pass", "error", "The scan could not be completed: backdoor-label: said e."),
        ("ppei", "fail", "error", "The scan could not be completed: backdoor-label: said e."),
        ("pppi", "inconclusive", "inconclusive", "The scan cannot tell: model-detection: said i."),
        ("pppi", "fail", "failed", "The policy fails what is inconclusive: model-detection: said i."),
        ("pppi", "pass", "passed", "3 checks passed; model-detection inconclusive, which the policy lets pass."),
        (
            "ppii",
            "pass",
            "passed",
            "2 checks passed; backdoor-label, model-detection inconclusive, which the policy lets pass.",
        ),
        ("piss", "pass", "inconclusive", "No check looked for a backdoor: model-detection: said s."),
        ("ppss", "inconclusive", "inconclusive", "No check looked for a backdoor: model-detection: said s."),
        ("ssss", "inconclusive", "inconclusive", "No check looked for a backdoor: model-detection: said s."),
        ("ppp-", "pass", "error", "The scan could not be completed: no result from model-detection."),
        ("----", "pass", "error", f"The scan could not be completed: no result from {', '.join(NAMES)}."),
        ("iiii", "pass", "inconclusive", "Nothing was found, but no check passed either: model-detection: said i."),
    ],
)
def test_rules(letters: str, on_inconclusive: Any, expected: str, reason: str) -> None:
    verdict, why = decide(_policy(on_inconclusive=on_inconclusive), _findings(letters))
    assert (verdict.value, why) == (expected, reason)


def test_a_check_may_differ_from_the_policy() -> None:
    policy = _policy(overrides={"model-detection": "fail", "sample-fit": "pass"})
    assert decide(policy, _findings("pppi"))[0] is Verdict.FAILED
    assert decide(policy, _findings("pipp"))[0] is Verdict.PASSED
    assert decide(policy, _findings("ppip"))[0] is Verdict.INCONCLUSIVE


def test_a_policy_of_file_checks_only_passes_on_them() -> None:
    only = ("file-safety",)
    assert decide(_policy(only), _findings("p", only))[0] is Verdict.PASSED
    assert decide(_policy(only), _findings("s", only))[0] is Verdict.INCONCLUSIVE
    both = ("file-safety", "sample-fit")
    assert decide(_policy(both), _findings("pp", both))[0] is Verdict.PASSED
    assert decide(_policy(both), _findings("ps", both))[0] is Verdict.INCONCLUSIVE


def test_a_stranger_cannot_pass_a_model() -> None:
    findings = [*_findings("ppss"), Finding(check="stranger", outcome=Outcome.PASSED, message="fine.")]
    assert decide(_policy(), findings)[0] is Verdict.INCONCLUSIVE


def test_every_combination_passes_only_what_was_looked_at() -> None:
    from itertools import product

    for on_inconclusive in ("inconclusive", "fail", "pass"):
        policy = _policy(on_inconclusive=on_inconclusive)
        for letters in product("pfise-", repeat=4):
            verdict, reason = decide(policy, _findings("".join(letters)))
            assert reason and "\n" not in reason
            if verdict is Verdict.PASSED:
                assert not set(letters) & set("fe-")
                assert letters[3] == "p" or (letters[3] == "i" and on_inconclusive == "pass")
                assert "p" in letters[1:]


def test_a_clean_graph_alone_passes_no_model() -> None:
    """An ONNX file whose weights nobody could look at is not passed because its graph only computes."""
    names = ("graph-logic", "model-detection")
    assert decide(_policy(names), _findings("ps", names))[0] is Verdict.INCONCLUSIVE
    assert decide(_policy(names), _findings("fs", names))[0] is Verdict.FAILED
    assert decide(_policy(names[:1]), _findings("p", names[:1]))[0] is Verdict.PASSED
