"""What an audit scans and how: made of a manifest, or of a folder and rules. No model is opened for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...evidence.audit import LeftOut
from ...evidence.errors import UsageError

MAX_MODELS: Final = 10_000
TABLES: Final = (".csv", ".tsv")
YAML: Final = (".yaml", ".yml")


@dataclass(frozen=True)
class Planned:
    """One model of an audit."""

    name: str  # once in the plan, as names in a project file
    path: Path
    options: Mapping[str, Any]  # what `read_request` takes
    where: str  # the options came from: "models.csv:12", "rules.yaml: rule 3", "command line"
    problem: str | None = None  # one sentence: why it cannot be scanned, which is an error of the audit


@dataclass(frozen=True)
class Plan:
    """All models of an audit, and what is none of them."""

    source: Path
    planned: tuple[Planned, ...]
    left_out: tuple[LeftOut, ...] = ()
    inputs: tuple[Path, ...] = ()  # the user's files and folders, which no report may overwrite
    notes: tuple[str, ...] = ()  # sentences about what is no mistake, and may not be meant


def read_plan(source: Path, *, rules: Path | None = None, defaults: Mapping[str, Any]) -> Plan:
    """The plan of a manifest (.csv, .tsv, .yaml, .yml), or of a folder and, where there are any, its rules.

    Of a folder no file is believed: neither rules nor project files in it are read, unless they are named. Manifests
    and rules are read whole, and all that is wrong with one is told at once.

    Args:
        rules: a file of rules; goes with a folder.
        defaults: options of `read_request` from the command line, which a file's go before. `allow_pickle` and
            `trust_remote_code` come from here alone.

    Raises:
        UsageError: there is no such manifest or folder, or it or the rules are wrong: a line a mistake.
    """
    from .from_folder import plan_of_folder
    from .manifest_csv import read_table
    from .manifest_yaml import read_manifest

    if _is_folder(source):
        return plan_of_folder(source, rules, defaults)
    suffix = source.suffix.lower()
    if suffix not in (*TABLES, *YAML):
        raise UsageError(
            f"{source} is neither a folder nor a manifest, which is called .csv, .tsv, .yaml or .yml; a single model "
            "is for `ebyd-scan scan`"
        )
    if rules is not None:
        raise UsageError(f"--rules {rules}: goes with a folder, and {source} says itself how each model is scanned")
    return read_table(source, defaults) if suffix in TABLES else read_manifest(source, defaults)


def _is_folder(source: Path) -> bool:
    try:
        if not source.is_dir() and not source.exists():
            raise UsageError(f"{source}: there is no such file or folder")
        return source.is_dir()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{str(source)[:200]!r}: cannot be read: {reason}") from None
