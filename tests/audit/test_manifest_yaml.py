"""Manifests as YAML: project files, with folders and rules."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ebyd_scan.evidence.errors import UsageError
from ebyd_scan.scanner.audit.plan import Plan, read_plan
from ebyd_scan.scanner.project.load import load_project
from ebyd_scan.scanner.read_request import read_request


def _plan(folder: Path, text: str, name: str = "models.yaml", **defaults: object) -> Plan:
    (folder / name).write_text(text)
    return read_plan(folder / name, defaults=defaults)


def _said(folder: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        _plan(folder, text)
    return str(caught.value).replace(f"{folder}/", "")


PROJECT = """\
version: 1
defaults: {samples: clean, policy: quick, mean: 0.3, seed: 7, reports: {json: "out/{name}.json"}}
models:
  - {name: one, model: a.pt, architecture: "nets/small.py:Net", arch-args: {classes: 10}, size: [32, 48]}
  - {name: two, model: bert, samples: reviews.tsv, mean: , policy: , remove-to: "fixed/{name}", reference: old}
"""


def test_a_project_file_is_a_manifest(tmp_path: Path) -> None:
    plan = _plan(tmp_path, PROJECT, "ebyd-scan.yaml")
    entries = load_project(tmp_path / "ebyd-scan.yaml")
    for planned, entry in zip(plan.planned, entries, strict=True):
        given = {**entry.options, "reference": entry.reference, "allow_pickle": False, "trust_remote_code": False}
        assert (planned.name, {**planned.options, "arch_args": dict(planned.options["arch_args"])}) == (
            entry.name,
            given,
        )
        read_request(**planned.options, load=lambda name: _policy())
    assert [one.where for one in plan.planned] == ["ebyd-scan.yaml:4", "ebyd-scan.yaml:5"]
    assert plan.notes == (
        f"{tmp_path}/ebyd-scan.yaml: `reports`, `remove-to`: for `ebyd-scan scan`, an audit takes no notice of it",
    )
    assert tmp_path / "nets/small.py" in plan.inputs


def _policy():
    from ebyd_scan.policies.load import load_policy

    loaded = load_policy("quick")
    checks = {**loaded.policy.checks, "reference-drift": {}}
    return type(loaded)(loaded.policy.model_copy(update={"checks": checks}), "", "built-in")


def test_the_command_line_has_the_lowest_rank(tmp_path: Path) -> None:
    text = "version: 1\ndefaults: {seed: 1}\nmodels: [{model: a.pt, device: cpu}, {model: b.pt, seed: 2, size: }]\n"
    one, two = _plan(tmp_path, text, seed=5, device="cuda", size=(8, 8), policy_name="audit", allow_pickle=True).planned
    assert [one.options[key] for key in ("seed", "device", "size", "policy_name")] == [1, "cpu", (8, 8), "audit"]
    assert [two.options[key] for key in ("seed", "device", "size", "allow_pickle")] == [2, "cuda", None, True]
    assert (one.name, two.name) == ("a.pt", "b.pt")


def test_folders_and_rules(tmp_path: Path) -> None:
    for name in ("zoo/a.pt", "zoo/b.pt", "other/x/c.pt", "clean/0/p.pt", "zoo/mine.pt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    text = """\
version: 1
defaults: {samples: clean, seed: 1}
models: [{name: mine, model: zoo/mine.pt, seed: 9}]
folders: [zoo, other, .]
rules:
  - {match: b.pt, seed: 2}
  - {match: "x/**", seed: 3}
  - {match: nothing}
"""
    plan = _plan(tmp_path, text, policy_name="quick")
    assert [(one.name, one.options["seed"], one.where) for one in plan.planned] == [
        ("mine", 9, "models.yaml:3"),
        ("zoo-a.pt", 1, "models.yaml: defaults"),
        ("zoo-b.pt", 2, "models.yaml: rule 1"),
        ("other-x-c.pt", 3, "models.yaml: rule 2"),
    ]
    assert {one.options["policy_name"] for one in plan.planned} == {"quick"}
    left = {one.path.removeprefix(f"{tmp_path}/"): one.reason for one in plan.left_out}
    assert left["zoo/mine.pt"] == "model mine of the manifest"
    assert left["zoo/a.pt"] == "model zoo-a.pt, found in another folder"
    assert left["clean/"] == "the clean samples"
    assert plan.notes == (f"{tmp_path}/models.yaml:8: rule 3, `nothing`, matches no model",)
    with pytest.raises(UsageError, match="none is no folder: check `folders`"):
        _plan(tmp_path, "version: 1\nfolders: [none]\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "version: 1\nmodels: [{model: a, sise: 3}]\n",
            "models.yaml:2:21: unknown key 'sise' in models.0; did you mean",
        ),
        ("version: 1\nmodels: [{model: a, allow-pickle: true}]\n", "cannot be set in a manifest: give --allow-pickle"),
        ("version: 1\nrules: [{match: a, trust-remote-code: true}]\n", "cannot be set in a manifest"),
        ("version: 1\nfolder: [a]\n", "models.yaml:2:1: unknown key 'folder'; did you mean 'folders'?"),
        (
            "version: 1\nmodels: [{name: a, model: x}, {name: A, model: y}]\n",
            "'A' is the name of a model on line 2 too",
        ),
        ("version: 1\nmodels: [{name: a}]\n", "'models.0.model' is missing"),
        ("version: 1\nmodels: [{model: 3}]\n", "'models.0.name' is missing"),
        ("version: 1\nmodels: []\n", "models.yaml: lists no models and no folders"),
        ("version: 1\nmodels: a\n", "models.yaml:2:9: models must be a list, not the text 'a'"),
        ("version: 1\nmodels: [a]\n", "must be a mapping"),
        ("version: 1\nfolders: ['']\n", "models.yaml:2:11: folders.0 must not be empty"),
        ("", "models.yaml: is empty, and a manifest begins with `version: 1`"),
        ("- a\n", "models.yaml:1:1: a manifest is a mapping of keys"),
        ("version: 1\n---\n", "a manifest is one document"),
        ("version: 1\nmodels: &a [*a]\n", "anchors are not allowed in a manifest"),
        ("version: 1\nmodels: !!python/object/apply:os.system [x]\n", "which is not allowed"),
        ("version: [\n", "is not valid YAML"),
        ("version: 1\nmodels: [{name: ../a, model: x}]\n", "models.0.name must be letters, digits"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    assert words in _said(tmp_path, text)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = "version: 2\nmodels: [{model: a, seed: x}]\nrules: [{match: a/}]\nfolders: [3]\n"
    assert len(_said(tmp_path, text).splitlines()) == 4


def test_rules_without_folders_and_missing_samples_are_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    plan = _plan(tmp_path, "version: 1\nmodels: [{model: a}]\nrules: [{match: a}]\n")
    assert plan.notes == (f"{tmp_path}/models.yaml: has rules, which are for the models in `folders`, and no folders",)
    assert plan.planned[0].problem == (
        f"{tmp_path}/a has no clean samples: give them with --samples, or in the manifest or rules"
    )


def test_thousands_of_models_and_no_more_than_ten(tmp_path: Path) -> None:
    entry = "- {{name: m{0}, model: m{0}.pt, samples: x, mean: [0.1, 0.2, 0.3], policy: quick, size: 32}}\n"
    started = time.monotonic()
    assert len(_plan(tmp_path, "version: 1\nmodels:\n" + "".join(map(entry.format, range(1000)))).planned) == 1000
    assert time.monotonic() - started < 15  # one second on an idle machine, where libyaml is there
    said = _said(tmp_path, "version: 1\nmodels:\n" + "- {model: a}\n" * 10_001)
    assert "models.yaml:3:1: models must not be longer than 10000" in said


@pytest.mark.parametrize("text", ["[" * 5000, "- 1\n" * 20_000, "a: " + "x" * 17_000_000, "a: \0"])
def test_bombs_end_in_a_sentence(text: str, tmp_path: Path) -> None:
    assert len(_said(tmp_path, text)) < 1000
