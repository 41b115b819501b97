"""What convinces a sceptic, as the HTML page shows it: how a trigger compares with other labels', and what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...evidence.finding import Outcome, Witness
from ...evidence.sizes import size_text
from .figures import percent
from .html_names import Names, clip
from .html_plots import Bar, bar_plot
from .printable import one_line

if TYPE_CHECKING:
    from ..handover import Handed
    from .formats import Given

_LABELS = 9  # other labels that have a bar of their own
_MAX_ITEMS = 8
_KINDS = {
    "patch": "patch",
    "blend": "pattern over the whole picture",
    "filter": "colour filter",
    "warp": "warp",
    "words": "row of words",
}


def evidence_of(given: Given, names: Names, picture_bytes: int) -> list[dict[str, Any]]:
    """One item a witness of a finding that is not a pass, with its pictures; then triggers that no finding names.

    Args:
        given: recovered triggers are matched with findings by label and family.
        names: of the classes.
        picture_bytes: that all pictures may take together, as text.
    """
    told = (Outcome.FAILED, Outcome.INCONCLUSIVE)
    left = list(given.triggers[:_MAX_ITEMS])
    room = picture_bytes // max(1, len(left))
    items: list[dict[str, Any]] = []
    for finding in [one for one in given.result.findings if one.witness and one.outcome in told][:_MAX_ITEMS]:
        witness = finding.witness
        assert witness is not None
        match = next((h for h in left if (h.form.label, h.form.family) == (witness.label, witness.family)), None)
        if match:
            left.remove(match)
        item = _item(len(items), witness, match, names, room)
        items.append(item | {"outcome": finding.outcome.value, "examples": _examples(witness, given, names)})
    for handed in left:
        items.append(_item(len(items), None, handed, names, room) | {"outcome": ""})
    return items


def _examples(witness: Witness, given: Given, names: Names) -> list[dict[str, str]]:
    """Held-out texts that the witness's words were put in front of."""
    form = next((one for one in given.words if (one.label, one.words) == (witness.label, witness.text)), None)
    return [
        {
            "text": clip(one_line(one.text), 500),
            "true": names.short(one.true_label),
            "before": names.short(one.predicted_before),
            "after": names.short(one.predicted_after),
        }
        for one in (form.examples if form else ())
    ]


def _item(index: int, witness: Witness | None, handed: Handed | None, names: Names, room: int) -> dict[str, Any]:
    about = witness or (handed.form if handed else None)
    assert about is not None
    kind = _KINDS.get(about.family, about.family)
    label = names.short(about.label)
    words = None if witness is None or witness.text is None else clip(one_line(witness.text), 300)
    sent = "texts" if words is not None else "samples"
    item: dict[str, Any] = {
        "id": f"evidence-{index}",
        "title": f"The words that lead to {label}" if words is not None else f"A {kind} that leads to {label}",
        "label": label,
        "rate": about.attack_success_rate,
        "told": f"of {about.samples} held-out {sent} of other classes are sent to {label}",
        "size": None if words is not None else size_text(about.family, [about.size]),
        "words": words,
        "comparison": None,
        "picture": None,
        "examples": [],
        "files": [],
    }
    if witness is not None:
        item["comparison"] = _comparison(index, witness, names)
        item["files"] = witness.files[:10]
    if handed is not None:
        from .html_pictures import pictures_of  # numpy and Pillow, which came with torch

        item["picture"] = pictures_of(handed, names, room)
    return item


def _comparison(index: int, witness: Witness, names: Names) -> dict[str, Any] | None:
    """The witness beside the same for other labels: sizes of triggers, or what as many words do."""
    if witness.text is not None:
        others = sorted(witness.control_success.items(), key=lambda pair: -pair[1])
        mine, title = witness.attack_success_rate, "Held-out texts sent to each label by its best words"
        note = "As many words, the best that were found for each label. The further ahead, the more unusual."
        texts = {label: percent(value) for label, value in others}
        own = percent(mine)
    else:
        others = sorted(witness.control_sizes.items(), key=lambda pair: pair[1])
        mine, title = witness.size, "Size of the smallest trigger found for each label"
        note = "The smaller beside the others, the more unusual."
        texts = {label: _amount(witness.family, value) for label, value in others}
        own = _amount(witness.family, mine)
    if not others:
        return None
    largest = max(mine, *(value for _, value in others), 1e-12)
    bars = [Bar(names.short(witness.label, 14), mine / largest, own, marked=True)]
    bars += [Bar(names.short(label, 14), value / largest, texts[label]) for label, value in others[:_LABELS]]
    rows = [(names.short(witness.label), own, True)]
    rows += [(names.short(label), texts[label], False) for label, _ in others[: 4 * _LABELS]]
    unit = size_text(witness.family, [0.0]).removeprefix("0").strip()
    return {
        "title": title,
        "note": note,
        "unit": "share of the texts" if witness.text is not None else unit,
        "plot": bar_plot(f"comparison-{index}", title, bars),
        "rows": rows,
        "left": max(0, len(others) - _LABELS),
        "rows_left": max(0, len(others) - 4 * _LABELS),
    }


def _amount(family: str, size: float) -> str:
    """Without the unit, which stands above all of them; percent stays."""
    text = size_text(family, [size])
    figure, _, unit = text.partition(" ")
    return f"{figure} %" if unit.startswith("%") else figure
