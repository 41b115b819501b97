"""action.yml, the hooks and what docs/ci/ ships: valid, pinned, and in step with the command line."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ebyd_scan.scanner.cli.scan import scan

from .conftest import ACTION, ROOT

DOCS = ROOT / "docs" / "ci"
WORKFLOWS = sorted(DOCS.glob("github-*.yml"))
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # \S")
OPTIONS = {name for parameter in scan.params for name in parameter.opts}


def _tool(name: str) -> str:
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed: it comes with the extra dev")
    return found


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-actions", [ROOT / "action.yml"]),
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.gitlab-ci", [DOCS / "gitlab-ci.yml"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_schemas_take_them(schema: str, files: list[Path]) -> None:
    done = subprocess.run(
        [_tool("check-jsonschema"), "--builtin-schema", schema, *files], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing() -> None:
    command = [_tool("zizmor"), "--offline", "--no-config", "--persona", "pedantic", "--quiet"]
    done = subprocess.run([*command, ROOT / "action.yml", *WORKFLOWS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hooks_are_valid() -> None:
    done = subprocess.run(
        [_tool("pre-commit"), "validate-manifest", ROOT / ".pre-commit-hooks.yaml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", [ROOT / "action.yml", *WORKFLOWS], ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit(file: Path) -> None:
    uses = [line for line in file.read_text().splitlines() if "uses:" in line and not line.lstrip().startswith("#")]
    assert uses
    assert all(PINNED.search(line) for line in uses)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_give_the_action_inputs_that_it_has(file: Path) -> None:
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert "permissions" in job and "timeout-minutes" in job
        for step in job["steps"]:
            if "/ebyd-scan@" in step.get("uses", ""):
                assert step["with"].keys() <= ACTION["inputs"].keys()
                assert {"model", "samples"} <= step["with"].keys()
            assert "${{" not in step.get("run", "")
            assert "${{" not in step.get("with", {}).get("script", "")


def test_no_input_is_part_of_a_shell_line() -> None:
    assert not any("${{" in step.get("run", "") for step in ACTION["runs"]["steps"])


def test_a_stranger_s_pull_request_gets_a_token_that_reads_and_nothing_more() -> None:
    scanned = yaml.safe_load((DOCS / "github-pull-request-scan.yml").read_text())
    assert [job["permissions"] for job in scanned["jobs"].values()] == [{"contents": "read"}]
    assert "secrets" not in (DOCS / "github-pull-request-scan.yml").read_text().replace("without secrets", "")
    comment = yaml.safe_load((DOCS / "github-pull-request-comment.yml").read_text())
    assert comment[True]["workflow_run"]["workflows"] == [scanned["name"]]  # YAML 1.1 reads `on` as true
    steps = comment["jobs"]["comment"]["steps"]
    assert not any("checkout" in step.get("uses", "") or "run" in step for step in steps)


def _shell_of_gitlab() -> Iterator[str]:
    job: dict[str, Any] = yaml.safe_load((DOCS / "gitlab-ci.yml").read_text())["scan-model"]
    yield "\n".join([*job["before_script"], *job["script"]])


def _shell_of_jenkins() -> Iterator[str]:
    yield from re.findall(r"sh '''(.*?)'''", (DOCS / "Jenkinsfile").read_text(), re.DOTALL)


def _shell_of_the_walk() -> Iterator[str]:
    yield from re.findall(r"```sh\n(.*?)```", (DOCS / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("source", [_shell_of_gitlab, _shell_of_jenkins, _shell_of_the_walk])
def test_their_shell_is_shell_and_their_options_exist(source: Any) -> None:
    scripts = list(source())
    assert scripts
    for script in scripts:
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    commands = re.findall(r"ebyd-scan\"? scan((?:[^\n]|\\\n)*)", "\n".join(scripts))
    assert commands
    given = {option for command in commands for option in re.findall(r"(?<!\S)--[a-z][\w-]*", command)}
    assert given <= OPTIONS
    assert not any("help" in option for option in given)
