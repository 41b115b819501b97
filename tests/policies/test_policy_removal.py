"""The `removal` block of a policy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.evidence.errors import UsageError
from ebyd_scan.policies.load import load_policy
from ebyd_scan.policies.plugins import REMOVERS, build_remover, plugin_names

HEAD = "version: 1\nname: p\nchecks: {plain: }\n"


def _load(tmp_path: Path, removal: str) -> Any:
    (tmp_path / "p.yaml").write_text(f"{HEAD}removal:\n{removal}")
    return load_policy(str(tmp_path / "p.yaml")).policy.removal


def test_defaults() -> None:
    removal = load_policy("release-gate").policy.removal
    assert (removal.method, removal.verdict_of, removal.options) == ("auto", "original", {})
    assert set(removal.candidates) <= set(plugin_names(REMOVERS)) and removal.tried == removal.candidates
    accept = removal.accept
    assert (accept.max_accuracy_drop, accept.max_witness_success, accept.max_new_trigger_success) == (0.02, 0.1, 0.1)
    assert not accept.allow_residual_exposure


def test_what_is_tried(toys: Any, tmp_path: Path) -> None:
    assert _load(tmp_path, "  candidates: [polish, scrub, polish]\n").tried == ["polish", "scrub"]
    one = _load(tmp_path, "  method: scrub\n  options: {scrub: {epochs: 7}}\n")
    assert one.tried == ["scrub"]
    assert vars(build_remover("scrub", one.options["scrub"])) == {"epochs": 7}
    with pytest.raises(UsageError, match="remover 'scrub': epochs: Input should be greater"):
        build_remover("scrub", {"epochs": 0})


@pytest.mark.parametrize(
    ("removal", "told"),
    [
        ("  method: scub\n", "5:11: unknown remover 'scub'; did you mean 'scrub'?"),
        ("  method: 3\n", "5:11: removal.method must be text, not 3"),
        ("  candidates: [scrub, auto]\n", "5:23: unknown remover 'auto'; valid here: polish, scrub"),
        ("  candidates: []\n", "5:15: removal.candidates must not be empty"),
        ("  options: {scrub: {epoch: 1}}\n", "5:21: unknown key 'epoch' in removal.options.scrub; did you mean "
         "'epochs'?"),
        ("  options: {scrub: {epochs: 0}}\n", "5:29: removal.options.scrub.epochs must be at least 1, not 0"),
        ("  options: {wash: {}}\n", "5:13: unknown remover 'wash'; valid here: polish, scrub"),
        ("  options: {scrub: 3}\n", "5:20: removal.options.scrub must be a mapping of keys to values, not 3"),
        ("  accept: {max_accuracy: 1}\n", "5:12: unknown key 'max_accuracy' in removal.accept; did you mean "
         "'max_accuracy_drop'?"),
        ("  accept: {max_witness_success: 2}\n", "5:33: removal.accept.max_witness_success must be at most 1, not 2"),
        ("  verdict_of: both\n", "5:15: removal.verdict_of must be 'original' or 'repaired', not the text 'both'"),
    ],
)  # fmt: skip
def test_mistakes(removal: str, told: str, toys: Any, policy_error: Callable[[str], list[str]]) -> None:
    assert policy_error(f"{HEAD}removal:\n{removal}") == [told]
