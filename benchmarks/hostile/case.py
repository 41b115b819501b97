"""What a hostile case is, and the list of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FAILED: Final = 1
REFUSED: Final = 3
PASSED: Final = 0


@dataclass(frozen=True)
class Payload:
    """What a file would do if it ran: create `canary`, in one of several ways. Harmless wherever it runs."""

    canary: Path

    @property
    def command(self) -> str:
        """For a shell."""
        return f"touch {self.canary}"

    @property
    def argv(self) -> tuple[str, ...]:
        return "touch", str(self.canary)

    @property
    def code(self) -> str:
        """Python, one expression."""
        return f"open({str(self.canary)!r}, 'w').close()"


Make = Callable[[Path, Payload], Path]  # a folder of its own and the payload -> the file or folder to inspect


@dataclass(frozen=True)
class Case:
    """One hostile file, and what `ebyd-scan inspect` says of it."""

    name: str
    group: str
    make: Make
    expected: int  # exit code
    live: bool  # unpickling the file does create the canary: the tests try it in a process of its own


@dataclass(frozen=True)
class Group:
    """Collects the cases of one kind."""

    name: str
    cases: list[Case]

    def __call__(self, expected: int = FAILED, *, live: bool = False) -> Callable[[Make], Make]:
        """Decorator: the function's name is the case's."""

        def add(make: Make) -> Make:
            self.add(make.__name__.replace("_", " ").strip(), make, expected, live=live)
            return make

        return add

    def add(self, name: str, make: Make, expected: int = FAILED, *, live: bool = False) -> None:
        self.cases.append(Case(name, self.name, make, expected, live))

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)


def group(name: str) -> Group:
    """A new one, empty."""
    return Group(name, [])
