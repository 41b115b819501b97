"""Audits for tests: models of every verdict, as many as wanted, with whatever texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ebyd_scan.evidence.audit import Audit, AuditedModel, LeftOut, worst
from ebyd_scan.evidence.finding import Finding, Outcome, Witness
from ebyd_scan.evidence.result import ModelInfo, PolicyInfo, SamplesInfo, ScanResult, ToolInfo, Verdict

HOSTILE_NAMES = (
    "<script>window.hacked=1</script>",
    '"><img src="http://127.0.0.1:9/leak" onerror="window.hacked=1">',
    "\u202emodel\u202c\x1b[31m\x00.pt",
    "W" * 4000,
    '=HYPERLINK("http://127.0.0.1:9")',
    "javascript:alert(1)",
    "two\r\nlines\tand, commas; 'quotes' \ud800",
    "{{ 7 * 7 }}{% raw %}",
)
_ENDED = {
    Verdict.PASSED: Outcome.PASSED,
    Verdict.FAILED: Outcome.FAILED,
    Verdict.INCONCLUSIVE: Outcome.INCONCLUSIVE,
}


def detection(verdict: Verdict, **changes: Any) -> Finding:
    """What model-detection says of a model with this verdict."""
    failed = verdict is Verdict.FAILED
    witness = Witness(
        family="patch", label=3, size=0.0065, control_sizes={0: 0.026}, attack_success_rate=0.951, samples=222
    )
    fields: dict[str, Any] = {
        "check": "model-detection",
        "outcome": _ENDED[verdict],
        "message": f"model-detection is {verdict.value}.",
        "score": 0.24 if failed else 0.97,
        "threshold": 0.5,
        "label": 3 if failed else None,
        "label_name": "cat" if failed else None,
        "witness": witness if failed else None,
        "seconds": 94.2,
    }
    return Finding(**(fields | changes))


def scan(verdict: Verdict | str, path: str = "models/a.pt", **changes: Any) -> ScanResult:
    """A result; one that could not be scanned has no findings."""
    kind = Verdict(verdict)
    safe = Finding(check="file-safety", outcome=Outcome.PASSED, message="Nothing in it runs code.", seconds=0.02)
    fields: dict[str, Any] = {
        "tool": ToolInfo(version="0.1.0"),
        "model": ModelInfo(path=path, sha256="ab" * 32, format="safetensors", architecture="torchvision:resnet18"),
        "samples": SamplesInfo(path="clean", sha256="cd" * 32, count=500, classes=10),
        "policy": PolicyInfo(name="release-gate", sha256="ef" * 32),
        "seed": 0,
        "started": "2026-05-17T09:30:00+02:00",
        "verdict": kind,
        "reason": f"The reason why it is {kind.value}.",
        "findings": [] if kind is Verdict.ERROR else [safe, detection(kind)],
        "timings": {"total": 133.1},
    }
    return ScanResult(**(fields | changes))


def model(verdict: Verdict | str, name: str = "models/a.pt", **changes: Any) -> AuditedModel:
    """A model whose path is its name, unless `path` says otherwise; what AuditedModel does not know is its result's."""
    own = {key: changes.pop(key) for key in ("source", "on_inconclusive", "page") if key in changes}
    result = scan(verdict, changes.pop("path", name), **changes)
    return AuditedModel(name=name, result=result, **own)


def audit(models: Sequence[AuditedModel], **changes: Any) -> Audit:
    """Over these models, with the verdict that follows from theirs."""
    verdict = worst({one.result.verdict for one in models})
    fields: dict[str, Any] = {
        "tool": ToolInfo(version="0.1.0"),
        "number": 7,
        "source": "zoo",
        "started": "2026-05-17T09:30:00+00:00",
        "ended": "2026-05-17T11:30:00+00:00",
        "seconds": 7200.0,
        "verdict": verdict,
        "exit_code": verdict.exit_code,
        "models": list(models),
    }
    return Audit(**(fields | changes))


def mixed() -> Audit:
    """One model of each verdict, one more that passed and came from the store, and two files that were left out."""
    left = [LeftOut(path="zoo/readme.txt", reason="no model file by its name and first bytes")]
    left.append(LeftOut(path="zoo/\x1b[31m\u202e.bin", reason="<b>no</b>"))
    return audit(
        [
            model("passed", "zoo/clean.pt", page="pages/clean.html"),
            model("inconclusive", "zoo/unclear.pt"),
            model("failed", "zoo/bad one.pt", page="pages/bad one#1.html"),
            model("error", "zoo/broken.pt"),
            model("passed", "zoo/old.pt", source="store"),
        ],
        left_out=left,
    )


def hostile() -> Audit:
    """Every text of every model wants out of its field."""
    return audit([hostile_model(name) for name in HOSTILE_NAMES], source=HOSTILE_NAMES[0])


def hostile_model(name: str) -> AuditedModel:
    """Failed, with the name wherever a text may stand."""
    message = name[:4000].encode("utf-8", "replace").decode()  # the only text whose type refuses half a surrogate pair
    finding = detection(Verdict.FAILED, check=name[:900], message=message, label_name=name, metrics={name: name})
    return model(
        "failed",
        name,
        page=f"pages/{name}.html",
        reason=name,
        findings=[finding, detection(Verdict.FAILED, label_name=name)],
        model=ModelInfo(path=name, sha256=name, format=name, architecture=name),
        samples=SamplesInfo(path=name),
        policy=PolicyInfo(name=name, sha256=name),
        tool=ToolInfo(version=name),
        environment={name: name},
    )


def many(count: int) -> Audit:
    """As an auditor's folder: one in a hundred failed, some unclear or broken."""
    kinds = ["failed" if i % 100 == 0 else "error" if i % 100 == 1 else "inconclusive" if i % 50 == 2 else "passed"
             for i in range(count)]  # fmt: skip
    made = {kind: model(kind) for kind in set(kinds)}
    models = []
    for index, kind in enumerate(kinds):
        name = f"zoo/team-{index % 37}/model-{index:05d}.safetensors"
        info = made[kind].result.model.model_copy(update={"path": name, "sha256": f"{index:064x}"})
        result = made[kind].result.model_copy(update={"model": info, "timings": {"total": (index * 7919) % 1000 / 10}})
        models.append(AuditedModel(name=name, result=result, page=f"pages/{index:05d}.html"))
    return audit(models)
