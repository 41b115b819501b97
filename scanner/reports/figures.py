"""The figures behind a finding, worded once for every format."""

from __future__ import annotations

from ...evidence.exposure import ExposureRun
from ...evidence.finding import Finding, Outcome, Witness
from ...evidence.sizes import size_text

OUTCOMES = {  # a word for each and its style
    Outcome.PASSED: ("passed", "green"),
    Outcome.FAILED: ("FAILED", "bold red"),
    Outcome.INCONCLUSIVE: ("cannot tell", "yellow"),
    Outcome.SKIPPED: ("skipped", "dim"),
    Outcome.ERROR: ("ERROR", "bold magenta"),
}
_SAMPLES = 100  # names in one line


def number(value: float | int | str) -> str:
    """Three significant digits where there is a fraction; text and whole numbers as they are."""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def percent(share: float) -> str:
    """`0.934` as `93 %`; what is not all does not read 100 %, and what is not nothing does not read 0 %."""
    rounded = round(share * 100)
    if (rounded == 100 and share < 1) or (rounded == 0 and share > 0):
        return f"{share * 100:.1f} %"
    return f"{rounded} %"


def label_text(finding: Finding) -> str | None:
    """`3 (cat)`, or `3` where the name says no more; None where the finding is about no label."""
    return None if finding.label is None else named(finding.label, finding.label_name)


def named(label: int, name: str | None) -> str:
    """A label by index and, where there is one, by name."""
    return f"{label} ({name})" if name and name != str(label) else str(label)


def score_text(finding: Finding) -> str | None:
    """`score 0.94 (threshold 0.5)`."""
    if finding.score is None:
        return None
    bound = "" if finding.threshold is None else f" (threshold {number(finding.threshold)})"
    return f"score {number(finding.score)}{bound}"


def _words_text(witness: Witness, name: str | None) -> str:
    text = f"{witness.text!r} before a text, for label {named(witness.label, name)},"
    if witness.control_success:
        most = percent(max(witness.control_success.values()))
        text += f" (as many words for other labels reach at most {most})"
    rate = percent(witness.attack_success_rate)
    return f"{text} sends {rate} of {witness.samples} held-out samples of other classes there"


def witness_text(witness: Witness, name: str | None = None) -> str:
    """What was recovered, how it compares to other labels of the same model, and what it does."""
    if witness.text is not None:
        return _words_text(witness, name)
    size = size_text(witness.family, [witness.size])
    text = f"a {witness.family} trigger of {size} for label {named(witness.label, name)}"
    if witness.control_sizes:
        text += f" (other labels need {size_text(witness.family, witness.control_sizes.values())})"
    rate = percent(witness.attack_success_rate)
    return f"{text} sends {rate} of {witness.samples} held-out samples of other classes there"


def top_class(run: ExposureRun) -> tuple[int, float] | None:
    """The class that most predictions of the exposed model fall on, and its share; None where there are none."""
    if run.after is None or not sum(run.after.histogram):
        return None
    histogram = run.after.histogram
    label = max(range(len(histogram)), key=histogram.__getitem__)
    return label, histogram[label] / sum(histogram)


def details(finding: Finding) -> list[tuple[str, str]]:
    """Every figure of a finding as name and value, for the formats that are read by machines and people alike."""
    rows: list[tuple[str, str]] = [("outcome", finding.outcome.value)]
    if finding.score is not None:
        rows.append(("score", repr(finding.score)))
    if finding.threshold is not None:
        rows.append(("threshold", repr(finding.threshold)))
    if finding.label is not None:
        rows.append(("label", str(finding.label)))
    if finding.label_name is not None:
        rows.append(("label_name", finding.label_name))
    if finding.witness is not None:
        witness = finding.witness
        rows += [
            ("witness.family", witness.family),
            ("witness.label", str(witness.label)),
            ("witness.size", repr(witness.size)),
            ("witness.control_sizes", ", ".join(f"{k}: {v!r}" for k, v in witness.control_sizes.items())),
            ("witness.attack_success_rate", repr(witness.attack_success_rate)),
            ("witness.samples", str(witness.samples)),
        ]
        if witness.text is not None:
            rows.append(("witness.text", witness.text))
        rows += [("witness.files", ", ".join(witness.files))] if witness.files else []
    if finding.samples:
        rest = len(finding.samples) - _SAMPLES
        told = ", ".join(finding.samples[:_SAMPLES])
        rows.append(("samples", told if rest <= 0 else f"{told} and {rest} more"))
    return rows + [(f"metrics.{name}", str(value)) for name, value in finding.metrics.items()]
