"""Names of classes, and how long they may be where there is little room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .printable import one_line

if TYPE_CHECKING:
    from .formats import Given

_ROOM = 60  # characters of a name in a sentence or a table


def clip(text: str, length: int) -> str:
    """At most `length` characters, with `…` for what is missing."""
    return text if len(text) <= length else text[: length - 1] + "…"


@dataclass(frozen=True)
class Names:
    """What is known of the classes' names: results hold those of the labels that findings and pictures are about."""

    known: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Given) -> Names:
        """From findings and recovered triggers."""
        known: dict[int, str] = {}
        for handed in given.triggers:
            known |= handed.form.class_names
            known[handed.form.label] = handed.form.label_name
        for form in given.words:
            known |= form.class_names
        findings = given.result.findings
        known |= {one.label: one.label_name for one in findings if one.label is not None and one.label_name}
        return cls(known)

    def short(self, label: int, length: int = _ROOM) -> str:
        """`3 (cat)`, or `3` where the name is not known or says no more; at most `length` characters."""
        index = str(label)
        name = one_line(self.known.get(label, "")[: 4 * length])
        return clip(f"{index} ({name})" if name and name != index else index, length)
