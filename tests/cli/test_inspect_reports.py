"""Reports of `ebyd-scan inspect` for CI systems: SARIF and JUnit, of good files, bad ones and missing ones."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ebyd_scan.scanner.inspection import inspection_of
from ebyd_scan.scanner.reports.inspection_junit import to_inspection_junit
from ebyd_scan.scanner.reports.inspection_sarif import to_inspection_sarif
from junitparser import Error, Failure, JUnitXml, Skipped
from lxml import etree

HERE = Path(__file__).parents[1] / "reports"
SARIF = jsonschema.Draft7Validator(json.loads((HERE / "sarif-schema-2.1.0.json").read_text()))
JUNIT = [etree.XMLSchema(etree.parse(HERE / name)) for name in ("jenkins-junit-10.xsd", "junit-strict.xsd")]


class Canary:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("canary", "w")


@pytest.fixture
def folder(tmp_path: Path, models: Path) -> Path:
    (tmp_path / "good.safetensors").write_bytes((models / "digits-clean.safetensors").read_bytes())
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "evil [x](y)\x1b.pt").write_bytes(pickle.dumps(Canary()))
    (tmp_path / "text.pt").write_text("no model")
    return tmp_path


def test_reports_of_many_files(ebyd: Callable[..., Any], folder: Path) -> None:
    names = ["good.safetensors", "sub/evil [x](y)\x1b.pt", "text.pt", "nowhere.onnx"]
    run = ebyd("inspect", "-q", *names, "--sarif", "i.sarif", "--junit", "i.xml", "--json", "-", cwd=folder)
    assert run.code == 1 and json.loads(run.out)["exit_code"] == 1
    assert not (folder / "canary").exists()

    log = json.loads((folder / "i.sarif").read_text())
    SARIF.validate(log)
    (told,) = log["runs"]
    found = [
        (one["ruleId"], one["level"], one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"])
        for one in told["results"]
    ]
    assert found == [
        ("file-safety", "error", "sub/evil%20%5Bx%5D%28y%29%1B.pt"),
        ("scan", "error", "text.pt"),
        ("scan", "error", "nowhere.onnx"),
    ]
    assert told["invocations"][0]["exitCode"] == 1 and not told["invocations"][0]["executionSuccessful"]
    assert told["invocations"][0]["startTimeUtc"]
    assert [len(one.get("hashes", {})) for one in told["artifacts"]] == [1, 1, 0, 0]

    data = (folder / "i.xml").read_bytes()
    for schema in JUNIT:
        schema.assertValid(etree.fromstring(data))
    suites = list(JUnitXml.fromstring(data))
    assert [suite.name for suite in suites] == [names[0], "sub/evil [x](y)\\x1b.pt", *names[2:]]
    kinds = [[(case.name, [type(one) for one in case.result]) for case in suite] for suite in suites]
    assert kinds == [
        [("file-safety", []), ("graph-logic", [Skipped])],
        [("file-safety", [Failure]), ("graph-logic", [Skipped])],
        [("inspection", [Error])],
        [("inspection", [Error])],
    ]


def test_a_good_file_has_no_results(ebyd: Callable[..., Any], folder: Path) -> None:
    run = ebyd("inspect", "good.safetensors", "--sarif", "-", cwd=folder)
    (told,) = json.loads(run.out)["runs"]
    assert run.code == 0 and told["results"] == [] and "passed  good.safetensors" in run.err
    assert told["invocations"][0]["executionSuccessful"]


def test_reports_are_checked_before_anything_is_read(ebyd: Callable[..., Any], folder: Path) -> None:
    kept = (folder / "good.safetensors").read_bytes()
    for options, words in (
        (["--sarif", "good.safetensors"], "is an input"),
        (["--junit", "a", "--sarif", "./a"], "would both be written to"),
        (["--junit", "-", "--sarif", "/dev/stdout"], "would both be written to standard output"),
        (["--junit", "nowhere/a"], "there is no folder"),
    ):
        run = ebyd("inspect", "good.safetensors", *options, cwd=folder)
        assert run.code == 2 and words in run.text and run.out == ""
    assert (folder / "good.safetensors").read_bytes() == kept
    run = ebyd("inspect", "good.safetensors", "--sarif", "/dev/full", "--junit", "i.xml", cwd=folder)
    assert run.code == 3 and "cannot be written" in run.err and (folder / "i.xml").exists()


def test_nothing_inspected_is_never_clean() -> None:
    nothing = inspection_of([])
    log = json.loads(to_inspection_sarif(nothing, Path("/"), "2026-01-01"))
    SARIF.validate(log)
    assert not log["runs"][0]["invocations"][0]["executionSuccessful"]
    (suite,) = JUnitXml.fromstring(to_inspection_junit(nothing, "2026-01-01").encode())
    assert suite.errors == 1
