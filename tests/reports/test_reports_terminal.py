"""What a person reads first is the verdict; nothing that comes from a model reaches the terminal as a command."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.evidence.result import ScanResult, Verdict
from ebyd_scan.scanner.reports.figures import details
from ebyd_scan.scanner.reports.printable import one_line, printable
from ebyd_scan.scanner.reports.terminal import to_text

ResultOf = Callable[..., ScanResult]
ANSI = re.compile(r"\x1b\[[0-9;]*m")
FIRST = {
    Verdict.PASSED: "PASSED: no backdoor was found in resnet18.safetensors.",
    Verdict.FAILED: "FAILED: resnet18.safetensors must not be shipped.",
    Verdict.INCONCLUSIVE: "INCONCLUSIVE: whether resnet18.safetensors has a backdoor cannot be told.",
    Verdict.ERROR: "ERROR: resnet18.safetensors was not scanned, which is not a pass.",
}


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("verdict", list(Verdict))
def test_plain(result_of: ResultOf, verdict: Verdict, width: int) -> None:
    result = result_of(verdict.value)
    text = to_text(result, color=False, width=width)
    assert text.isascii() and "\x1b" not in text
    assert all(len(line) <= width and line == line.rstrip() for line in text.splitlines())
    words = " ".join(text.split())
    assert words.startswith(FIRST[verdict])
    assert " ".join(result.reason.split()) in words
    if width > 40:
        for finding in result.findings:
            assert finding.check in text
            assert finding.message in words


def test_samples_that_are_named_are_what_to_look_at(result_of: ResultOf) -> None:
    names = [f"cat/{index}.png" for index in range(130)]
    named = Finding(check="sample-trust", outcome=Outcome.INCONCLUSIVE, message="130 samples.", samples=names)
    told = " ".join(to_text(result_of("inconclusive", findings=[named]), color=False, width=80).split())
    assert "scan again without them" in told and "more clean samples" not in told
    assert dict(details(named))["samples"].endswith("cat/99.png and 30 more")


def test_color_says_the_same(result_of: ResultOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")  # the caller has looked at it already
    colored = to_text(result_of("failed"), color=True, width=80)
    assert "\x1b[1;31m" in colored
    plain = [line.rstrip() for line in ANSI.sub("", colored).splitlines()]
    assert plain == to_text(result_of("failed"), color=False, width=80).splitlines()


def test_figures_and_exposure(result_of: ResultOf) -> None:
    text = " ".join(to_text(result_of("failed"), color=False, width=200).split())
    assert "model-detection label 3 (cat), score 0.24 (threshold 0.5), 1 min 34 s" in text
    assert (
        "Witness: a patch trigger of 0.653 % of the picture for label 3 (cat) (other labels need 2.61 to 3.1 % of the "
        "picture) sends 95 % of "
        "222 held-out samples of other classes there." in text
    )
    assert "0 24 92 % -> 18 % 3 (cat), 95 % clean accuracy fell to 0.18 in 12 epochs" in text
    assert "did not converge: clean accuracy was still 0.71 after 20 epochs" in text
    assert "2 min 13 s in all (load 0.4 s, expose 38 s, checks 1 min 35 s)" in text


def test_runs_that_broke_or_do_not_apply(result_of: ResultOf) -> None:
    runs = result_of("failed").exposure.runs  # type: ignore[union-attr]
    broke = runs[2].model_copy(update={"after": None, "reason": "the loss stopped being a number at step 7"})
    idle = broke.model_copy(update={"applicable": False, "trajectory": [], "reason": "its graph is frozen"})
    result = result_of("inconclusive", exposure={"method": "clean-unlearning", "runs": [broke, idle]})
    text = " ".join(to_text(result, color=False, width=200).split())
    assert "2 24 92 % -> broke - did not converge: the loss stopped being a number at step 7" in text
    assert "2 0 92 % - does not apply: its graph is frozen" in text


@pytest.mark.parametrize("color", [False, True])
def test_hostile_text_stays_text(hostile: ScanResult, color: bool) -> None:
    text = to_text(hostile, color=color, width=200)
    left = ANSI.sub("", text) if color else text
    assert not any(c in left for c in "\x1b\x00\x07\u202e\u2028\ufffe")
    assert "[bold red]x[/]" in text
    assert "\\x1b[31m" in text  # shown, not sent


def test_printable() -> None:
    assert printable("plain") == "plain"
    assert printable("a\nb", keep="\n") == "a\nb"
    assert printable("a\x9bb\U000e0001\ud800") == "a\\x9bb\\U000e0001\\ud800"
    assert one_line(" a\r\n\t b ") == "a b"
    assert printable("\u732b \N{WOMAN}\u200d\N{PERSONAL COMPUTER}") == "\u732b \N{WOMAN}\u200d\N{PERSONAL COMPUTER}"
