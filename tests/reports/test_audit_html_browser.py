"""The index page of an audit in headless Chromium: sorting, searching, and nothing leaves or runs but our script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.evidence.audit import Audit
from ebyd_scan.scanner.reports.audit_html import render

from . import audits, browser
from .browser import Browser
from .test_html_browser import _contrast, _overflow

pytestmark = pytest.mark.skipif(browser.missing() is not None, reason=browser.missing() or "")

VIOLATIONS = "addEventListener('securitypolicyviolation', event => (window.violations ??= []).push(event.blockedURI))"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        started.devtools("Page.enable", {})
        started.devtools("Page.addScriptToEvaluateOnNewDocument", {"source": VIOLATIONS})
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    given = {"mixed": audits.mixed(), "hostile": audits.hostile(), "many": audits.many(5000), "empty": audits.audit([])}
    return {name: _written(audit, folder / f"{name}.html") for name, audit in given.items()}


def _written(audit: Audit, path: Path) -> Path:
    path.write_text(render(audit), encoding="utf-8")
    return path


def _column(chromium: Browser, place: int) -> list[str]:
    cells = f"[...document.querySelectorAll('#models tbody tr')].map(row => row.cells[{place}].innerText)"
    return chromium.look(cells)


def _names(chromium: Browser) -> list[str]:
    return chromium.look("[...document.querySelectorAll('#models tbody tr bdi:first-of-type')]"
                         ".filter(one => one.closest('th')).map(one => one.textContent)")  # fmt: skip


def _head(chromium: Browser, place: int) -> str | None:
    chromium.look(f"document.querySelectorAll('#models thead button')[{place}].click()")
    return chromium.look(f"document.querySelectorAll('#models thead th')[{place}].getAttribute('aria-sort')")


def _find(chromium: Browser, text: str) -> None:
    chromium.look(f"(find => {{ find.value = {json.dumps(text)}; find.dispatchEvent(new Event('input')) }})"
                  "(document.getElementById('find'))")  # fmt: skip


def _shown(chromium: Browser) -> str:
    return chromium.look("document.getElementById('shown').textContent")


def _press(chromium: Browser, key: str, code: int) -> None:
    for kind in ("keyDown", "keyUp"):
        text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
        event: dict[str, Any] = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, **text}
        chromium.devtools("Input.dispatchKeyEvent", event)


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [("mixed", 1280, True), ("mixed", 360, False), ("hostile", 1280, False), ("hostile", 360, True),
     ("many", 360, False), ("empty", 360, True)],
)  # fmt: skip
def test_it_loads_and_nothing_leaves_or_runs(
    chromium: Browser, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    chromium.open(pages["empty"])  # so that what the page before has asked for is over
    chromium.requests()
    chromium.console()
    chromium.open(pages[name], width=width, dark=dark)
    assert chromium.look("document.readyState") == "complete"
    assert chromium.look("innerWidth") == width
    assert _overflow(chromium) == 0
    if name != "empty":
        _find(chromium, "a")
        _head(chromium, 0)
    assert chromium.console() == []
    assert chromium.look("window.violations === undefined && window.hacked === undefined")
    assert {address for address in chromium.requests() if not address.startswith("data:")} <= {
        pages[name].as_uri(),
        pages["empty"].as_uri(),
    }


def test_every_column_sorts_both_ways(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["mixed"])
    assert _column(chromium, 1) == ["failed", "not scanned", "inconclusive", "passed", "passed"]
    for place in range(10):
        assert (_head(chromium, place), _head(chromium, place)) == ("ascending", "descending"), place
        assert chromium.look("document.querySelectorAll('#models th[aria-sort]').length") == 1
    assert _head(chromium, 0) == "ascending"
    assert _names(chromium) == ["zoo/bad one.pt", "zoo/broken.pt", "zoo/clean.pt", "zoo/old.pt", "zoo/unclear.pt"]
    _head(chromium, 0)
    assert _names(chromium)[0] == "zoo/unclear.pt"
    for _ in range(2):  # empty cells stand last, either way
        _head(chromium, 4)
        assert _column(chromium, 4) == ["95 %", "", "", "", ""]


def test_verdicts_and_words_narrow_the_table(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["mixed"])
    chromium.look("document.querySelector('button[data-verdict=passed]').click()")
    assert _names(chromium) == ["zoo/clean.pt", "zoo/old.pt"]
    assert _shown(chromium) == "2 of 5 models."
    assert chromium.look("[...document.querySelectorAll('.choices [aria-pressed=true]')].map(b => b.innerText)") == [
        "passed 2"
    ]
    _find(chromium, "  STORE old ")
    assert _names(chromium) == ["zoo/old.pt"]
    _find(chromium, "cat patch")
    assert _names(chromium) == [] and _shown(chromium) == "No model is like this."
    chromium.look("document.querySelector('button[data-verdict=\"\"]').click()")
    assert _names(chromium) == ["zoo/bad one.pt"]
    _find(chromium, "")
    assert len(_names(chromium)) == 5
    _find(chromium, "<script>")
    assert _names(chromium) == []


def test_five_thousand_models_stay_usable(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["many"])
    assert _shown(chromium) == "1 to 100 of 5000 models."
    assert len(_names(chromium)) == 100
    assert chromium.look("document.getElementById('back').disabled")
    chromium.look("document.getElementById('on').click()")
    assert chromium.look("document.getElementById('page').textContent") == "Page 2 of 50"
    assert _shown(chromium) == "101 to 200 of 5000 models."
    _find(chromium, "model-04321")
    assert _names(chromium) == ["zoo/team-29/model-04321.safetensors"]
    assert chromium.look("document.getElementById('pager').hidden")
    _find(chromium, "")
    _head(chromium, 8)
    assert _column(chromium, 8)[:3] == ["0.0 s"] * 3  # figures sort as figures
    _head(chromium, 8)
    assert _column(chromium, 8)[0] == "1 min 39 s"
    spent = chromium.look("""(() => {
        const before = performance.now();
        document.querySelectorAll("#models thead button").forEach(button => button.click());
        document.querySelectorAll(".choices button").forEach(button => button.click());
        return performance.now() - before;
    })()""")
    assert spent < 10_000  # milliseconds for ten sorts and five filters; a tenth of it and less where nothing else runs


def test_the_keyboard_reaches_everything(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["mixed"])
    reached = []
    for _ in range(20):
        _press(chromium, "Tab", 9)
        reached.append(chromium.look("document.activeElement.textContent.trim() || document.activeElement.id"))
    assert reached[:5] == ["all 5", "failed 1", "not scanned 1", "inconclusive 1", "passed 2"]
    assert reached[5] == "find"
    assert reached[6:16] == [
        "Model", "Verdict", "Label", "Trigger", "Success", "Checks", "Architecture", "Format", "Time", "Source",
    ]  # fmt: skip
    assert reached[16:18] == ["zoo/bad one.pt", "zoo/clean.pt"]
    chromium.look("document.querySelector('#models thead button').focus()")
    _press(chromium, "Enter", 13)
    assert chromium.look("document.querySelector('#models thead th').getAttribute('aria-sort')") == "ascending"
    assert chromium.look("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_without_script_the_table_is_whole(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.devtools("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        for width in (1280, 360):
            chromium.open(pages["mixed"], width=width)
            tree = chromium.devtools("DOMSnapshot.captureSnapshot", {"computedStyles": ["display"]})
            # Laid out, not only there: every name is among the texts that were drawn.
            drawn = {tree["strings"][text] for text in tree["documents"][0]["layout"]["text"] if text >= 0}
            assert {"zoo/bad one.pt", "zoo/old.pt", "2 min 13 s"} <= drawn
            assert not {"all 5", "Next"} & drawn  # what would do nothing is not shown
    finally:
        chromium.devtools("Emulation.setScriptExecutionDisabled", {"value": False})


def test_text_can_be_read_in_light_and_dark(chromium: Browser, pages: dict[str, Path]) -> None:
    wheres = ("h1", ".meaning", ".badge", "thead th button", "thead th[aria-sort] button", "tbody a", "small",
              "tbody .failed i.failed", "i.passed", ".choices .failed", ".choices button", "#find", "#shown", "td",
              "tr.failed b", "tr.error b", "tr.inconclusive b", "tr.passed b", "dt", "summary", "#on")  # fmt: skip
    for dark in (False, True):
        chromium.open(pages["mixed"], dark=dark)
        assert [where for where in wheres if _contrast(chromium, where) < 4.5] == []


def test_a_phone_names_what_a_cell_is(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["mixed"], width=360)
    before = "getComputedStyle(document.querySelector('#models td:nth-child({})'), '::before').content"
    heads = chromium.look("[...document.querySelectorAll('#models thead th')].map(one => one.textContent)")
    assert [chromium.look(before.format(place + 1)) for place in range(1, 10)] == [f'"{head}"' for head in heads[1:]]
    assert chromium.look("document.querySelector('#models tbody td').offsetWidth") < 360
    empty = "document.querySelector('#models tr.passed td:nth-child(3)')"  # no label: nothing to name
    assert chromium.look(f"getComputedStyle({empty}).display") == "none"


def test_on_paper_there_are_no_pages_to_turn(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(_written(audits.many(150), tmp_path / "audit.html"))
    assert len(_names(chromium)) == 100
    chromium.look("dispatchEvent(new Event('beforeprint'))")
    assert len(_names(chromium)) == 150 and _shown(chromium) == "150 models."
    chromium.look("dispatchEvent(new Event('afterprint'))")
    assert len(_names(chromium)) == 100
