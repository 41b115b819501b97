"""What came of a removal, worded once for every format: a sentence, a table of before and after, and plain figures."""

from __future__ import annotations

from ...evidence.removal import CandidateInfo, RemovalInfo
from ...evidence.result import ScanResult
from .figures import percent

HEADS = ("Measured on held-out samples", "Before", "After")
_NONE = "-"


def removal_sentence(removal: RemovalInfo) -> str:
    """What was done, and where the model is now."""
    where = removal.output.path if removal.output else ""
    return {
        "removed": f"Repaired by {removal.method} and accepted; written to {where}.",
        "not-accepted": f"Repaired by {removal.method}, but not as the policy wants it; written to {where}.",
        "nothing-to-remove": f"There is nothing to remove; an unchanged copy was written to {where}.",
        "error": f"Not repaired, and nothing was written: {removal.reason}",
    }[removal.outcome]


def removal_rows(result: ScanResult) -> list[tuple[str, str, str]]:
    """What was measured, on the original and on the repaired model; none where no model was repaired."""
    removal = result.removal
    chosen = removal.chosen if removal else None
    if removal is None or chosen is None:
        return []
    known = "the recovered trigger" if chosen.triggers == 1 else f"{chosen.triggers} recovered triggers, the worst"
    rows = [
        ("Clean accuracy", _share(chosen.accuracy_before), _share(chosen.accuracy_after)),
        (f"Success of {known}", _share(chosen.witness_success_before), _share(chosen.witness_success_after)),
        ("Success of suspicious triggers recovered anew", _NONE, _share(chosen.new_trigger_success)),
        ("Exposed, it collapses onto a suspected label", _NONE, _yes(chosen.residual_exposure)),
    ]
    if removal.fresh:
        before = removal.verdict_before.value if removal.verdict_before else _NONE
        seeds = f"Verdict (seed {result.seed}; of what was written, {removal.fresh.seed})"
        rows.append((seeds, before, removal.fresh.verdict.value))
    return rows


def told_candidates(removal: RemovalInfo) -> list[tuple[str, str]]:
    """Each remover that was tried, and what came of it."""
    return [(one.method, f"{'accepted' if one.accepted else 'not accepted'}: {one.why}") for one in removal.candidates]


def removal_figures(result: ScanResult) -> list[tuple[str, str]]:
    """Every figure as name and value, for the formats that machines read."""
    removal = result.removal
    if removal is None:
        return []
    rows: list[tuple[str, object]] = [
        ("removal.outcome", removal.outcome),
        ("removal.reason", removal.reason),
        ("removal.method", removal.method),
        ("removal.verdict_of", removal.verdict_of),
        ("removal.verdict_before", removal.verdict_before.value if removal.verdict_before else None),
        ("removal.accepted", str(removal.outcome == "removed").lower()),
    ]
    if chosen := removal.chosen:
        names = [name for name in CandidateInfo.model_fields if name.startswith(("accuracy", "witness", "new_"))]
        rows += [(f"removal.{name}", getattr(chosen, name)) for name in names]
    if fresh := removal.fresh:
        rows += [("removal.fresh.seed", fresh.seed), ("removal.fresh.verdict", fresh.verdict.value)]
        rows += [("removal.fresh.score", fresh.score)]
    if output := removal.output:
        rows += [("removal.output.path", output.path), ("removal.output.sha256", output.sha256)]
    return [(name, str(value)) for name, value in rows if value is not None]


def _share(value: float | None) -> str:
    return _NONE if value is None else percent(value)


def _yes(value: bool | None) -> str:
    return _NONE if value is None else "yes" if value else "no"
