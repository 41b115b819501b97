"""`ebyd-scan scan` without MODEL, on the shipped models: verdicts, reports, exit codes, all checked before a scan."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.scanner.cli.scan_project import worst

pytest.importorskip("torch")
HEAD = """\
version: 1
defaults:
  samples: {models}/digits-samples.npz
  architecture: ebyd_scan.fixtures.networks:plain_convnet
  arch-args: {{channels: 1, width: 16}}
  mean: 0.3
  std: 0.35
  policy: {policy}
  reports:
    json: reports/{{name}}.json
    statement: reports/{{name}}.statement.json
    cyclonedx: reports/{{name}}.cdx.json
models:
"""
FILE_ONLY = "version: 1\nname: file\nchecks: {file-safety: {}}\n"
CLEAN = "  - {{name: clean, model: {models}/digits-clean.safetensors}}\n"
BAD = "  - {{name: backdoored, model: {models}/digits-badnets.safetensors}}\n"


@pytest.fixture
def write(tmp_path: Path, models: Path) -> Callable[..., Path]:
    (tmp_path / "file.yaml").write_text(FILE_ONLY)

    def go(*entries: str, policy: object = "file.yaml") -> Path:
        text = (HEAD + "".join(entries)).format(models=models, policy=policy)
        (tmp_path / "ebyd-scan.yaml").write_text(text)
        return tmp_path

    return go


@pytest.mark.slow
def test_a_backdoored_and_a_clean_model(
    ebyd: Callable[..., Any], write: Callable[..., Path], fast_policy: Path, models: Path
) -> None:
    folder = write(CLEAN, BAD, policy=fast_policy)
    run = ebyd("scan", cwd=folder)
    assert run.code == 1
    assert run.out.index("PASSED: ") < run.out.index("FAILED: ")
    assert run.out.endswith("2 models: 1 failed, 1 passed.\n")
    assert "ebyd-scan: 1 of 2: clean\n" in run.err and "ebyd-scan: 2 of 2: backdoored\n" in run.err
    assert "1 of 2" not in run.out
    verdicts = [json.loads((folder / "reports" / f"{name}.json").read_text()) for name in ("clean", "backdoored")]
    assert [verdict["verdict"] for verdict in verdicts] == ["passed", "failed"]
    for name in ("clean", "backdoored"):
        assert json.loads((folder / "reports" / f"{name}.cdx.json").read_text())["bomFormat"] == "CycloneDX"
        for report in (f"{name}.json", f"{name}.statement.json"):
            found = ebyd("verify-report", f"reports/{report}", "--policy", fast_policy, cwd=folder)
            assert found.code == 0, found.out
    copy = folder / "copy.safetensors"
    data = bytearray((models / "digits-clean.safetensors").read_bytes())
    data[5000] ^= 1
    copy.write_bytes(data)
    options = ["--policy", fast_policy, "--model", copy]
    found = ebyd("verify-report", "reports/clean.statement.json", *options, cwd=folder)
    assert found.code == 1
    assert "changed model copy.safetensors: The SHA-256 is not the report's" in found.text.replace(f"{folder}/", "")


def test_only_and_another_file(ebyd: Callable[..., Any], write: Callable[..., Path]) -> None:
    folder = write(CLEAN, BAD)
    (folder / "elsewhere").mkdir()
    run = ebyd("scan", "--project", folder / "ebyd-scan.yaml", "--only", "backdoored", "-q", cwd=folder / "elsewhere")
    assert (run.code, run.err) == (0, "")  # the policy asks for no more than the file
    assert run.out.endswith("1 model: 1 passed.\n")
    assert [path.name for path in (folder / "reports").glob("*.json")].count("clean.json") == 0
    run = ebyd("scan", "--only", "backdored", cwd=folder)
    assert run.code == 2 and "did you mean 'backdoored'?" in run.text


def test_one_that_cannot_be_scanned_does_not_stop_the_others(
    ebyd: Callable[..., Any], write: Callable[..., Path]
) -> None:
    folder = write("  - {{name: gone, model: gone.pt}}\n", CLEAN)
    run = ebyd("scan", cwd=folder)
    assert run.code == 3
    assert "1 could not be scanned, 1 passed" in run.text
    assert json.loads((folder / "reports" / "gone.json").read_text())["verdict"] == "error"
    assert "no statement about it can be made" in run.err  # there is no digest
    assert not (folder / "reports" / "gone.statement.json").exists()
    assert json.loads((folder / "reports" / "clean.json").read_text())["verdict"] == "passed"


@pytest.mark.parametrize(
    ("codes", "expected"), [([0, 4], 4), ([4, 2], 2), ([2, 3], 3), ([3, 1, 0], 1), ([0, 0], 0), ([], 3)]
)
def test_the_worst_code_wins(codes: list[int], expected: int) -> None:
    assert worst(codes) == expected


@pytest.mark.parametrize(
    ("entry", "options", "words"),
    [
        ("  - {{name: b, model: m, policy: nowhere.yaml}}\n", [], "model 'b': nowhere.yaml: there is no such file"),
        ("  - {{name: b, model: m, reference: v1.pt}}\n", [], "does not compare with it"),
        ("  - {{name: b, model: m, reports: {{json: reports/clean.json}}}}\n", [], "would both be written to"),
        ("  - {{name: b, model: m, reports: {{json: ebyd-scan.yaml}}}}\n", [], "is an input of this scan"),
        ("  - {{name: b, model: m, reports: {{json: file.yaml}}}}\n", [], "is an input of this scan"),
        ("  - {{name: b, model: m, reports: {{json: file.yaml/x.json}}}}\n", [], "is not a folder"),
        ("  - {{name: b, model: m, seed: -1}}\n", [], "ebyd-scan.yaml:15:31: models.1.seed must be at least 0"),
        ("  - {{name: b, model: m, allow-pickle: true}}\n", [], "cannot be set in a project file"),
        ("", ["--samples", "x"], "--samples is about one model"),
        ("", ["--json", "x"], "--json is about one model"),
        ("", ["--project", "nowhere.yaml"], "nowhere.yaml: there is no such file"),
    ],
)
def test_nothing_is_scanned_until_all_is_right(
    entry: str, options: list[str], words: str, ebyd: Callable[..., Any], write: Callable[..., Path]
) -> None:
    folder = write(CLEAN, entry)
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    run = ebyd("scan", *options, cwd=folder)
    assert run.code == 2 and run.out == ""
    assert words in run.text
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_without_model_and_without_project(ebyd: Callable[..., Any], tmp_path: Path) -> None:
    run = ebyd("scan", cwd=tmp_path)
    assert run.code == 2 and "there is no ebyd-scan.yaml here" in run.text and "`ebyd-scan init`" in run.text
    run = ebyd("scan", "m.pt", cwd=tmp_path)
    assert run.code == 2 and "Missing option '--samples'" in run.text
    run = ebyd("scan", "m.pt", "--samples", "x", "--only", "a", cwd=tmp_path)
    assert run.code == 2 and "--only goes without MODEL" in run.text
    run = ebyd("selftest", cwd=tmp_path)
    assert run.code == 2 and "Missing argument 'MODEL'" in run.text


def test_options_for_all_models(ebyd: Callable[..., Any], write: Callable[..., Path]) -> None:
    folder = write(CLEAN, policy="nowhere.yaml")
    run = ebyd("scan", "--policy", "file.yaml", "--seed", "5", "-q", cwd=folder)
    assert run.code == 0, run.text
    assert json.loads((folder / "reports" / "clean.json").read_text())["seed"] == 5


def test_sigterm_ends_all(start: Callable[..., Any], write: Callable[..., Path]) -> None:
    folder = write(CLEAN, BAD, policy="release-gate")
    process: subprocess.Popen[str] = start("scan", cwd=folder)
    assert process.stderr
    for line in process.stderr:
        if "expose" in line:
            break
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 3 and time.monotonic() - started < 20
    assert out.endswith("2 models: 2 could not be scanned.\n")
    for name in ("clean", "backdoored"):  # the second never began: its report must not be that of another day
        assert json.loads((folder / "reports" / f"{name}.json").read_text())["verdict"] == "error"


def test_two_models_of_one_file_name_share_no_witness_dir(
    ebyd: Callable[..., Any], write: Callable[..., Path], models: Path
) -> None:
    folder = write(CLEAN, BAD)
    text = (folder / "ebyd-scan.yaml").read_text()
    for place in ("a", "b"):
        (folder / place).mkdir()
        (folder / place / "model.safetensors").write_bytes((models / "digits-clean.safetensors").read_bytes())
    head = text[: text.index("models:")] + "  witness-dir: wit\nmodels:\n"
    entries = "".join(f"  - {{name: {place}, model: {place}/model.safetensors}}\n" for place in ("a", "b"))
    (folder / "ebyd-scan.yaml").write_text(head + entries)
    run = ebyd("scan", cwd=folder)
    assert run.code == 2 and "would write witnesses of one name into" in run.err
    (folder / "ebyd-scan.yaml").write_text(head.replace("wit\n", "'wit/{name}'\n") + entries)
    assert ebyd("scan", cwd=folder).code in (0, 4)


def test_a_name_that_is_too_long(ebyd: Callable[..., Any], write: Callable[..., Path]) -> None:
    run = ebyd("scan", cwd=write("  - {{name: long, model: " + "x" * 300 + "}}\n"))
    assert run.code in (2, 3) and "bug" not in run.err and "Traceback" not in run.err


def test_validate_and_schema(ebyd: Callable[..., Any], write: Callable[..., Path]) -> None:
    folder = write(CLEAN)
    run = ebyd("project", "validate", cwd=folder)
    assert (run.code, run.out) == (0, "ebyd-scan.yaml: valid, 1 model\n")
    write(CLEAN, policy="nowhere.yaml")
    run = ebyd("project", "validate", "ebyd-scan.yaml", cwd=folder)
    assert run.code == 2 and run.err.startswith("ebyd-scan.yaml: model 'clean': ") and "nowhere.yaml" in run.err
    assert json.loads(ebyd("project", "schema", cwd=folder).out)["$id"] == "urn:ebyd-scan:project:1"


def test_a_project_runs_no_code_of_its_own(ebyd: Callable[..., Any], write: Callable[..., Path]) -> None:
    folder = write("  - {{name: a, model: m.pt, samples: x, architecture: 'evil.py:net'}}\n")
    (folder / "evil.py").write_text("open('canary', 'w')\n")
    ebyd("project", "validate", cwd=folder)
    ebyd("scan", "--only", "a", cwd=folder)  # the file that it is for is not there
    assert not (folder / "canary").exists()
