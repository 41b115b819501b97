"""The policies and the schema that are shipped, against the checks that are shipped."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from ebyd_scan.policies.load import built_in_names, built_in_text, load_policy
from ebyd_scan.policies.plugins import build_checks, build_exposer
from ebyd_scan.policies.schema import policy_schema, schema_text
from ebyd_scan.scanner.cli.policy import policy as policy_group


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return policy_schema(built_in_only=True)


def test_shipped_schema_is_up_to_date(schema: dict[str, Any]) -> None:
    shipped = (files("ebyd_scan.policies") / "policy.schema.json").read_text(encoding="utf-8")
    assert shipped == schema_text(schema), "run: python -m ebyd_scan.policies.schema > policies/policy.schema.json"
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", built_in_names())
def test_built_in_policies(name: str, schema: dict[str, Any]) -> None:
    loaded = load_policy(name)
    assert loaded.policy.name == name
    assert loaded.source == "built-in"
    assert [check.id for check in build_checks(loaded.policy)] == list(loaded.policy.checks)
    assert build_exposer(loaded.policy).id == loaded.policy.exposure.method
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(built_in_text(name)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"checks": {}},
        {"checks": {"file-safty": {}}},
        {"checks": {"file-safety": {"no-such-option": 1}}},
        {"checks": {"file-safety": {"on_inconclusive": "maybe"}}},
        {"exposure": {"options": {"learning_rat": 0.1}}},
        {"exposure": {"method": "none"}},
        {"exposure": {"seeds": 0}},
        {"extra": 1},
    ],
)
def test_schema_refuses(wrong: dict[str, Any], schema: dict[str, Any]) -> None:
    good: dict[str, Any] = {"version": 1, "name": "x", "checks": {"file-safety": None}}
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(good)
    assert not validator.is_valid(good | wrong)


def test_cli_list_and_show() -> None:
    listed = CliRunner().invoke(policy_group, ["list"])
    assert listed.exit_code == 0
    assert [line.split("\t")[0] for line in listed.output.splitlines()] == list(built_in_names())
    shown = CliRunner().invoke(policy_group, ["show", "quick"])
    assert shown.output == built_in_text("quick")
    wrong = CliRunner().invoke(policy_group, ["show", "quik"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert wrong.stderr == "there is no built-in policy 'quik'; did you mean 'quick'?\n"


def test_cli_validate(tmp_path: Any) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(built_in_text("audit"))
    good = CliRunner().invoke(policy_group, ["validate", str(path)])
    assert (good.exit_code, good.output) == (0, f"{path}: valid\n")
    path.write_text("version: 1\nnmae: x\nchecks: {file-safety: }\n")
    bad = CliRunner().invoke(policy_group, ["validate", str(path)])
    assert (bad.exit_code, bad.stdout) == (2, "")
    assert bad.stderr.splitlines() == [
        f"{path}:1:1: 'name' is missing",
        f"{path}:2:1: unknown key 'nmae'; did you mean 'name'?",
    ]


def test_cli_schema_and_help() -> None:
    printed = CliRunner().invoke(policy_group, ["schema"])
    assert json.loads(printed.output)["$schema"].endswith("2020-12/schema")
    for command in ("", "list", "show", "validate", "schema"):
        shown = CliRunner().invoke(policy_group, [*command.split(), "--help"])
        assert shown.exit_code == 0
        assert "Example" in shown.output


def test_no_heavy_imports() -> None:
    code = (
        "import sys\n"
        "from ebyd_scan.policies.load import load_policy, built_in_names\n"
        "from ebyd_scan.policies.plugins import build_checks, build_exposer\n"
        "for name in built_in_names():\n"
        "    policy = load_policy(name).policy\n"
        "    build_checks(policy), build_exposer(policy)\n"
        "from ebyd_scan.policies import decide, schema\n"
        "heavy = {'torch', 'numpy', 'transformers', 'torchvision'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
