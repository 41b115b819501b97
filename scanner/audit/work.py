"""One model of an audit on its way through the tiers."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field

from ...evidence.finding import Finding, Outcome
from ...evidence.result import ModelInfo
from ...policies.load import LoadedPolicy
from ..request import ScanRequest
from ..tiers import TIERS, Part, Tier
from .signature import signature
from .store import Known, Store
from .watched import Watched

BACKDOOR_LABEL = "backdoor-label"
CHANGED = "has changed since the audit began: run it again"


@dataclass(eq=False)
class Work:
    """What is to be scanned, how, and how far it is."""

    position: int
    name: str
    request: ScanRequest
    policy: LoadedPolicy
    settings: str  # digest of all that findings hang on but the model (keys.py)
    samples: str  # digest of the clean samples
    watched: Watched = field(default_factory=Watched)  # what it shares with others, but the samples
    last: Tier = TIERS[-1]  # that its policy has checks for
    model: ModelInfo | None = None  # known once the file has been read, or lies there unchanged
    key: str | None = None
    tier: Tier = "static"
    suspicion: float = 0.0  # the most suspicious are searched first
    lost: int = 0  # how often its worker went away
    scanned: bool = False  # whether this audit had to do anything for it
    started: float = field(default_factory=time.time)  # of the task that reads the file, seconds since 1970
    spoilt: str | None = None  # why what its worker says is not to be kept
    ended: bool = False
    followers: list[Work] = field(default_factory=list)  # the same model under other names

    @property
    def rank(self) -> tuple[int, float, int]:
        """The smallest is done first: cheap tiers of all models, then the most suspicious, then the plan's order."""
        return TIERS.index(self.tier), -self.suspicion, self.position

    @property
    def place(self) -> str:
        """The name of its files in the store."""
        base = f" + {self.request.base_model.resolve()}" if self.request.base_model else ""
        return f"{self.request.model.resolve()}{base}"

    @property
    def alone(self) -> bool:
        """Whether the file is all of the model; an ONNX file may lack another, which its signature does not show."""
        return self.request.model.suffix.lower() != ".onnx"

    def changed(self) -> str | None:
        """Why what a worker says now is not to be kept: something it may have read is not what was digested."""
        place = self.watched.changed()
        return f"{str(place).encode(errors='backslashreplace').decode()} {CHANGED}" if place else None

    def named(self, error: str | None, path: str) -> str | None:
        """An error about the same model under another path, told of this one."""
        return error.replace(path, str(self.request.model)) if error and path else error

    def signature(self, store: Store, moment: float | None = None) -> str | None:
        """Of its files, with those beside it that it was read with last."""
        beside = (self.model.files if self.model else None) or store.beside(self.place)
        single = not self.request.model.is_dir()
        return signature(
            self.request.model, list(beside) if single else (), base=self.request.base_model, moment=moment
        )

    def refusal_place(self, seal: str) -> str:
        """The name, in the store, of what lies there under these settings."""
        return hashlib.sha256(f"{self.place}\0{seal}\0{self.settings}".encode()).hexdigest()

    def part(self, known: Known | None) -> Part:
        """What its next task is told."""
        if known is None or self.model is None:
            return Part(tier=self.tier)
        return Part(
            tier=self.tier,
            sha256=self.model.sha256,
            files=self.model.files or {},
            findings=known.findings,
            exposures=known.exposures,
        )


def suspicion_of(findings: list[Finding]) -> float:
    """How much the cheap tiers say against a model: what a check left open, then the gain of the label exposed."""
    open_questions = sum(finding.outcome is Outcome.INCONCLUSIVE for finding in findings)
    gain = next((finding.score or 0.0 for finding in findings if finding.check == BACKDOOR_LABEL), 0.0)
    return open_questions + gain


def is_suspect(findings: list[Finding]) -> bool:
    """Whether anything speaks against the model before the search: an open question, or a label that is exposed.

    A model without `backdoor-label` among its findings is one: nothing has looked at it yet.
    """
    if any(finding.outcome not in (Outcome.PASSED, Outcome.SKIPPED) for finding in findings):
        return True
    return next((finding.label is not None for finding in findings if finding.check == BACKDOOR_LABEL), True)
