"""The index page of an audit as text: what stands on it, and that no text gets out of its field."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest
from ebyd_scan.evidence.audit import Audit, LeftOut
from ebyd_scan.evidence.finding import Outcome
from ebyd_scan.evidence.result import Verdict
from ebyd_scan.scanner.reports import audit_html
from ebyd_scan.scanner.reports.audit_html import address, render

from . import audits
from .html_pages import text_of, tree_of


def _rows(tree: Any) -> list[list[str]]:
    return [[text_of(cell) for cell in row] for row in tree.xpath("//table[@id='models']/tbody/tr")]


def test_the_table_is_whole_and_the_worst_stands_first() -> None:
    tree = tree_of(render(audits.mixed()))
    assert text_of(tree.find(".//h1")) == "1 of 5 models must not be shipped"
    rows = _rows(tree)
    assert [row[1] for row in rows] == ["failed", "not scanned", "inconclusive", "passed", "passed"]
    assert rows[0] == [
        "zoo/bad one.ptThe reason why it is failed.",
        "failed",
        "3 (cat)",
        "patch",
        "95 %",
        "failed model-detection passed file-safety",
        "torchvision:resnet18",
        "safetensors",
        "2 min 13 s",
        "scanned",
    ]
    assert rows[4][0] == "zoo/old.pt" and rows[4][-1] == "store"
    assert len(tree.xpath("//thead//th")) == len(rows[0])
    counts = [text_of(one) for one in tree.xpath("//ul[@class='counts']/li")]
    assert counts == ["1 failed", "1 not scanned", "1 inconclusive", "2 passed"]
    assert tree.xpath("//tbody//a/@href") == ["./pages/bad%20one%231.html", "./pages/clean.html"]
    assert "zoo/readme.txt" in text_of(tree) and "zoo/\\x1b[31m\\u202e.bin" in text_of(tree)


def test_only_our_own_style_and_script_are_allowed() -> None:
    page = render(audits.hostile())
    tree = tree_of(page)
    (policy,) = tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digests[0]}'; style-src 'sha256-{digests[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert not tree.xpath("//@style")
    assert not [name for element in tree.iter() for name in element.attrib if name.startswith("on")]
    assert not {element.tag for element in tree.iter()} & {"img", "iframe", "object", "form"}
    for forbidden in ("innerHTML", "insertAdjacent", "document.write", "eval(", "fetch(", "XMLHttp", "import("):
        assert forbidden not in script


def test_hostile_text_stays_text() -> None:
    page = render(audits.hostile())
    tree = tree_of(page)
    rows = _rows(tree)
    assert len(rows) == len(audits.HOSTILE_NAMES)
    assert rows[0][0].startswith("<script>window.hacked=1</script>")
    assert "\u202e" not in page and "\x1b" not in page and "\x00" not in page
    assert "W" * 400 not in tree.text_content()
    assert "{{ 7 * 7 }}" in rows[7][0]
    page.encode()


@pytest.mark.parametrize(
    ("page", "link"),
    [
        (None, None),
        ("", None),
        ("pages/a b.html", "./pages/a%20b.html"),
        ("javascript:alert(1)", "./javascript%3Aalert%281%29"),
        ('"><b>?x#y', "./%22%3E%3Cb%3E%3Fx%23y"),
        ("//evil.example/a.html", None),
        ("/etc/passwd", None),
        ("../../other.html", None),
        ("a/../../b.html", None),
        ("a\\..\\b.html", "./a%5C..%5Cb.html"),
        ("é\ud800.html", "./%C3%A9%3F.html"),
    ],
)
def test_links_lead_below_the_index(page: str | None, link: str | None) -> None:
    assert address(page) == link


@pytest.mark.parametrize(
    ("given", "headline"),
    [
        (audits.audit([]), "No model was scanned, which is not a pass"),
        (audits.audit([audits.model("passed")]), "The one model passed"),
        (audits.audit([audits.model("passed", str(i)) for i in range(3)]), "All 3 models passed"),
        (audits.audit([audits.model("passed")], ended=None), "Stopped before its end; so far: the one model passed"),
        (audits.audit([audits.model("error")]), "1 of 1 model could not be scanned, which is not a pass"),
        (audits.audit([audits.model("inconclusive")]), "Whether 1 of 1 model has a backdoor cannot be told"),
        (audits.audit([audits.model("passed")], exit_code=3), "The one model passed, but not the audit"),
    ],
)
def test_headlines(given: Audit, headline: str) -> None:
    tree = tree_of(render(given))
    assert text_of(tree.find(".//h1")) == headline
    green = "passed" in tree.xpath("//section[h1]/@class")[0].split()
    assert green is (headline in ("The one model passed", "All 3 models passed"))


def test_columns_of_figures_sort_by_figures() -> None:
    findings = [audits.detection(Verdict.FAILED, check=str(outcome), outcome=outcome) for outcome in Outcome]
    tree = tree_of(render(audits.audit([audits.model("failed", findings=findings)])))
    assert tree.xpath("//tbody//td/@data-v") == ["0", "0.951", "1010101", "133.100"]


def test_a_flood_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_html, "MAX_BYTES", 120_000)
    left = [LeftOut(path="x" * 5000, reason="y" * 5000)] * 1500
    models = [audits.hostile_model(f"{name}{index}") for index in range(20) for name in audits.HOSTILE_NAMES]
    page = render(audits.audit([*models, audits.model("error", "last")], left_out=left))
    assert len(page.encode()) <= 120_000
    tree = tree_of(page)
    shown = len(_rows(tree))
    assert 0 < shown < len(models)
    assert f"{len(models) + 1 - shown} more models do not fit on this page" in text_of(tree)
    assert "more in the JSON report" in text_of(tree)


def test_thousands_fit() -> None:
    page = render(audits.many(1000))
    assert len(page.encode()) < 500_000
    assert page.count("<tr") == 1001
