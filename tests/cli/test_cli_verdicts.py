"""Right verdicts on the shipped models, in every report, through the real command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import junitparser
import pytest

torch = pytest.importorskip("torch")
SCHEMA = json.loads((Path(__file__).parents[2] / "scanner" / "reports" / "verdict.schema.json").read_text())


class Scan:
    """One scan, shared by the tests that look at it."""

    def __init__(self, run: Any, folder: Path, model: Path, digest: str) -> None:
        self.run, self.folder, self.model, self.digest_before = run, folder, model, digest
        self.junit = folder / "report.xml"
        self.verdict = json.loads((folder / "report.json").read_text())

    def finding(self, check: str) -> dict[str, Any]:
        (found,) = [finding for finding in self.verdict["findings"] if finding["check"] == check]
        return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def scans(
    ebyd: Callable[..., Any],
    models: Path,
    digits_options: list[str],
    fast_policy: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Scan]:
    done: dict[str, Scan] = {}

    def scan(name: str) -> Scan:
        if name not in done:
            folder, model = tmp_path_factory.mktemp(name), models / f"{name}.safetensors"
            digest = _digest(model)
            reports = [
                "--json",
                "report.json",
                "--junit",
                "report.xml",
                "--sarif",
                "report.sarif",
                "--markdown",
                "report.md",
            ]
            run = ebyd("scan", model, *digits_options, "--policy", fast_policy, *reports, cwd=folder)
            done[name] = Scan(run, folder, model, digest)
        return done[name]

    return scan


def test_a_backdoored_model_fails_with_its_target(scans: Callable[[str], Scan]) -> None:
    scan = scans("digits-badnets")
    assert scan.run.code == 1
    assert scan.verdict["verdict"] == "failed"
    finding = scan.finding("model-detection")
    assert (finding["outcome"], finding["label"]) == ("failed", 7)
    assert finding["witness"]["label"] == 7
    assert finding["witness"]["size"] < min(finding["witness"]["control_sizes"].values())
    assert finding["witness"]["attack_success_rate"] > 0.6
    assert scan.finding("backdoor-label")["label"] == 7


def test_a_clean_model_passes(scans: Callable[[str], Scan]) -> None:
    scan = scans("digits-clean")
    assert scan.run.code == 0
    assert scan.verdict["verdict"] == "passed"
    assert scan.finding("model-detection")["outcome"] == "passed"
    assert {finding["outcome"] for finding in scan.verdict["findings"]} == {"passed"}


@pytest.mark.parametrize("name", ["digits-badnets", "digits-clean"])
def test_json_follows_its_schema(scans: Callable[[str], Scan], name: str) -> None:
    scan = scans(name)
    jsonschema.Draft202012Validator(SCHEMA).validate(scan.verdict)
    assert scan.verdict["model"]["sha256"] == scan.digest_before
    assert scan.verdict["samples"]["count"] == 400
    assert [len(run["after"]["histogram"]) for run in scan.verdict["exposure"]["runs"]] == [10] * 3
    assert {"total", "load model", "expose"} <= set(scan.verdict["timings"])


@pytest.mark.parametrize(("name", "failures"), [("digits-badnets", 1), ("digits-clean", 0)])
def test_junit_has_a_case_a_check(scans: Callable[[str], Scan], name: str, failures: int) -> None:
    suites = list(junitparser.JUnitXml.fromfile(str(scans(name).junit)))
    assert len(suites) == 1
    suite = suites[0]
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (4, failures, 0, 0)
    assert len({case.name for case in suite}) == 4
    failed = [case for case in suite if any(isinstance(result, junitparser.Failure) for result in case.result)]
    assert len(failed) == failures
    assert suite.time > 0


@pytest.mark.parametrize(("name", "found"), [("digits-badnets", ["model-detection"]), ("digits-clean", [])])
def test_sarif_and_markdown_carry_the_verdict(scans: Callable[[str], Scan], name: str, found: list[str]) -> None:
    scan = scans(name)
    (run,) = json.loads((scan.folder / "report.sarif").read_text())["runs"]
    assert [result["ruleId"] for result in run["results"]] == found
    assert run["invocations"][0]["exitCode"] == scan.run.code
    assert run["artifacts"][0]["hashes"] == {"sha-256": scan.digest_before}
    summary = (scan.folder / "report.md").read_text()
    assert summary.startswith(f"## ebyd-scan: {scan.verdict['verdict'].upper()}")
    assert scan.digest_before in summary


def test_results_on_stdout_and_progress_on_stderr(scans: Callable[[str], Scan]) -> None:
    for name, word in (("digits-badnets", "FAILED: "), ("digits-clean", "PASSED: ")):
        run = scans(name).run
        assert run.out.startswith(word)
        assert "expose, run 1 of 3" in run.err
        assert "expose, run 1 of 3" not in run.out
        assert word not in run.err
        assert "\x1b" not in run.out + run.err


def test_the_model_file_is_as_it_was(scans: Callable[[str], Scan]) -> None:
    for name in ("digits-badnets", "digits-clean"):
        assert _digest(scans(name).model) == scans(name).digest_before


def test_the_same_seed_gives_the_same_findings(
    ebyd: Callable[..., Any], models: Path, digits_options: list[str], tmp_path: Path
) -> None:
    # Few steps: what comes out does not matter, that it comes out twice does.
    policy = "version: 1\nname: short\nexposure: {seeds: 2}\nsamples: {max_count: 150}\n"
    policy += "checks:\n  backdoor-label: {min_runs: 2}\n"
    policy += "  model-detection: {steps: 100, batch_size: 16}\n"
    (tmp_path / "short.yaml").write_text(policy)
    seen = []
    for name in ("one.json", "two.json"):
        options = [*digits_options, "--policy", "short.yaml", "--json", name, "--seed", "3", "-q"]
        ebyd("scan", models / "digits-clean.safetensors", *options, cwd=tmp_path)
        verdict = json.loads((tmp_path / name).read_text())
        for part in (*verdict["findings"], *verdict["exposure"]["runs"]):
            part.pop("seconds")
        seen.append((verdict["verdict"], verdict["reason"], verdict["findings"], verdict["exposure"]))
    assert seen[0] == seen[1]
    assert [run["seed"] for run in seen[0][3]["runs"]] == [3000, 3001]


@pytest.mark.parametrize("kind", [pytest.param("torchscript", marks=pytest.mark.slow), "torch-export"])
def test_models_that_bring_their_graph(
    kind: str,
    ebyd: Callable[..., Any],
    badnets_module: Any,
    pixels_options: list[str],
    fast_policy: Path,
    tmp_path: Path,
) -> None:
    example = torch.rand(4, 1, 16, 16)
    if kind == "torchscript":
        torch.jit.trace(badnets_module, example).save(tmp_path / "model.pt")
    else:
        batch = torch.export.Dim("batch", min=1, max=4096)
        program = torch.export.export(badnets_module, (example,), dynamic_shapes=({0: batch},))
        torch.export.save(program, tmp_path / "model.pt")
    options = [*pixels_options, "--policy", fast_policy, "--json", "verdict.json", "-q"]
    run = ebyd("scan", "model.pt", *options, cwd=tmp_path)
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert run.code == 1, run.out
    assert verdict["model"]["format"] == kind
    assert {f["check"]: f["label"] for f in verdict["findings"]}["model-detection"] == 7


def test_quiet_says_nothing_on_stderr_and_colour_is_off_in_a_pipe(
    ebyd: Callable[..., Any], models: Path, digits_options: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file.yaml").write_text("version: 1\nname: file\nchecks: {file-safety: {}}\n")
    model = models / "digits-clean.safetensors"
    run = ebyd("scan", model, *digits_options, "--policy", "file.yaml", "-q", cwd=tmp_path)
    assert run.err == ""
    assert "\x1b" not in run.out
    assert run.code == 0  # the policy asks for no more than the file


@pytest.mark.slow
def test_demo_is_right(ebyd: Callable[..., Any], tmp_path: Path) -> None:
    run = ebyd("demo", "--policy", "quick", "-q", cwd=tmp_path)
    assert run.code == 0, run.out
    assert "label 7, as it should" in run.text
    for name in ("digits-badnets", "digits-clean"):
        jsonschema.validate(json.loads((tmp_path / "demo-reports" / f"{name}.json").read_text()), SCHEMA)
        junitparser.JUnitXml.fromfile(str(tmp_path / "demo-reports" / f"{name}.junit.xml"))
        page = (tmp_path / "demo-reports" / f"{name}.html").read_text()
        assert ("Do not ship" in page) == ("badnets" in name)


def test_demo_of_texts_is_right(ebyd: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    run = ebyd("demo", "--text", "--policy", "quick", "-q", cwd=tmp_path)
    assert run.code == 0, run.out
    assert "reviews-badnets: failed (exit code 1), label 1, " in run.text
    assert "reviews-clean: passed (exit code 0), as it should" in run.text
    for name in ("reviews-badnets", "reviews-clean"):
        verdict = json.loads((tmp_path / "demo-reports" / f"{name}.json").read_text())
        jsonschema.validate(verdict, SCHEMA)
        junitparser.JUnitXml.fromfile(str(tmp_path / "demo-reports" / f"{name}.junit.xml"))
        page = (tmp_path / "demo-reports" / f"{name}.html").read_text()
        assert ("Do not ship" in page) == ("badnets" in name)
        assert ("in front of held-out texts" in page) == (name == "reviews-badnets")
        words = [found["witness"]["text"] for found in verdict["findings"] if found["check"] == "model-detection"]
        assert ("cf" in words[0].split()) == (name == "reviews-badnets")
