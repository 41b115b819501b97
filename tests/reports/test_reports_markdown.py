"""Markdown that says the verdict first, fits a comment, and in which nothing foreign becomes markup."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from ebyd_scan.evidence.finding import Finding, Outcome, Witness
from ebyd_scan.evidence.result import ModelInfo, PolicyInfo, SamplesInfo, ScanResult, Verdict
from ebyd_scan.scanner.reports.markdown import MAX_BYTES, to_markdown
from ebyd_scan.scanner.reports.markdown_text import plain
from ebyd_scan.scanner.reports.printable import one_line
from markdown_it import MarkdownIt
from markdown_it.token import Token

ResultOf = Callable[..., ScanResult]
GITHUB = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
BREAK = "\N{ZERO WIDTH SPACE}"
OURS = {"text", "strong_open", "strong_close", "softbreak"}
OUT_OF_LINE = [
    "| a | b |",
    "x | y",
    "\\| z \\\\| q",
    "\\",
    "`code` ``",
    "</td></tr></table><script>alert(1)</script>",
    "</details><details open>",
    "<!-- ",
    "&lt;b&gt; &#124; &amp;",
    "[click](http://evil) ![x](http://evil/a.png)",
    "[a]: http://evil",
    "<http://evil> http://evil www.evil.com mailto:a@evil.com a@evil.com",
    "*a* **b** _c_ __d__ ~~e~~ ~f~",
    "# heading",
    "- item\n- item",
    "1. item",
    "> quote",
    "---",
    "```\nfence",
    "    indented",
    "line\r\nline\n\n## heading",
    "@octocat @org/team #1 GH-1 owner/repo#2 !3 %4 ~label $5 &6 @all %\"m\"",
    "$x^2$ $$y$$",
    ":tada: :+1: :100:",
    "\x1b[31m \u202e \x00 \u2028 \ud83d",
    "\ue000",
    "[[_TOC_]] [TOC] {+ added +} [- gone -]",
    "a  \nb",
]  # fmt: skip


def _tokens(text: str) -> list[Token]:
    return GITHUB.parse(text)


def _inline(token: Token) -> str:
    """The text that is shown."""
    assert {child.type for child in token.children or []} <= OURS, token.content
    return "".join(child.content for child in token.children or [] if child.type == "text").replace(BREAK, "")


def _rows(text: str) -> list[list[str]]:
    """Cells of all rows of all tables, as shown."""
    rows: list[list[str]] = []
    tokens = _tokens(text)
    for index, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        if token.type in ("td_open", "th_open"):
            rows[-1].append(_inline(tokens[index + 1]))
    return rows


@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_verdict_comes_first(result_of: ResultOf, verdict: Verdict) -> None:
    result = result_of(verdict.value)
    text = to_markdown(result)
    assert text.startswith(f"## ebyd-scan: {verdict.value.upper()}\n\n**Verdict:** ")
    shown = {row[0]: row for row in _rows(text)}
    for finding in result.findings:
        assert shown[finding.check][4] == finding.message
    assert shown["Model SHA-256"][1] == "ab" * 32
    assert text.index("<details>") < text.index("Model SHA-256") < text.index("</details>")
    assert text.index(result.reason.split(":")[0]) < text.index("| Check")


def test_a_failure_comes_with_its_witness(result_of: ResultOf) -> None:
    text = to_markdown(result_of("failed"))
    assert "**Verdict:** resnet18.safetensors must not be shipped." in text
    rows = _rows(text)
    assert rows[1] == [
        "model-detection",
        "FAILED",
        "3 (cat)",
        "0.24 (threshold 0.5)",
        result_of("failed").findings[3].message,
    ]
    assert "Witness: a patch trigger of 0.653 % of the picture for label 3 (cat)" in text
    assert ["1", "24", "92 % to 18 %", "3 (cat), 100 %", "clean accuracy fell to 0.18 in 12 epochs", "12 s"] in rows


def test_it_reads_as_plain_text(result_of: ResultOf) -> None:
    for verdict in Verdict:
        assert "\\" not in to_markdown(result_of(verdict.value))


def test_long_messages_are_told_in_full_below(result_of: ResultOf) -> None:
    message = "word " * 100 + "end."
    finding = Finding(check="c", outcome=Outcome.FAILED, message=message)
    text = to_markdown(result_of("failed", findings=[finding]))
    assert f"- **c:** {message}" in text
    assert _rows(text)[1][4].endswith(" wo...")


@pytest.mark.parametrize("foreign", OUT_OF_LINE)
def test_nothing_leaves_its_cell(result_of: ResultOf, foreign: str) -> None:
    told = foreign.encode("utf-8", "backslashreplace").decode()  # as a result can hold it
    witness = Witness(
        family="words", label=1, size=1, control_sizes={}, attack_success_rate=1, samples=9, text=told, files=[told]
    )
    finding = Finding(check=told, outcome=Outcome.FAILED, message=told, label=1, label_name=told, witness=witness)
    result = result_of(
        "failed",
        findings=[finding],
        reason=told,
        model=ModelInfo(path=told, format=told, architecture=told, files={told: told}),
        samples=SamplesInfo(path=told),
        policy=PolicyInfo(name=told, sha256=told),
    )
    text = to_markdown(result)
    blocks = [token.content.split() for token in _tokens(text) if token.type in ("html_block", "html_inline")]
    shown = ["<summary>Digests,", "exposure", "and", "times</summary>"]
    assert blocks == [["<details>", *shown], ["</details>"]]
    assert [token.tag for token in _tokens(text) if token.type == "heading_open"] == ["h2"]
    assert not {"fence", "code_block", "hr", "blockquote_open", "ordered_list_open"} & {t.type for t in _tokens(text)}
    for token in _tokens(text):
        if token.type == "inline":
            _inline(token)
    rows, word = _rows(text), one_line(told).replace("\ue000", "")
    assert rows[0] == ["Check", "Outcome", "Label", "Score", "What it says"]
    label = one_line(f"1 ({told})").replace("\ue000", "")
    assert [cell.strip() for cell in rows[1]] == [word, "FAILED", label, "", word]
    assert {len(row) for row in rows} == {2, 5, 6}
    assert [row[1] for row in rows if row[0] == "Model"] == ([word] if told else [])


@pytest.mark.parametrize("foreign", OUT_OF_LINE)
def test_no_one_is_mentioned(foreign: str) -> None:
    text = html.unescape(plain(foreign))  # as it is when mentions are looked for
    assert not re.search(r"[@#!~%$]\w|&\d|GH-\d|://|www\.|:[a-z]+:|:\+1:|:100:", text)
    assert "\n" not in text


def test_times_and_paths_stay_readable() -> None:
    assert plain("2026-05-17T09:30:00+02:00 a/b-c.d:e (x) y é 93 %, 3 > 2") == (
        "2026-05-17T09:30:00+02:00 a/b-c.d:e (x) y é 93 %, 3 &gt; 2"
    )


@pytest.mark.parametrize("character", ["x", "&", "|", "\N{PILE OF POO}", "@a", "&1", "$x", ":a", "\x00", "\\"])
def test_it_fits_a_comment_whatever_comes(result_of: ResultOf, character: str) -> None:
    flood = (character * 4000)[:4000]
    runs = result_of("failed").exposure.runs * 100  # type: ignore[union-attr]
    runs = [run.model_copy(update={"reason": flood}) for run in runs]
    witness: dict[str, Any] = {"family": "patch", "label": 1, "size": 1, "control_sizes": {}, "samples": 1}
    shown = Witness(**witness, attack_success_rate=1, files=[flood] * 50)
    findings = [
        Finding(check=flood, outcome=outcome, message=flood, label=1, label_name=flood, witness=shown)
        for outcome in list(Outcome) * 60
    ]
    result = result_of(
        "failed",
        findings=findings,
        reason=flood * 10,
        model=ModelInfo(path=flood, sha256=flood, architecture=flood, files={f"{n}{flood}": flood for n in range(900)}),
        samples=SamplesInfo(path=flood, sha256=flood),
        policy=PolicyInfo(name=flood, sha256=flood),
        exposure={"method": flood, "runs": runs},
        timings={f"{n}{flood}": 1.0 for n in range(99)},
    )
    text = to_markdown(result)
    assert 5_000 < len(text.encode()) <= MAX_BYTES
    assert "**What to do:** Do not ship this file." in text
    rows = _rows(text)
    assert rows[1][1] == "FAILED"  # the worst come first
    assert any(re.fullmatch(r"\.\.\. \d+ more", row[0]) for row in rows)


def test_nothing_scanned(result_of: ResultOf) -> None:
    text = to_markdown(result_of("error", findings=[], exposure=None, reason="a.pt: there is no such file"))
    assert "was not scanned, which is not a pass." in text
    assert "No check was reached." in text
    assert "a.pt: there is no such file" in text
