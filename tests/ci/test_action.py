"""The action's own steps, in a shell, on the shipped models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.scanner.reports.formats import FORMATS

Digits = Callable[..., Any]


def test_a_backdoored_model_fails_the_step_and_says_why(digits: Digits, runner: Any) -> None:
    step = digits(model="badnets.safetensors", policy="fast.yaml")
    assert step.code == 1
    published = runner.published()
    assert (published["verdict"], published["exit-code"]) == ("failed", "1")
    report = json.loads((runner.workspace / published["report-path"]).read_text())
    assert report["verdict"] == "failed"
    assert (runner.workspace / published["junit-path"]).is_file()
    for name in ("sarif", "markdown", "html"):
        assert bool(published[f"{name}-path"]) is (name in FORMATS)
        assert not published[f"{name}-path"] or (runner.workspace / published[f"{name}-path"]).is_file()
    (error,) = step.of_kind("error")
    assert error.startswith("::error file=badnets.safetensors,title=ebyd-scan%3A model-detection failed::")
    assert "toward '7'" in error and "%25" in error
    assert "toward" in step.summary and "failed" in step.summary.lower()
    assert list((runner.workspace / "ebyd-scan-reports" / "witnesses").glob("*.png"))


def test_a_model_that_passes(digits: Digits, runner: Any) -> None:
    step = digits(
        model="clean.safetensors", cache="true", reports="out/deeper", options="--seed 3\n\n  --timeout=300  \n"
    )
    assert step.code == 0
    assert runner.published() | {"verdict": "passed", "exit-code": "0"} == runner.published()
    assert runner.outputs["pip"]["key"].startswith("ebyd-scan-pip-")
    assert json.loads((runner.workspace / "out/deeper/ebyd-scan.json").read_text())["seed"] == 3
    assert not step.of_kind("error") and len(step.of_kind("notice")) == 1


HOSTILE = [
    "$(touch canary)",
    "\"; touch canary; '`touch canary`'\n; touch canary\n",
    "--help",
    "x\n::error::forged\n::stop-commands::y\n%0A::error::forged",
    "a" * 5000,
    "",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:20]))
def test_no_input_reaches_a_shell_the_runner_or_another_output(text: str, digits: Digits, runner: Any) -> None:
    """As a model that is not there: it cannot be scanned, and nothing else happens."""
    step = digits(model=text)
    assert step.code in (2, 3)
    assert runner.published()["verdict"] == "error"
    assert set(runner.outputs["scan"]) == set(runner.published())
    assert not list(runner.workspace.rglob("canary"))
    assert len(step.commands) == 1 and step.commands[0].startswith("::error ")


@pytest.mark.parametrize("name", ["architecture", "arch_args", "mean", "policy", "reference", "options", "base_model"])
def test_the_other_inputs_neither(name: str, digits: Digits, runner: Any) -> None:
    step = digits(model="clean.safetensors", **{name: '$(touch canary)"`touch canary`"\n; touch canary'})
    assert step.code in (2, 3)
    assert runner.published()["verdict"] == "error"
    assert not list(runner.workspace.rglob("canary"))
    assert [line[:8] for line in step.commands] == ["::error "]


@pytest.mark.parametrize(
    ("name", "text"),
    [("extras", "torch]; touch canary"), ("torch_index", "$(touch canary)"), ("requirements", "`touch canary`.txt")],
)
def test_what_is_installed_is_chosen_from_what_there_is(name: str, text: str, digits: Digits, runner: Any) -> None:
    step = digits(model="clean.safetensors", **{name: text})
    assert step.code == 2
    assert not list(runner.workspace.rglob("canary"))
    assert step.commands[0].startswith(f"::error title=ebyd-scan::{name.replace('_', '-')}: ")


def test_a_model_whose_name_is_a_program(digits: Digits, runner: Any) -> None:
    """It is there, and is scanned under its name."""
    name = "$(touch canary) `touch canary` \"' \n::error::forged\n%0A::warning::, x=1:2.safetensors"
    (runner.workspace / "clean.safetensors").rename(runner.workspace / name)
    step = digits(model=name)
    assert step.code == 0
    assert runner.published()["verdict"] == "passed"
    assert len(step.commands) == 1 and step.commands[0].startswith("::notice file=$(touch canary)")
    assert "%0A%3A%3Aerror%3A%3Aforged" in step.commands[0]
    assert not list(runner.workspace.rglob("canary"))


def test_an_old_report_does_not_stay(digits: Digits, runner: Any) -> None:
    """With exit code 2 no report is written, and one of an earlier scan would be taken for this one's."""
    old = runner.workspace / "ebyd-scan-reports" / "ebyd-scan.json"
    old.parent.mkdir()
    old.write_text("{}")
    step = digits(model="clean.safetensors", policy="no-such-policy")
    assert step.code == 2
    published = runner.published()
    assert (published["verdict"], published["exit-code"], published["report-path"]) == ("error", "2", "")
    assert not old.exists()
    assert "no-such-policy" in step.commands[0] and "no-such-policy" in step.summary


def test_no_input_is_taken_for_an_old_report(digits: Digits, runner: Any) -> None:
    model = runner.workspace / "m" / "ebyd-scan.json"
    model.parent.mkdir()
    model.write_text("{}")
    step = digits(model="m/ebyd-scan.json", reports="m")
    assert step.code == 2 and "is an input" in step.commands[0]
    assert model.read_text() == "{}"


@pytest.mark.parametrize("value", ["k=2020-13-45", "k=0b_", "k=" + "[" * 2000])
def test_arguments_that_no_yaml_is(value: str, digits: Digits) -> None:
    step = digits(**{"model": "clean.safetensors", "arch-args": value})
    assert step.code == 2 and "is not valid YAML" in step.commands[0]


def test_a_folder_for_reports_that_cannot_be_one(digits: Digits, runner: Any) -> None:
    step = digits(model="clean.safetensors", reports="clean.npz/x")
    assert step.code == 2
    assert "clean.npz/x" in step.commands[0]
    assert (runner.workspace / "clean.npz").stat().st_size > 1000


def test_a_hostile_file_is_an_error_with_its_reports(digits: Digits, runner: Any) -> None:
    import pickle

    class Payload:
        def __reduce__(self) -> Any:
            return Path.touch, (Path("canary"),)

    (runner.workspace / "model.pt").write_bytes(pickle.dumps({"w": Payload()}))
    step = digits(model="model.pt")
    assert step.code == 3
    assert runner.published()["verdict"] == "error" and runner.published()["report-path"]
    assert any("file-safety" in line for line in step.of_kind("error"))
    assert not list(runner.workspace.rglob("canary"))


def test_the_scan_gets_neither_the_jobs_files_nor_its_credentials(
    digits: Digits, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The architecture's code runs in the scan, with its environment."""
    for name in ("GITHUB_TOKEN", "GITHUB_ENV", "GITHUB_PATH", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        monkeypatch.setenv(name, "secret")
    (runner.workspace / "nets.py").write_text(
        "import os, pathlib\nfrom ebyd_scan.fixtures.networks import plain_convnet\n"
        "pathlib.Path('environment').write_text(repr(dict(os.environ)))\n"
        "def net(**sizes):\n    return plain_convnet(**sizes)\n"
    )
    assert digits(model="clean.safetensors", architecture="nets.py:net").code == 0
    seen = (runner.workspace / "environment").read_text()
    assert "'GITHUB_WORKSPACE'" in seen
    assert not re.search(r"GITHUB_(TOKEN|ENV|PATH|OUTPUT|STEP_SUMMARY)|ACTIONS_ID", seen)
