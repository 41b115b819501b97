"""What is told of two audits: pairs by name and by digest, and what got worse first."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ebyd_scan.evidence.audit import Audit
from ebyd_scan.evidence.finding import Outcome
from ebyd_scan.evidence.result import ModelInfo, Verdict
from ebyd_scan.scanner.audit.compare import Comparison, compare
from ebyd_scan.scanner.reports.audit_comparison import MAX_SHOWN, to_json, to_text

from ..reports import audits


def _model(verdict: str, name: str, digest: str | None = None, **changes: Any) -> Any:
    return audits.model(verdict, name, model=ModelInfo(path=f"zoo/{name}", sha256=digest or f"of {name}"), **changes)


def _compare(a: list[Any], b: list[Any], **more: Any) -> Comparison:
    return compare(audits.audit(a), audits.audit(b, number=8), **more)


def _text(comparison: Comparison, width: int = 120) -> list[str]:
    text = to_text(comparison, color=False, width=width)
    assert all(line.isprintable() for line in text.splitlines())
    return text.splitlines()


def test_the_same_twice_is_unchanged() -> None:
    same = compare(audits.mixed(), audits.mixed())
    assert (same.unchanged, same.changed, same.new, same.gone, same.worse) == (5, [], [], [], False)
    assert _text(same)[0] == "5 models: 5 unchanged."


def test_gone_new_and_renamed() -> None:
    a = [_model("passed", "kept"), _model("failed", "gone"), _model("passed", "old name", "1" * 64)]
    b = [_model("passed", "new name", "1" * 64), _model("passed", "kept"), _model("error", "new")]
    told = _compare(a, b)
    assert [side.name for side in told.gone] == ["gone"]
    assert [side.name for side in told.new] == ["new"]
    (renamed,) = told.changed
    assert (renamed.before.name, renamed.after.name, renamed.changed) == ("old name", "new name", ["name"])
    assert renamed.direction == "other"
    assert told.unchanged == 1
    assert told.worse  # the new one did not pass


def test_a_name_goes_before_a_digest() -> None:
    swapped = _compare(
        [_model("passed", "a", "1" * 64), _model("passed", "b", "2" * 64)],
        [_model("passed", "a", "2" * 64), _model("passed", "b", "1" * 64)],
    )
    assert [(change.before.name, change.after.name, change.changed) for change in swapped.changed] == [
        ("a", "a", ["file"]),
        ("b", "b", ["file"]),
    ]


def test_copies_are_matched_once_and_unread_files_never() -> None:
    copies = _compare(
        [_model("passed", "a", "1" * 64)], [_model("passed", "b", "1" * 64), _model("passed", "c", "1" * 64)]
    )
    assert [change.after.name for change in copies.changed] == ["b"]
    assert [side.name for side in copies.new] == ["c"]
    a = audits.model("error", "a", model=ModelInfo(path="a"))
    b = audits.model("error", "b", model=ModelInfo(path="b"))
    unread = _compare([a], [b])
    assert (len(unread.gone), len(unread.new), unread.changed) == (1, 1, [])


@pytest.mark.parametrize("before", list(Verdict))
@pytest.mark.parametrize("after", list(Verdict))
def test_directions(before: Verdict, after: Verdict) -> None:
    order = ["passed", "inconclusive", "error", "failed"]
    told = _compare([_model(before, "m")], [_model(after, "m")])
    if before is after:
        assert told.unchanged == 1
        return
    (change,) = told.changed
    worse = order.index(after) > order.index(before)
    assert change.direction == ("worse" if worse else "better")
    assert told.worse is worse
    assert "verdict" in change.changed


def test_what_got_worse_stands_first() -> None:
    names = {"better": ("failed", "passed"), "unclear": ("passed", "inconclusive"), "bad": ("inconclusive", "failed")}
    a = [_model(before, name) for name, (before, _) in names.items()]
    b = [_model(after, name) for name, (_, after) in names.items()]
    a.append(_model("passed", "other", "1" * 64))
    b.append(_model("passed", "other", "2" * 64))
    assert [change.after.name for change in _compare(a, b).changed] == ["bad", "unclear", "other", "better"]


def _found(**changes: Any) -> Any:
    return _model("failed", "m", findings=[audits.detection(Verdict.FAILED, **changes)])


@pytest.mark.parametrize(
    ("change", "changed", "direction"),
    [
        ({"score": 0.249}, None, None),
        ({"score": 0.27}, ["score"], "other"),
        ({"score": None}, ["score"], "other"),
        ({"label": 4}, ["label"], "other"),
        ({"label": None}, ["label"], "other"),
        ({"outcome": Outcome.INCONCLUSIVE}, ["outcome"], "better"),
        ({"outcome": Outcome.PASSED, "label": None}, ["outcome", "label"], "better"),
        ({"message": "another sentence", "seconds": 1.0}, None, None),
    ],
)
def test_findings(change: dict[str, Any], changed: list[str] | None, direction: str | None) -> None:
    told = _compare([_found()], [_found(**change)])
    if changed is None:
        assert told.unchanged == 1
        return
    (model,) = told.changed
    (finding,) = model.findings
    assert (model.changed, finding.changed, model.direction) == (["findings"], changed, direction)


def test_the_tolerance_is_a_choice() -> None:
    assert _compare([_found()], [_found(score=0.27)], tolerance=0.1).unchanged == 1
    assert _compare([_found()], [_found(score=0.2401)], tolerance=0).unchanged == 0
    assert _compare([_found(score=400.0)], [_found(score=403.0)]).unchanged == 1  # a share of it, too


def test_a_check_that_ran_once_only() -> None:
    (change,) = _compare([_model("failed", "m", findings=[])], [_found()]).changed
    (finding,) = change.findings
    assert finding.before is None and finding.after is not None and finding.changed == ["outcome"]
    assert change.direction == "other"


def test_the_text() -> None:
    a = [_model("passed", "m", "1" * 64), _model("passed", "old"), _model("passed", "same"), _model("failed", "x")]
    b = [_model("failed", "m", "2" * 64), _model("error", "new"), _model("passed", "same"), _model("passed", "x")]
    assert _text(_compare(a, b)) == [
        "5 models: 1 got worse, 1 got better; 1 new, of which 1 did not pass; 1 gone; 1 unchanged.",
        "Before: audit 7 of zoo, 2026-05-17T09:30:00+00:00: failed",
        "After: audit 8 of zoo, 2026-05-17T09:30:00+00:00: failed",
        "",
        "WORSE         m  passed -> failed, another file (111111111111 -> 222222222222)",
        "    model-detection: passed -> FAILED, label none -> 3 (cat), score 0.97 -> 0.24",
        "better        x  failed -> passed",
        "    model-detection: FAILED -> passed, label 3 (cat) -> none, score 0.24 -> 0.97",
        "",
        "New: 1",
        "ERROR         new  The reason why it is error.",
        "",
        "Gone: 1",
        "PASSED        old  The reason why it is passed.",
    ]


def test_a_stopped_audit_is_told() -> None:
    a = audits.audit([_model("passed", "m")])
    lines = _text(compare(a, audits.audit([], ended=None)))
    assert lines[2].endswith(", stopped before its end") and not lines[1].endswith("end")


def test_a_flood_is_counted() -> None:
    models = [_model("failed", f"m{index}") for index in range(MAX_SHOWN + 2)]
    lines = _text(_compare([], models))
    assert lines[-1] == "    ... and 2 more that are new"
    assert _text(compare(audits.audit([]), audits.audit([])))[0] == "No models in either audit."


def test_hostile_text() -> None:
    empty = audits.audit([])
    for a, b in ((audits.hostile(), empty), (empty, audits.hostile()), (_renamed(audits.hostile()), audits.hostile())):
        told = compare(a, b)
        _text(told)
        assert "\x1b" not in to_text(told, color=False, width=80)
        assert to_json(told).isascii()


def _renamed(audit: Audit) -> Audit:
    models = [model.model_copy(update={"name": f"{model.name}\x1b[31m"}) for model in audit.models]
    return audit.model_copy(update={"models": models})


def test_json() -> None:
    told = _compare([_model("passed", "m")], [_model("failed", "m")])
    text = to_json(told)
    assert Comparison.model_validate_json(text) == told
    data = json.loads(text)
    assert list(data) == ["schema_version", "a", "b", "changed", "new", "gone", "unchanged", "tolerance"]
    assert data["changed"][0]["direction"] == "worse"


def test_thousands() -> None:
    many = audits.many(2000)
    assert compare(many, many).unchanged == 2000
