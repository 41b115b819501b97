"""The checks as SARIF rules: what each looks for, how bad it is, and its ids in MITRE ATLAS and OWASP's list.

Ids of ATLAS (https://atlas.mitre.org) as of 2026: AML.T0010.003 AI Supply Chain Compromise: Model, AML.T0011.000 Unsafe
AI Artifacts, AML.T0018 Manipulate AI Model (.000 Poison AI Model, .001 Modify AI Model Architecture, .002 Embed
Malware), AML.T0020 Poison Training Data, AML.T0043.004 Insert Backdoor Trigger. Of the OWASP Machine Learning Security
Top Ten (draft of 2023): ML02 Data Poisoning Attack, ML06 AI Supply Chain Attacks, ML10 Model Poisoning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from .printable import one_line

# Where docs/ can be read. No address is made up, since it could be somebody else's: put the real one here, with a
# slash at the end, when there is one. Until then it is a name in the same space as the ids of our JSON Schemas.
DOCS: Final = "urn:ebyd-scan:docs/"
SCAN, VERDICT, PARITY = "scan", "verdict", "onnx-parity"
_MAX_NAME = 200  # characters of a check's id that is not ours


@dataclass(frozen=True)
class _Rule:
    id: str
    short: str
    full: str
    do: str  # what to do about it
    page: str  # below docs/
    severity: str | None = None  # 0.1 to 10, of security rules; over 9.0 is shown as critical, from 7.0 as high
    level: str = "error"
    atlas: tuple[str, ...] = ()
    owasp: tuple[str, ...] = ()
    cwe: tuple[str, ...] = ()

    def descriptor(self) -> dict[str, Any]:
        """A SARIF `reportingDescriptor`."""
        more = f"docs/{self.page}"
        tags = [f"external/mitre-atlas/{id}" for id in self.atlas]
        tags += [f"external/owasp-ml/{id}:2023" for id in self.owasp]
        tags += [f"external/cwe/{id}" for id in self.cwe]
        properties: dict[str, Any] = {"tags": ["security", *tags] if self.severity else ["reliability", *tags]}
        if self.severity:
            properties["security-severity"] = self.severity
        else:
            properties["problem.severity"] = self.level
        return {
            "id": self.id,
            "name": "".join(part.capitalize() for part in self.id.split("-")),
            "shortDescription": {"text": self.short},
            "fullDescription": {"text": self.full},
            "help": {
                "text": f"{self.full} What to do: {self.do} More: {more} in ebyd-scan's documentation.",
                "markdown": f"{self.full}\n\n**What to do:** {self.do}\n\nMore: `{more}` in ebyd-scan's documentation.",
            },
            "helpUri": f"{DOCS}{self.page}",
            "defaultConfiguration": {"level": self.level},
            "properties": properties,
        }


_RULES = (
    _Rule(
        "file-safety",
        "The model file holds more than weights.",
        "Loading the file could run code, or the file contradicts itself in a way that honest tools do not write. "
        "Nothing of it was loaded.",
        "Do not load the file. Get the weights from their author as safetensors, or convert them where the model was "
        "made.",
        "checks/file-safety.md",
        "9.8",
        atlas=("AML.T0011.000", "AML.T0018.002", "AML.T0010.003"),
        owasp=("ML06",),
        cwe=("cwe-502",),
    ),
    _Rule(
        "graph-logic",
        "The graph of the ONNX file decides what its weights should decide.",
        "The computation graph compares, branches or picks places of the input and so changes the scores by itself. "
        "That is a backdoor which needs no poisoned weight.",
        "Do not ship the file. Export it again from a model that you trust, and compare the graphs.",
        "checks/graph-logic.md",
        "9.1",
        atlas=("AML.T0018.001", "AML.T0010.003"),
        owasp=("ML10", "ML06"),
        cwe=("cwe-506",),
    ),
    _Rule(
        "model-detection",
        "The model has a backdoor: a recovered trigger sends samples to one label.",
        "A trigger toward one label is much smaller than what the model's other labels need, and it works on clean "
        "samples that the search has not seen.",
        "Do not ship the model. Get it again from a source you trust and compare digests, or train it again from data "
        "you trust; then scan that file.",
        "checks/model-detection.md",
        "8.8",
        atlas=("AML.T0018.000", "AML.T0020", "AML.T0043.004", "AML.T0010.003"),
        owasp=("ML10", "ML02", "ML06"),
        cwe=("cwe-506",),
    ),
    _Rule(
        "reference-drift",
        "A label has risen since the release that was approved.",
        "Once the clean task is unlearned, predictions go to a label that they did not go to in the approved release.",
        "Find out what was trained between the two releases, and on which data.",
        "checks/reference-drift.md",
        "7.5",
        atlas=("AML.T0018.000", "AML.T0020", "AML.T0010.003"),
        owasp=("ML10", "ML02", "ML06"),
    ),
    _Rule(
        "sample-trust",
        "Some of the clean samples look poisoned themselves.",
        "Samples carry what decides about other samples too, nearly equal each other, or hold noise that gives their "
        "class away. A scan on such samples can miss the backdoor; triggered ones show in a model that answers to "
        "them.",
        "Do not ship the model. Scan it again with clean samples of another origin, and look at the samples that are "
        "named.",
        "checks/sample-trust.md",
        "5.0",
        level="warning",
        atlas=("AML.T0020",),
        owasp=("ML02",),
    ),
    _Rule(
        "backdoor-label",
        "Without the clean task predictions fall back on one label, or it cannot be told on which.",
        "The label that predictions collapse onto when the clean task is unlearned. It says where to look and is no "
        "proof of a backdoor.",
        "Read it together with model-detection. If it cannot tell, scan with more clean samples.",
        "checks/backdoor-label.md",
        "5.0",
        level="warning",
        atlas=("AML.T0018.000", "AML.T0020"),
        owasp=("ML10", "ML02"),
    ),
    _Rule(
        "sample-fit",
        "The clean samples do not fit the model.",
        "The model does not recognise the clean samples: they are normalised or labelled otherwise than in training, "
        "or belong to another model. What was measured on them would be noise.",
        "Give the samples and the preprocessing that the model was trained with.",
        "checks/sample-fit.md",
        level="warning",
    ),
    _Rule(
        PARITY,
        "The ONNX graph could not be reproduced.",
        "The scores of the graph as it is scanned differ from those of onnxruntime, so a scan would look at another "
        "function.",
        "Export the model again, with another opset, and scan that file.",
        "how-it-works.md",
        level="warning",
    ),
    _Rule(
        SCAN,
        "The model could not be scanned, which is not a pass.",
        "The file is missing, damaged or of no known format, or the scan crashed, ran out of time or out of memory.",
        "Put right what the message says and scan again; until then treat the model as not scanned.",
        "cli.md",
    ),
    _Rule(
        VERDICT,
        "The verdict is no pass.",
        "No single check says why: none of them looked for a backdoor, or the scan ended before any did.",
        "Read the message, put right what it says and scan again.",
        "reports.md",
    ),
)


def rules(others: list[str]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Descriptors of every rule of ours, the same in each report, then those of `others`; and where each stands.

    Args:
        others: ids of the checks in a report; those that are not ours come from plug-ins.
    """
    table = {rule.id: rule.descriptor() for rule in _RULES}
    for check in others:
        id = rule_id(check)
        if id not in table:
            table[id] = {
                "id": id,
                "name": id,
                "shortDescription": {"text": f"Check {id}."},
                "fullDescription": {"text": f"The check {id}, which does not come with ebyd-scan."},
                "help": {"text": "See the documentation of the package that brings this check."},
                "defaultConfiguration": {"level": "error"},
                "properties": {"tags": ["security"], "security-severity": "7.0"},
            }
    return list(table.values()), {id: index for index, id in enumerate(table)}


def rule_id(check: str) -> str:
    """The id of a check as a report may hold it."""
    return one_line(check)[:_MAX_NAME] or "check"
