"""What a verdict means and what to do about it, worded once for every format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from ...evidence.result import ScanResult, Verdict
from .printable import one_line

_SENTENCES = {
    Verdict.PASSED: "no backdoor was found in {model}",
    Verdict.FAILED: "{model} must not be shipped",
    Verdict.INCONCLUSIVE: "whether {model} has a backdoor cannot be told",
    Verdict.ERROR: "{model} was not scanned, which is not a pass",
}
_WAYS_OUT = {
    Verdict.PASSED: "This holds for this file (see its SHA-256) and the kinds of backdoor that the checks look for.",
    Verdict.FAILED: "Do not ship this file. Get the model again from a source you trust and compare digests, or train "
    "it again from data you trust; then scan that file.",
    Verdict.INCONCLUSIVE: "Scan again with more clean samples (50 or more a class), or have a person judge the figures "
    "above before anything is shipped.",
    Verdict.ERROR: "Put right what is said above and scan again; until then, treat the model as not scanned.",
}


def sentence(result: ScanResult) -> str:
    """The verdict in plain words, without a full stop: `resnet18.pt must not be shipped`. One line."""
    said = _SENTENCES[result.verdict]
    model = result.judged.model.path
    if result.verdict is Verdict.PASSED and result.exposure is None and result.removal is None:
        said = "the checks found nothing in {model}, and none of them looked for a backdoor"
    return said.format(model=one_line(PurePath(model).name or model))


def blames_samples(result: ScanResult) -> bool:
    """Whether it cannot be told because of samples that a finding names."""
    return result.verdict is Verdict.INCONCLUSIVE and any(finding.samples for finding in result.findings)


def way_out(result: ScanResult) -> str:
    """What to do now, in a sentence or two."""
    if blames_samples(result):
        return (
            "Look at the samples that are named, which the JSON and HTML reports list; scan again without them, or "
            "with samples from elsewhere."
        )
    return _WAYS_OUT[result.verdict]


def times(timings: Mapping[str, float]) -> str:
    """`2 min 13 s in all (load 0.4 s, checks 1 min 35 s)`."""
    stages = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in timings.items() if stage != "total")
    if "total" not in timings:
        return stages
    return f"{duration(timings['total'])} in all" + (f" ({stages})" if stages else "")


def duration(seconds: float) -> str:
    """`0.4 s`, `38 s`, `1 min 35 s`, `2 h 5 min`."""
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
    if seconds >= 60:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
