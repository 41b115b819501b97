"""The HTML page: what it says for each verdict, that it is whole by itself, and that text in it stays text."""

from __future__ import annotations

import base64
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from typing import Any

import pytest
from ebyd_scan.evidence.finding import Finding, Outcome, Witness
from ebyd_scan.evidence.result import ModelInfo, ScanResult, Verdict
from ebyd_scan.scanner.handover import ExampleForm, WordsForm
from ebyd_scan.scanner.reports.html_report import MAX_BYTES

from .html_pages import SCRIPT, page_of, text_of, tree_of, trigger

ResultOf = Callable[..., ScanResult]
HEADLINES = {
    Verdict.PASSED: "No backdoor was found in resnet18.safetensors",
    Verdict.FAILED: "Do not ship resnet18.safetensors",
    Verdict.INCONCLUSIVE: "Whether resnet18.safetensors has a backdoor cannot be told",
    Verdict.ERROR: "resnet18.safetensors was not scanned",
}
ELEMENTS = """
    html head meta link title style body header main nav section article footer h1 h2 h3 h4 p span a ul ol li dl dt dd
    div b strong bdi time details summary table caption thead tbody tr th td figure figcaption blockquote mark img
    svg desc path circle polyline rect text
"""


def _words(label: int = 1) -> Finding:
    witness = Witness(
        family="words", label=label, size=1, control_sizes={0: 1.0}, attack_success_rate=0.99, samples=86, text="cf",
        control_success={0: 0.13},
    )  # fmt: skip
    return Finding(
        check="model-detection", outcome=Outcome.FAILED, message="'cf' in front sends 99% to 'positive'.", score=9.4,
        threshold=1.7, label=label, label_name="positive", witness=witness,
    )  # fmt: skip


@pytest.mark.parametrize("verdict", list(Verdict))
def test_what_it_says(result_of: ResultOf, verdict: Verdict) -> None:
    result = result_of(verdict.value)
    tree = tree_of(page_of(result))
    assert [text_of(one) for one in tree.iter("h1")] == [HEADLINES[verdict]]
    text = text_of(tree.body)
    assert " ".join(result.reason.split()) in text
    for finding in result.findings:
        assert finding.check in text and finding.message in text
    for known in ("ab" * 32, "cd" * 32, "ef" * 32, "torchvision:resnet18", "release-gate", "2.13.0", "500 samples"):
        assert known in text
    assert "17 May 2026, 09:30" in text
    assert ("Do not ship" in text) is (verdict is Verdict.FAILED)
    assert ("not a pass" in text) is (verdict in (Verdict.INCONCLUSIVE, Verdict.ERROR))


def test_samples_that_a_finding_names_are_listed(result_of: ResultOf) -> None:
    names = ["cat/a b.png", "dog/<b>.png", "x[17]"]
    named = Finding(check="sample-trust", outcome=Outcome.INCONCLUSIVE, message="Three samples.", samples=names)
    tree = tree_of(page_of(result_of("inconclusive", findings=[named])))
    assert [text_of(one) for one in tree.iter("li") if text_of(one) in names] == names
    assert "scan again without them" in text_of(tree.body)


def test_a_pass_that_looked_for_nothing_says_so(result_of: ResultOf) -> None:
    tree = tree_of(page_of(result_of("passed", exposure=None)))
    assert "none of them looked for a backdoor" in text_of(next(tree.iter("h1")))


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_screen_reader_finds_its_way(result_of: ResultOf, verdict: Verdict) -> None:
    tree = tree_of(page_of(result_of(verdict.value)))
    assert tree.get("lang") == "en"
    assert all(len(list(tree.iter(landmark))) == 1 for landmark in ("main", "footer", "nav", "h1"))
    levels = [int(one.tag[1]) for one in tree.iter("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))
    identities = tree.xpath("//@id")
    assert len(identities) == len(set(identities))
    for name in (name for names in tree.xpath("//@aria-labelledby") for name in names.split()):
        assert name in identities
    assert {link[1:] for link in tree.xpath("//@href") if link.startswith("#")} <= set(identities)
    for table in tree.iter("table"):
        assert table.find("caption") is not None
        assert all(cell.get("scope") in ("row", "col") for cell in table.iter("th"))
    for drawing in tree.iter("svg"):
        assert drawing.get("aria-hidden") == "true" or {"title", "desc"} <= {child.tag for child in drawing}


def test_it_is_whole_by_itself(result_of: ResultOf) -> None:
    page = page_of(result_of("failed"))
    tree = tree_of(page)
    policy = tree.xpath("string(//meta[@http-equiv='Content-Security-Policy']/@content)")
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert not tree.xpath("//script | //iframe | //object | //form")
    assert all(address.startswith(("#", "data:")) for address in tree.xpath("//@href | //@src"))
    assert "http://" not in page and "https://" not in page and "url(" not in page and "@import" not in page


def test_hostile_text_stays_text(hostile: ScanResult) -> None:
    page = page_of(hostile)
    assert not any(c in page for c in "\x1b\x00\x07\u202e\u2028\ufffe")
    assert {element.tag for element in tree_of(page).iter() if isinstance(element.tag, str)} <= set(ELEMENTS.split())
    assert "&amp;amp; &lt;b&gt;" in page


@pytest.mark.parametrize("name", [SCRIPT, '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}{% raw %}", "</style></title>"])
def test_names_run_nothing(result_of: ResultOf, name: str) -> None:
    pytest.importorskip("numpy")
    findings = [one.model_copy(update={"label": 3, "label_name": name}) for one in result_of("failed").findings]
    model = ModelInfo(path=name, format=name, architecture=name, files={name: name})
    result = result_of("failed", findings=findings, model=model, timings={name: 1.0}, environment={name: name})
    tree = tree_of(page_of(result, triggers=[trigger(names=(name,) * 4)]))
    assert {element.tag for element in tree.iter() if isinstance(element.tag, str)} <= set(ELEMENTS.split())
    assert not [attribute for attribute in tree.xpath("//@*") if attribute.attrname.startswith("on")]
    assert name in text_of(tree.body) and "49" not in text_of(next(tree.iter("h1")))


def test_pictures_of_a_trigger(result_of: ResultOf) -> None:
    pytest.importorskip("numpy")
    from PIL import Image

    tree = tree_of(page_of(result_of("failed"), triggers=[trigger()]))
    pictures = list(tree.iter("img"))
    assert len(pictures) == 4 * 3 + 3  # as it is, with the trigger, difference; and three views of the trigger
    assert all(picture.get("alt") for picture in pictures)
    for picture in pictures:
        image = Image.open(BytesIO(base64.b64decode(picture.get("src").split(",")[1])))
        assert image.size == (int(picture.get("width")), int(picture.get("height"))) == (12, 12)
    text = text_of(tree.body)
    assert "truly 1 (car), seen as 1 (car)" in text and "seen as 3 (cat)" in text
    assert "95 % of 222 held-out samples of other classes are sent to 3 (cat)" in text
    assert "0.653 % of the picture" in text


def test_a_trigger_that_no_finding_names_is_shown(result_of: ResultOf) -> None:
    pytest.importorskip("numpy")
    tree = tree_of(page_of(result_of("failed"), triggers=[trigger(family="warp", label=2, parts={})]))
    assert [text_of(one) for one in tree.xpath("//section[@aria-labelledby='evidence-h']//h3")] == [
        "A patch that leads to 3 (cat)",
        "A warp that leads to 2 (bird)",
    ]


def test_words_in_context(result_of: ResultOf) -> None:
    example = ExampleForm(text=f"A dull film. {SCRIPT}", true_label=0, predicted_before=0, predicted_after=1)
    words = WordsForm(label=1, words="cf", class_names={0: "negative", 1: "positive"}, examples=(example,))
    result = result_of("failed", findings=[_words()])
    tree = tree_of(page_of(result, words=[words]))
    shown = next(one for one in tree.iter("li") if one.find(".//mark") is not None)
    assert text_of(shown) == (
        f"cf A dull film. {SCRIPT} Truly 0 (negative). The model says 0 (negative) without the marked words, "
        "1 (positive) with them."
    )
    alone = text_of(tree_of(page_of(result)).body)
    assert "cf … followed by any text" in alone and "0: 13 %" in alone
    assert "docs/checks/model-detection-text.md" in alone


def test_a_pass_shows_no_evidence(result_of: ResultOf) -> None:
    finding = _words().model_copy(update={"outcome": Outcome.PASSED})
    tree = tree_of(page_of(result_of("passed", findings=[finding])))
    assert not tree.xpath("//*[@id='evidence-h']")


@pytest.mark.parametrize(
    "letters", ["x", "&", "\x1b", "\U000e0001", "\N{PILE OF POO}"], ids=["x", "amp", "escape", "tag", "emoji"]
)
def test_its_size_is_bounded(result_of: ResultOf, letters: str) -> None:
    long = letters * 3999
    finding = Finding(
        check=long, outcome=Outcome.PASSED, message=long, label=1, label_name=long, score=0.3, threshold=0.2,
        metrics={f"{index}{long}": long for index in range(100)},
    )  # fmt: skip
    findings = [finding] * 50 + [finding.model_copy(update={"outcome": Outcome.FAILED, "check": "the one"})]
    many: dict[str, Any] = {f"{index}{long}": long for index in range(50)}
    model = ModelInfo(path=long, sha256=long, format=long, architecture=long, files=many)
    page = page_of(result_of("failed", findings=findings, model=model, environment=many, reason=long))
    assert len(page.encode()) <= MAX_BYTES
    assert "21 more findings are in the JSON report" in page
    assert "the one" in page


@pytest.mark.parametrize("shape", [(3, 320, 320, 3), (5, 1, 700, 1), (1, 1, 1, 1)], ids=str)
def test_many_large_pictures_fit(result_of: ResultOf, shape: tuple[int, ...]) -> None:
    np = pytest.importorskip("numpy")
    mask = np.random.default_rng(1).random(shape[1:3])
    triggers = [trigger(shape=shape, label=label, parts={"mask": mask}) for label in range(4)]
    page = page_of(result_of("failed"), triggers=[*triggers, *triggers])
    assert len(page.encode()) <= MAX_BYTES
    assert page.count("<img") >= 8 * 3
