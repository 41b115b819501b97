"""The model as a CycloneDX 1.6 ML-BOM entry: what it is, what was measured on it, and what was found.

Written by hand: cyclonedx-python-lib has no model cards. The tests hold it against the schema that comes with it.
"""

from __future__ import annotations

import uuid
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from ...evidence.finding import Finding, Outcome
from ...evidence.result import SamplesInfo, ScanResult
from ..request import TEXT_TABLES
from .figures import label_text, named, score_text, witness_text
from .json_report import as_json
from .printable import printable
from .removal import removal_figures

if TYPE_CHECKING:
    from .formats import Given

MODEL: Final = "model"
SAMPLES: Final = "samples"
PREFIX: Final = "ebyd-scan"  # of the names of properties
_FILES: Final = (".npz", *TEXT_TABLES)  # samples whose digest is that of a file's bytes
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:ebyd-scan:cyclonedx")
_CWES: Final = {"file-safety": 502, "graph-logic": 506, "model-detection": 506, "reference-drift": 506}
_LIMITS: Final = (
    "A scan that passes is no proof that there is no backdoor: it says what was looked for and not found, on these "
    "samples and with this policy.",
    "A trigger that was found may be natural to the data and not planted; look at the witness in the JSON report.",
)


def render(given: Given) -> str:
    """See `to_cyclonedx`."""
    return as_json(to_cyclonedx(given.result.judged))


def to_cyclonedx(result: ScanResult) -> dict[str, Any]:
    """The BOM as a JSON object; the same result gives the same BOM, with its serial number.

    The model is a component with a model card. A check that failed is a vulnerability that affects it. Samples are a
    component that the card's data sets refer to.
    """
    bom: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, _identity(result))}",
        "version": 1,
        "metadata": {
            "timestamp": result.started,
            "tools": {
                "components": [{"type": "application", "name": result.tool.name, "version": result.tool.version}]
            },
        },
        "components": [_model(result), _samples(result.samples)],
        "dependencies": [{"ref": MODEL}, {"ref": SAMPLES}],
    }
    found = [_vulnerability(finding, result) for finding in result.findings if finding.outcome is Outcome.FAILED]
    return {**bom, "vulnerabilities": found} if found else bom


def _identity(result: ScanResult) -> str:
    """What tells one scan from another; the same text for the same result."""
    parts = (result.model.path, result.model.sha256, result.samples.sha256, result.policy.sha256, result.seed)
    return "\n".join(printable(str(part)) for part in (*parts, result.started, result.tool.version, result.verdict))


def _model(result: ScanResult) -> dict[str, Any]:
    model = result.model
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": MODEL,
        "name": printable(PurePath(model.path).name or model.path),
        "description": f"ebyd-scan: {result.verdict.value}. {printable(result.reason)}",
    }
    if model.sha256 and model.format != "huggingface":  # a folder has none of its own
        component["hashes"] = _sha256(model.sha256)
    if model.files:
        component["components"] = [
            {"type": "file", "name": printable(name), "hashes": _sha256(digest)} for name, digest in model.files.items()
        ]
    component["modelCard"] = _card(result)
    component["properties"] = _properties(result)
    return component


def _card(result: ScanResult) -> dict[str, Any]:
    parameters: dict[str, Any] = {"task": "classification", "datasets": [{"ref": SAMPLES}]}
    if result.model.architecture:
        parameters["modelArchitecture"] = printable(result.model.architecture)
    return {
        "modelParameters": parameters,
        "quantitativeAnalysis": {"performanceMetrics": _metrics(result)},
        "considerations": {"technicalLimitations": list(_LIMITS)},
    }


def _metrics(result: ScanResult) -> list[dict[str, str]]:
    """What was measured: accuracy before and after exposure, each check's score, what a recovered trigger does."""
    rows: list[tuple[str, float, str]] = []
    for run in result.exposure.runs if result.exposure else ():
        samples = f"{sum(run.before.histogram)} clean samples"
        rows.append(("accuracy", run.before.accuracy, samples))
        if run.after is not None:
            rows.append((f"accuracy after {run.method}", run.after.accuracy, f"{samples}, seed {run.seed}"))
    for finding in result.findings:
        if finding.score is not None:
            told = "" if finding.threshold is None else f"threshold {finding.threshold!r}"
            rows.append((f"{PREFIX}:{finding.check} score", finding.score, told))
        if (witness := finding.witness) is not None:
            name = named(witness.label, finding.label_name if finding.label == witness.label else None)
            which = f"{witness.samples} held-out samples of other classes, {witness.family} trigger toward {name}"
            rows.append(("attack success rate", witness.attack_success_rate, which))
    metrics = []
    for kind, value, where in dict.fromkeys(rows):  # the runs share what was before
        metric = {"type": printable(kind), "value": repr(value)}
        metrics.append({**metric, "slice": printable(where)} if where else metric)
    return metrics


def _properties(result: ScanResult) -> list[dict[str, str]]:
    rows: list[tuple[str, object]] = [
        ("verdict", result.verdict.value),
        ("reason", result.reason),
        ("model.path", result.model.path),
        ("model.format", result.model.format),
        ("model.sha256", result.model.sha256),
        ("policy.name", result.policy.name),
        ("policy.sha256", result.policy.sha256),
        ("seed", result.seed),
    ]
    rows += [(f"check.{finding.check}", finding.outcome.value) for finding in result.findings]
    rows += removal_figures(result)
    rows += [(f"environment.{name}", value) for name, value in sorted(result.environment.items())]
    return _as_properties(rows)


def _samples(samples: SamplesInfo) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "data",
        "bom-ref": SAMPLES,
        "name": printable(PurePath(samples.path).name or samples.path),
        "description": "Clean labelled samples that the model was scanned with.",
    }
    if samples.sha256 and samples.path.lower().endswith(_FILES):
        component["hashes"] = _sha256(samples.sha256)
    component["data"] = [{"type": "dataset", "name": component["name"]}]
    rows = [(f"samples.{name}", getattr(samples, name)) for name in ("path", "sha256", "count", "classes")]
    component["properties"] = _as_properties(rows)
    return component


def _vulnerability(finding: Finding, result: ScanResult) -> dict[str, Any]:
    """A failed check as an entry that tools for vulnerabilities show. Whether it was planted is for a person to say."""
    source = {"name": result.tool.name}
    figures = [text for text in (label_text(finding) and f"label {label_text(finding)}", score_text(finding)) if text]
    if finding.witness:
        figures.append(witness_text(finding.witness, finding.label_name))
    entry: dict[str, Any] = {
        "bom-ref": printable(f"finding:{finding.check}:{result.findings.index(finding)}"),
        "id": printable(f"ebyd-scan:{finding.check}"),
        "source": source,
        "ratings": [
            {
                "source": source,
                "severity": "critical" if finding.check == "file-safety" else "high",
                "method": "other",
                "justification": "Rated by the kind of check; ebyd-scan does not score how likely an attack is.",
            }
        ],
        "description": printable(finding.message),
        "detail": printable("; ".join(figures) or finding.message),
        "recommendation": "Do not ship this file. Look at the evidence in the JSON report, and train or fetch the "
        "model again from a source that you trust.",
        "created": result.started,
        "analysis": {"state": "in_triage", "detail": "Reported by the scan; nobody has looked at it yet."},
        "affects": [{"ref": MODEL}],
    }
    if finding.check in _CWES:
        entry["cwes"] = [_CWES[finding.check]]
    return entry


def _as_properties(rows: list[tuple[str, Any]]) -> list[dict[str, str]]:
    return [
        {"name": printable(f"{PREFIX}:{name}"), "value": printable(str(value))}
        for name, value in rows
        if value is not None
    ]


def _sha256(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]
