"""The HTML page in headless Chromium: nothing leaves it, nothing runs, it fits a phone, the dark and paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ebyd_scan.evidence.result import ModelInfo, ScanResult, Verdict

from . import browser
from .browser import Browser
from .html_pages import SCRIPT, exposed, page_of, run_of, trigger

pytestmark = pytest.mark.skipif(browser.missing() is not None, reason=browser.missing() or "")
pytest.importorskip("numpy")

ResultOf = Callable[..., ScanResult]
LONG = "W" * 300
NAMES = (
    SCRIPT,
    '"><img src="http://127.0.0.1:9/leak" onerror="window.hacked=1">',
    "\u202e\x1b[31mreversed",
    LONG,
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def page(result_of: ResultOf, tmp_path: Path) -> Path:
    """A model with hostile names, a trigger, many seeds and a thousand classes."""
    findings = [
        one.model_copy(update={"label": 3, "label_name": NAMES[1], "metrics": {LONG: LONG, SCRIPT: NAMES[1]}})
        for one in result_of("failed").findings
    ]
    result = result_of(
        "failed",
        findings=findings,
        reason=f"{SCRIPT} {LONG}",
        model=ModelInfo(path=f"{SCRIPT}/{LONG}", sha256="ab" * 32, format=LONG, architecture=NAMES[1]),
        exposure=exposed(*(run_of(seed, 1000) for seed in range(20))),
        timings={LONG: 1.0},
    )
    path = tmp_path / "report.html"
    path.write_text(page_of(result, triggers=[trigger(names=NAMES)]), encoding="utf-8")
    return path


def _overflow(chromium: Browser) -> object:
    return chromium.look("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_loads_and_nothing_leaves_or_runs(chromium: Browser, page: Path, width: int, dark: bool) -> None:
    chromium.requests()
    chromium.console()
    chromium.open(page, width=width, dark=dark)
    assert chromium.look("document.readyState") == "complete"
    assert chromium.console() == []
    assert {address for address in chromium.requests() if not address.startswith("data:")} == {page.as_uri()}
    assert chromium.look("window.hacked === undefined && document.scripts.length === 0")
    assert chromium.look("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert chromium.look("innerWidth") == width
    assert _overflow(chromium) == 0
    chromium.look("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert _overflow(chromium) == 0


def test_text_can_be_read_in_light_and_dark(chromium: Browser, page: Path) -> None:
    for dark in (False, True):
        chromium.open(page, dark=dark)
        for where in ("h1", ".note", ".badge", "dt", "a", "figcaption .unit", ".sent", "summary", "td", ".lead"):
            assert _contrast(chromium, where) >= 4.5, (where, dark)
    assert chromium.look("getComputedStyle(document.body).backgroundColor") != "rgb(246, 247, 248)"


def _contrast(chromium: Browser, selector: str) -> float:
    """Of the first such element's text on what is behind it (WCAG 2.2, 1.4.3)."""
    colours = chromium.look(
        f"""(element => {{
            const colour = getComputedStyle(element).color;
            while (getComputedStyle(element).backgroundColor === "rgba(0, 0, 0, 0)") element = element.parentElement;
            return [colour, getComputedStyle(element).backgroundColor];
        }})(document.querySelector({selector!r}))"""
    )
    light = sorted(_luminance(colour) for colour in colours)
    return (light[1] + 0.05) / (light[0] + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour[4:-1].split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_on_paper_all_of_it_is_shown(chromium: Browser, page: Path) -> None:
    chromium.open(page)
    heights = "[...document.querySelectorAll('details table')].map(one => one.checkVisibility() ? one.offsetHeight : 0)"
    assert max(chromium.look(heights)) == 0
    chromium.open(page, printed=True)
    assert min(chromium.look(heights)) > 0
    assert chromium.look("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert chromium.pdf().startswith(b"%PDF-")


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_on_a_phone(chromium: Browser, result_of: ResultOf, verdict: Verdict, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page_of(result_of(verdict.value)), encoding="utf-8")
    chromium.console()
    chromium.open(path, width=360)
    assert _overflow(chromium) == 0
    assert chromium.console() == []
    assert chromium.look("document.title")
    assert len(chromium.screenshot()) > 5000
