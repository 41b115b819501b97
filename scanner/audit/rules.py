"""Rules for the models of a folder: which options go with which paths. Later rules go before earlier ones."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, field_validator

from ..project.load import options_of, said_by
from ..project.model import Options, Part, version_is_a_number

MAX_RULES: Final = 1000


class Rule(Options):
    """Options for the models whose path matches."""

    match: str = Field(
        min_length=1,
        max_length=4096,
        description="a name, or a path from the folder: `*`, `?`, `[...]`, and `**` for any number of folders",
    )
    skip: str | None = Field(None, min_length=1, max_length=1000, description="why such models are not scanned")

    @field_validator("match")
    @classmethod
    def _is_pattern(cls, value: str) -> str:
        if value.endswith("/"):
            raise ValueError("must not end with a slash: /** is everything in a folder")
        if any(part in ("", ".", "..") for part in value.removeprefix("/").split("/")):
            raise ValueError("must be a path within the folder, without empty parts and dots")
        return value


class RuleFile(Part):
    """Rules of an audit. Paths of samples and the like are relative to the file."""

    version: Literal[1] = Field(description="version of the format")
    defaults: Options = Field(default_factory=Options, description="options for every model")
    rules: list[Rule] = Field(default_factory=list, max_length=MAX_RULES, description="later ones go before earlier")

    _version = field_validator("version", mode="before")(version_is_a_number)


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a path, relative to the folder and with `/`, matches.

    A pattern without `/` is for the last name. `**` as a whole part of a path stands for any number of folders, none
    too; at the end of a pattern for the folder and everything in it.
    """
    if "/" not in pattern:
        name = re.compile(fnmatch.translate(pattern))
        return lambda path: bool(name.match(path.rpartition("/")[2]))
    parts = [
        None if part == "**" else re.compile(fnmatch.translate(part)) for part in pattern.removeprefix("/").split("/")
    ]
    return lambda path: _matches(parts, path.split("/"))


def _matches(parts: Sequence[re.Pattern[str] | None], names: list[str]) -> bool:
    """Step by step through the names, with all places in the pattern that fit so far: no path makes it slow."""
    places = _and_after({0}, parts)
    for name in names:
        held = {place for place in places if place < len(parts) and parts[place] is None}
        moved = {
            place + 1 for place in places
            if place < len(parts) and (part := parts[place]) is not None and part.match(name)
        }  # fmt: skip
        places = _and_after(held | moved, parts)
        if not places:
            return False
    return len(parts) in places


def _and_after(places: set[int], parts: Sequence[re.Pattern[str] | None]) -> set[int]:
    """The places, and those that lie behind a `**` which stands for nothing."""
    found = set(places)
    for place in places:
        while place < len(parts) and parts[place] is None:
            place += 1
            found.add(place)
    return found


@dataclass
class Rules:
    """The rules of a file, with what they matched so far."""

    rules: Sequence[Rule] = ()
    defaults: Options = field(default_factory=Options)
    file: Path = Path()
    lines: Sequence[int] = ()  # on which each stands
    used: set[int] = field(default_factory=set)
    _found: dict[str, list[int]] = field(default_factory=dict)

    @cached_property
    def _matchers(self) -> list[Callable[[str], bool]]:
        return [matcher(rule.match) for rule in self.rules]

    def _matching(self, relative: str) -> list[int]:
        if relative not in self._found:
            self._found[relative] = [index for index, matches in enumerate(self._matchers) if matches(relative)]
            self.used.update(self._found[relative])
        return self._found[relative]

    def skip(self, relative: str) -> str | None:
        """Why the model at a path is left out; None where it is not."""
        reason = None
        for index in self._matching(relative):
            if "skip" in self.rules[index].model_fields_set:
                said = self.rules[index].skip
                reason = said and f"{said} ({self.file.name}: rule {index + 1})"
        return reason

    def pruned(self, relative: str) -> str | None:
        """Why everything in a folder is left out, where one rule says so and no later one speaks of skipping."""
        speaking = [index for index, rule in enumerate(self.rules) if "skip" in rule.model_fields_set]
        if not speaking or not self.rules[speaking[-1]].match.endswith("/**"):
            return None
        return self.skip(relative) if self._matchers[speaking[-1]](relative) else None

    def said(self, relative: str, name: str) -> tuple[dict[str, Any], str]:
        """What the rules say of the model at a path, and which of them: "rules.yaml: rule 3"."""
        matching = self._matching(relative)
        fields: Mapping[str, Any] = said_by(self.defaults)
        for index in matching:
            fields = {**fields, **said_by(self.rules[index])}
        return options_of(fields, self.file.parent, name), self._where(matching)

    def _where(self, matching: list[int]) -> str:
        numbers = [str(index + 1) for index in matching]
        if len(numbers) > 1:
            return f"{self.file.name}: rules {', '.join(numbers[:-1])} and {numbers[-1]}"
        if numbers:
            return f"{self.file.name}: rule {numbers[0]}"
        return f"{self.file.name}: defaults" if self.defaults.model_fields_set else "command line"

    def notes(self) -> list[str]:
        """A sentence for every rule that matched nothing."""
        return [
            f"{self.file}:{self.lines[index]}: rule {index + 1}, `{rule.match}`, matches no model"
            for index, rule in enumerate(self.rules)
            if index not in self.used
        ]
