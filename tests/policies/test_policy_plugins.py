"""Checks and exposers are found by name and built with exactly what the policy says."""

from __future__ import annotations

from typing import Any

import pytest
from ebyd_scan.evidence.errors import UsageError
from ebyd_scan.policies.model import ExposureSettings, Policy
from ebyd_scan.policies.plugins import build_checks, build_exposer, options_model, plugin_class, plugin_names


def _policy(checks: dict[str, dict[str, Any]], **exposure: Any) -> Policy:
    return Policy(version=1, name="p", checks=checks, exposure=ExposureSettings(**exposure))


def test_build(toys: Any) -> None:
    policy = _policy({"toy": {"threshold": 1, "names": ["x"], "on_inconclusive": "fail"}, "plain": {}})
    toy, plain = build_checks(policy)
    assert type(toy).__name__ == "ToyCheck"
    options = {"threshold": 1.0, "steps": 10, "mode": "fast", "names": ("x",), "limit": None}
    assert vars(toy) == {"options": options, "strict": False}
    assert type(plain).__name__ == "PlainCheck"


def test_build_exposer(toys: Any) -> None:
    assert vars(build_exposer(_policy({"plain": {}}, options={"rate": 0.5}))) == {"rate": 0.5}
    assert vars(build_exposer(_policy({"plain": {}}))) == {"rate": 0.1}
    with pytest.raises(UsageError, match="exposer 'clean-unlearning': rate: Input should be greater than 0"):
        build_exposer(_policy({"plain": {}}, options={"rate": -1}))


def test_wrong_options_are_refused_without_a_file(toys: Any) -> None:
    with pytest.raises(UsageError, match="check 'toy': stepps: Extra inputs"):
        build_checks(_policy({"toy": {"stepps": 3}}))


def test_a_name_offered_twice_is_refused(toys: Any) -> None:
    toys["ebyd_scan.checks"].append(type(toys["ebyd_scan.checks"][0])("plain", "stray:Plain", object))
    with pytest.raises(UsageError, match="check 'plain' is offered more than once: stray:Plain, toys:Plain"):
        plugin_class("ebyd_scan.checks", "plain")


def test_options_of_a_class_without_constructor(toys: Any) -> None:
    assert options_model(plugin_class("ebyd_scan.checks", "plain")).model_fields == {}


def test_built_in_plugins_are_declared() -> None:
    names = plugin_names("ebyd_scan.checks", built_in_only=True)
    assert {"backdoor-label", "file-safety", "graph-logic", "model-detection", "sample-fit"} <= set(names)
    assert "clean-unlearning" in plugin_names("ebyd_scan.exposers")
