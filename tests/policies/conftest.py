"""Small checks and exposers behind patched entry points, so that these tests know every option by heart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from ebyd_scan.policies import plugins
from pydantic import Field


class ToyCheck:
    """A check with an option of each kind."""

    id = "toy"
    stage = "exposure"

    def __init__(
        self,
        *,
        threshold: Annotated[float, Field(gt=0, le=1, description="how much is too much")] = 0.5,
        steps: Annotated[int, Field(ge=1, description="how long to look")] = 10,
        mode: Annotated[Literal["fast", "deep"], Field(description="how to look")] = "fast",
        names: Annotated[tuple[str, ...], Field(description="what to look at")] = ("a", "b"),
        limit: Annotated[float | None, Field(description="where to stop")] = None,
        strict: Annotated[bool, Field(description="whether to be strict")] = False,
    ) -> None:
        self.options = {"threshold": threshold, "steps": steps, "mode": mode, "names": names, "limit": limit}
        self.strict = strict


class PlainCheck:
    """A check without options."""

    id = "plain"
    stage = "file"


class PositionalCheck:
    """A check that breaks the rule of keyword-only arguments."""

    id = "positional"
    stage = "file"

    def __init__(self, depth: int = 3) -> None:
        self.depth = depth


class ToyExposer:
    """An exposer with one option."""

    id = "clean-unlearning"

    def __init__(self, *, rate: Annotated[float, Field(gt=0, description="learning rate")] = 0.1) -> None:
        self.rate = rate


class ToyRemover:
    """A remover with one option."""

    id = "scrub"

    def __init__(self, *, epochs: Annotated[int, Field(ge=1, description="how long")] = 3) -> None:
        self.epochs = epochs


@dataclass(frozen=True)
class FakeEntryPoint:
    name: str
    value: str
    loaded: object

    def load(self) -> object:
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[FakeEntryPoint]]:
    """Replaces the installed plugins; a test may add to the lists."""
    groups = {
        plugins.CHECKS: [
            FakeEntryPoint("plain", "toys:Plain", PlainCheck),
            FakeEntryPoint("toy", "toys:Toy", ToyCheck),
            FakeEntryPoint("positional", "toys:Positional", PositionalCheck),
            FakeEntryPoint("broken", "toys:Broken", ModuleNotFoundError("No module named 'toys'")),
            FakeEntryPoint("function", "toys:function", len),
        ],
        plugins.EXPOSERS: [FakeEntryPoint("clean-unlearning", "toys:Exposer", ToyExposer)],
        plugins.REMOVERS: [
            FakeEntryPoint("scrub", "toys:Remover", ToyRemover),
            FakeEntryPoint("polish", "toys:Remover", ToyRemover),
        ],
    }

    def entry_points(*, group: str, name: str | None = None) -> list[Any]:
        return [point for point in groups[group] if name in (None, point.name)]

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    return groups


@pytest.fixture
def policy_error(tmp_path: Any) -> Callable[[str | bytes], list[str]]:
    """Write a policy file and load it; gives the lines of the error, without the file's name."""
    from ebyd_scan.evidence.errors import UsageError
    from ebyd_scan.policies.load import load_policy

    def load(content: str | bytes) -> list[str]:
        path = tmp_path / "policy.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(UsageError) as caught:
            load_policy(str(path))
        lines = str(caught.value).splitlines()
        assert all(line.startswith(f"{path}:") for line in lines), lines
        return [line.removeprefix(f"{path}:").strip() for line in lines]

    return load
