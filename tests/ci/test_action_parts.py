"""How the action talks to its runner, and what it installs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ebyd_scan.evidence.errors import UsageError
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.evidence.result import ModelInfo, PolicyInfo, SamplesInfo, ScanResult, ToolInfo, Verdict
from ebyd_scan.scanner.ci import install
from ebyd_scan.scanner.ci.github_action import Scanned, annotations_of
from ebyd_scan.scanner.ci.inputs import command_line, report_files
from ebyd_scan.scanner.ci.workflow import MAX_SUMMARY, Annotation, add_summary, annotate, output_text

from .conftest import ACTION, ROOT, read_outputs

GIVEN = {"EBYD_MODEL": "m.pt", "EBYD_SAMPLES": "clean/"}


def test_annotations_are_escaped_as_documented() -> None:
    line = Annotation("error", "a:b,c\r\n%", "100 %\r\n::error::x: y, z", "dir/a,b:c%.pt").command()
    assert line == ("::error file=dir/a%2Cb%3Ac%25.pt,title=a%3Ab%2Cc%0D%0A%25::100 %25%0D%0A::error::x: y, z")
    assert len(Annotation("notice", "t", "%" * 10**6).command()) < 20_000


def test_ten_annotations_of_a_kind_and_no_more() -> None:
    many = [Annotation("error", "t", str(i)) for i in range(25)] + [Annotation("warning", "t", "w")] * 10
    lines = annotate(many)
    assert sum(line.startswith("::error ") for line in lines) == 10
    assert sum(line.startswith("::warning ") for line in lines) == 10
    assert lines[9].endswith("::16 more are in the reports.")


@pytest.mark.parametrize("value", ["", "a", "a\nb", "x\nreport-path=forged", "EOF\n" * 3, "name<<x\ny\nx"])
def test_an_output_is_one_output(value: str) -> None:
    assert read_outputs(output_text({"one": value, "two": "2"})) == {"one": value, "two": "2"}


def test_a_summary_stays_within_what_github_takes(tmp_path: Path) -> None:
    file = tmp_path / "summary"
    add_summary(file, "before\n")
    add_summary(file, "| ä | row |\n" * 200_000)
    assert MAX_SUMMARY - 100 < file.stat().st_size <= MAX_SUMMARY
    text = file.read_text(encoding="utf-8")
    assert text.startswith("before\n| ä | row |\n") and text.endswith("files of this scan.*\n")
    size = file.stat().st_size
    add_summary(file, "x" * 1000)
    assert file.stat().st_size <= max(size, MAX_SUMMARY)


def test_every_finding_against_the_model_is_told(tmp_path: Path) -> None:
    findings = [Finding(check=f"c{i}", outcome=outcome, message="m\n") for i, outcome in enumerate(Outcome)]
    result = ScanResult(
        tool=ToolInfo(version="1"),
        model=ModelInfo(path="m.pt"),
        samples=SamplesInfo(path="x"),
        policy=PolicyInfo(name="p", sha256="00"),
        seed=0,
        started="2026-05-17T09:30:00+00:00",
        verdict=Verdict.FAILED,
        reason="r",
        findings=findings,
    )
    inputs = {"EBYD_MODEL": str(tmp_path / "a" / "m.pt"), "GITHUB_WORKSPACE": str(tmp_path)}
    told = [(one.kind, one.title, one.file) for one in annotations_of(Scanned(1, None, result), inputs)]
    assert told == [
        ("error", "ebyd-scan: c1 failed", "a/m.pt"),
        ("warning", "ebyd-scan: c2 inconclusive", "a/m.pt"),
        ("error", "ebyd-scan: c4 error", "a/m.pt"),
    ]
    assert annotations_of(Scanned(1, None, result), inputs | {"GITHUB_WORKSPACE": "/nowhere"})[0].file is None


def test_inputs_become_a_command_line() -> None:
    arguments = command_line(
        GIVEN | {"EBYD_ARCH_ARGS": "a=1\n\n b=[1, 2] \n", "EBYD_MEAN": "-0.1", "EBYD_OPTIONS": "--seed 7\n--quiet\n"}
    )
    assert arguments[:6] == [
        "scan",
        "--mean=-0.1",
        "--samples=clean/",
        "--arch-arg=a=1",
        "--arch-arg=b=[1, 2]",
        "--seed=7",
    ]
    assert arguments[6] == "--quiet"
    assert arguments[-2:] == ["--", "m.pt"]
    assert [f"--{name}={file}" for name, file in report_files(GIVEN).items()] == arguments[7:-3]


@pytest.mark.parametrize("line", ["--help", "--json x", "--samples=x", "-q", "x", "--", "--mean 1", "--witness-dir=/"])
def test_options_that_have_an_input_or_are_none(line: str) -> None:
    with pytest.raises(UsageError, match=r"^options: "):
        command_line(GIVEN | {"EBYD_OPTIONS": line})


@pytest.mark.parametrize("missing", GIVEN)
def test_a_model_and_samples_are_needed(missing: str) -> None:
    with pytest.raises(UsageError, match="is missing"):
        command_line({name: value for name, value in GIVEN.items() if name != missing})


def test_every_input_of_the_action_is_read() -> None:
    """And under the name under which it is given."""
    scan = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "scan")
    names = {name for name in scan["env"] if name != "EBYD_PYTHON"}
    values = {
        name: "lines=1" if name == "EBYD_ARCH_ARGS" else "--seed 1" if name == "EBYD_OPTIONS" else name
        for name in names
    }
    text = "\0".join(command_line(values))
    assert all((name in text) for name in names - {"EBYD_ARCH_ARGS", "EBYD_OPTIONS"})
    assert "lines=1" in text and "--seed=1" in text
    for name, value in scan["env"].items():
        assert name == "EBYD_PYTHON" or value == f"${{{{ inputs.{name[5:].lower().replace('_', '-')} }}}}"


@pytest.mark.parametrize(
    ("settings", "index"),
    [
        ({}, install.CPU_INDEX if sys.platform == "linux" else None),
        ({"EBYD_DEVICE": "cuda:1"}, None),
        ({"EBYD_DEVICE": "cuda", "EBYD_TORCH_INDEX": "https://index.example/cu130"}, "https://index.example/cu130"),
        ({"EBYD_TORCH_INDEX": "default"}, None),
    ],
)
def test_where_torch_comes_from(settings: dict[str, str], index: str | None) -> None:
    commands, _ = install.plan(settings)
    assert commands[0][-1].startswith("setuptools==")
    assert any("torch" in part for part in commands[-1]) and f"--constraint={ROOT / 'constraints.txt'}" in commands[-1]
    torch = [command for command in commands if "--index-url" in command]
    assert [command[command.index("--index-url") + 1] for command in torch] == ([index] if index else [])
    # Nothing but torch is looked for there, in the version that was tried.
    assert all([p.partition("==")[0] for p in command[-2:]] == ["torch", "torchvision"] for command in torch)
    assert all("--no-deps" in command for command in torch)


@pytest.mark.parametrize("index", ["http://x", "https://a b", "--index-url=x", "https://x;y", "auto\n--pre"])
def test_an_index_is_an_https_address(index: str) -> None:
    with pytest.raises(install.WrongSetting, match=r"^torch-index"):
        install.plan({"EBYD_TORCH_INDEX": index})


def test_the_key_of_the_cache_changes_with_what_is_installed(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("einops")
    settings: list[dict[str, str]] = [{}, {"EBYD_EXTRAS": "all"}, {"EBYD_REQUIREMENTS": str(tmp_path / "r.txt")}]
    keys = {install.cache(install.plan(one)[1])["key"] for one in settings}
    (tmp_path / "r.txt").write_text("einops==0.8")
    keys.add(install.cache(install.plan(settings[2])[1])["key"])
    assert len(keys) == 4


def test_the_installer_needs_python_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "scanner" / "ci" / "install.py"), "cache"],
        env={"PATH": os.environ["PATH"], "EBYD_EXTRAS": "no,such"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout.startswith("::error title=ebyd-scan::extras: there is no extra 'no', there are all, onnx")
