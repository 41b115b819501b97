"""The models in folders, each with the options that rules give it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...evidence.errors import UsageError
from ..project.load import options_of, said_by
from .discover import Discovery, discover
from .names import named
from .plan import MAX_MODELS, Plan
from .rules import Rules
from .wanted import Asked, Wanted, plan_of


def plan_of_folder(folder: Path, rules_file: Path | None, defaults: Mapping[str, Any]) -> Plan:
    """The plan of a folder. Nothing in it says how it is scanned, but for what the user names.

    Raises:
        UsageError: the folder cannot be listed, or the rules are wrong.
    """
    from .manifest_yaml import read_rules

    rules = Rules() if rules_file is None else read_rules(rules_file)
    asked = Asked(folder, [], files=[] if rules_file is None else [rules_file])
    if rules_file is not None and _resolved(rules_file).is_relative_to(_resolved(folder)):
        asked.notes.append(
            f"{rules_file}: lies in the folder that is audited: see that it is yours, it may have come with the models"
        )
    add_folders(asked, [folder], [""], rules, defaults)
    return plan_of(asked, defaults)


def add_folders(
    asked: Asked, folders: Sequence[Path], prefixes: Sequence[str], rules: Rules, defaults: Mapping[str, Any]
) -> None:
    """Find the models in folders and add them.

    Args:
        prefixes: what the names of models begin with, one a folder: the folder as a manifest writes it.

    Raises:
        UsageError: a folder is none or cannot be listed, or there are too many models.
    """
    known = dict.fromkeys(_samples(asked, rules, defaults), "the clean samples")
    known |= {_resolved(file): "the rules" for file in asked.files}
    known |= {_resolved(one.path): f"model {one.name} of the manifest" for one in asked.wanted}
    for folder, prefix in zip(folders, prefixes, strict=True):
        if not folder.is_dir():
            raise UsageError(f"{asked.source}: {folder} is no folder: check `folders`")
        inside = {path: why for path, why in known.items() if path != _resolved(folder)}
        found = discover(folder, known=inside, skip=rules.skip, pruned=rules.pruned)
        _add(asked, folder, prefix, found, rules)
        known = {_resolved(one.path): f"model {one.name}, found in another folder" for one in asked.wanted} | known
        if len(asked.wanted) > MAX_MODELS:
            raise UsageError(f"{asked.source}: has more than {MAX_MODELS:,} models: audit its folders one by one")
    asked.notes += rules.notes()


def _add(asked: Asked, folder: Path, prefix: str, found: Discovery, rules: Rules) -> None:
    whole = [f"{prefix}/{one.relative}" if one.relative else prefix or _resolved(folder).name for one in found.found]
    names = named(whole, [one.name for one in asked.wanted])
    for one, name in zip(found.found, names, strict=True):
        said, where = rules.said(one.relative, name)
        asked.wanted.append(Wanted(name, one.path, said, where, one.problem))
    asked.left_out += found.left_out
    asked.notes += found.notes


def _samples(asked: Asked, rules: Rules, defaults: Mapping[str, Any]) -> Iterator[Path]:
    """Where clean samples are, but for those of rules that depend on a model's name."""
    for said in (defaults, *(one.said for one in asked.wanted)):
        if said.get("samples") is not None:
            yield _resolved(said["samples"])
    for part in (rules.defaults, *rules.rules):
        if part.samples and "{name}" not in part.samples:
            yield _resolved(options_of(said_by(part), rules.file.parent, "")["samples"])


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL: told where it is read
        return path.absolute()
