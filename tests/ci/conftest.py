"""action.yml, step by step: each `run:` goes to bash with the environment that GitHub's runner would give it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "fixtures" / "models"
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
DIGITS = {
    "architecture": "ebyd_scan.fixtures.networks:plain_convnet",
    "arch-args": "channels=1\nwidth=16\n",
    "mean": "0.3",
    "std": "0.35",
    "samples": "clean.npz",
    "device": "cpu",
    "policy": "short.yaml",
    "cache": "false",
}
SHORT = "version: 1\nname: short\nchecks: {file-safety: {}, sample-fit: {}}\n"
FAST = """
version: 1
name: fast
checks:
  file-safety:
  sample-fit:
  backdoor-label:
  model-detection: {suspects: 1, controls: 2, batch_size: 32}
"""


@dataclass
class Step:
    """How a step ended, and what the runner made of what it said."""

    code: int
    log: str
    outputs: dict[str, str]
    summary: str
    commands: list[str]  # the workflow commands that the runner would obey

    def of_kind(self, kind: str) -> list[str]:
        return [line for line in self.commands if line.startswith(f"::{kind} ")]


@dataclass
class Runner:
    """As much of a runner as a composite action needs."""

    workspace: Path
    temp: Path
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)

    def action(self, **inputs: str) -> Step:
        """Run all `run:` steps until one fails; the last that ran. Inputs by name, with `_` for `-`."""
        given = {name: str(spec.get("default", "")) for name, spec in ACTION["inputs"].items()}
        given |= {name.replace("_", "-"): value for name, value in inputs.items()}
        assert given.keys() == ACTION["inputs"].keys()
        step = None
        for raw in ACTION["runs"]["steps"]:
            if "run" in raw and self._wanted(raw.get("if"), given):
                step = self._step(raw, given)
                if step.code:
                    break
        assert step
        return step

    def published(self) -> dict[str, str]:
        """The action's own outputs."""
        return {name: self._fill(spec["value"], {}) for name, spec in ACTION["outputs"].items()}

    def _step(self, raw: dict[str, Any], inputs: dict[str, str]) -> Step:
        assert raw["shell"] == "bash"
        files = {name: self.temp / f"{name}-{len(self.outputs)}" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for file in files.values():
            file.write_text("")
        script = self.temp / "step.sh"
        script.write_text(raw["run"])
        given = {name: self._fill(value, inputs) for name, value in raw.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
            cwd=self.workspace,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "GITHUB_ACTIONS": "true",
                "GITHUB_ACTION_PATH": str(ROOT),
                "GITHUB_WORKSPACE": str(self.workspace),
                "RUNNER_TEMP": str(self.temp),
                **{name: str(file) for name, file in files.items()},
                **given,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
        )
        log = done.stdout.decode(errors="replace")
        assert "Traceback" not in log
        said = read_outputs(files["GITHUB_OUTPUT"].read_text())
        self.outputs[raw.get("id", raw["name"])] = said
        return Step(done.returncode, log, said, files["GITHUB_STEP_SUMMARY"].read_text(), obeyed(log))

    def _fill(self, text: str, inputs: dict[str, str]) -> str:
        return re.sub(r"\$\{\{\s*([\w.-]+)\s*\}\}", lambda match: self._value(match[1], inputs), text)

    def _value(self, name: str, inputs: dict[str, str]) -> str:
        parts = name.split(".")
        if parts[0] == "inputs":
            return inputs[parts[1]]
        assert parts[0] == "steps" and parts[2] == "outputs", name
        return self.outputs.get(parts[1], {}).get(parts[3], "")

    def _wanted(self, condition: str | None, inputs: dict[str, str]) -> bool:
        if condition is None:
            return True
        match = re.fullmatch(r"([\w.-]+) (==|!=) '(.*)'", condition)
        assert match, condition
        return (self._value(match[1], inputs) == match[3]) is (match[2] == "==")


def read_outputs(text: str) -> dict[str, str]:
    """What a runner reads in `$GITHUB_OUTPUT`: `name=value`, or `name<<MARK`, lines, MARK."""
    found, lines = {}, iter(text.split("\n"))
    for line in lines:
        if match := re.fullmatch(r"([^=<]+)<<(.+)", line):
            value = []
            for inner in lines:
                if inner == match[2]:
                    break
                value.append(inner)
            found[match[1]] = "\n".join(value)
        elif line:
            name, equals, value_text = line.partition("=")
            assert equals, line
            found[name] = value_text
    return found


def obeyed(log: str) -> list[str]:
    """The workflow commands in a log, less those between `::stop-commands::TOKEN` and `::TOKEN::`."""
    commands, token = [], None
    for line in re.split(r"\r\n|\n|\r", log):
        if token is not None:
            token = None if line.strip() == f"::{token}::" else token
        elif line.lstrip().startswith("::stop-commands::"):
            token = line.strip().removeprefix("::stop-commands::")
        elif line.lstrip().startswith("::"):
            commands.append(line.lstrip())
    return commands


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A workspace with the shipped models, and ebyd-scan installed: as the Python that runs these tests."""
    from ebyd_scan.scanner.ci.install import plan

    workspace, temp = tmp_path / "workspace", tmp_path / "temp"
    python = temp / "ebyd-scan-venv" / "bin" / "python"
    for folder in (workspace, python.parent):
        folder.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    extras = ACTION["inputs"]["extras"]["default"]
    (python.parents[1] / "installed").write_text(plan({"EBYD_EXTRAS": extras, "EBYD_DEVICE": "cpu"})[1])
    for name in ("clean", "badnets"):
        shutil.copy(MODELS / f"digits-{name}.safetensors", workspace / f"{name}.safetensors")
    shutil.copy(MODELS / "digits-samples.npz", workspace / "clean.npz")
    (workspace / "short.yaml").write_text(SHORT)
    (workspace / "fast.yaml").write_text(FAST)
    return Runner(workspace, temp)


@pytest.fixture
def digits(runner: Runner) -> Callable[..., Step]:
    """The action on a shipped model; keyword arguments replace inputs."""

    def go(**inputs: str) -> Step:
        return runner.action(**{name.replace("-", "_"): value for name, value in DIGITS.items()} | inputs)

    return go
