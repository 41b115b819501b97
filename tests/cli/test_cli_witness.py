"""`--witness-dir`, and reports on standard output, through the real command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")
Ebyd = Callable[..., Any]

# A check of somebody else, found as all are: it hands over what it was not searching for long.
PLUGIN = """
import os
import numpy as np
from ebyd_scan.evidence.finding import Finding, Outcome, Witness
from ebyd_scan.evidence.recovered import RecoveredTrigger


class Finder:
    id = "finder"
    stage = "model"

    def __init__(self, *, dies: bool = False, count: int = 1, forged: bool = False) -> None:
        self.dies, self.count, self.forged = dies, count, forged

    def run(self, evidence):
        part = evidence.samples.held_out
        before = (part.pixels[:5].permute(0, 2, 3, 1) * 255).round().byte().numpy()
        after = before.copy()
        after[:, -4:, -4:] = 255
        labels = part.labels[:5].numpy()
        for _ in range(self.count):
            evidence.keep(RecoveredTrigger(
                family="patch", label=7, label_name="7", attack_success_rate=0.9, samples=180, size=16.0,
                before=before, after=after, true_labels=labels, predicted_before=labels,
                predicted_after=np.full(5, 7), parts={"mask": np.eye(16)},
            ))
        if self.dies:
            os._exit(0)
        files = ["/etc/passwd"] if self.forged else []
        witness = Witness(
            family="patch", label=7, size=16.0, control_sizes={}, attack_success_rate=0.9, samples=180, files=files
        )
        return Finding(check=self.id, outcome=Outcome.FAILED, message="found", label=7, witness=witness)
"""
ENTRIES = "[ebyd_scan.checks]\nfinder = finder_plugin:Finder\n"


@pytest.fixture
def scan(ebyd: Ebyd, models: Path, digits_options: list[str], tmp_path: Path) -> Ebyd:
    """Scan the shipped clean model with the plug-in `finder` and its options."""
    site = tmp_path / "site"
    (site / "finder-1.dist-info").mkdir(parents=True)
    (site / "finder_plugin.py").write_text(PLUGIN)
    (site / "finder-1.dist-info" / "entry_points.txt").write_text(ENTRIES)
    (site / "finder-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: finder\nVersion: 1\n")

    def go(checks: str, *options: str | Path) -> Any:
        (tmp_path / "policy.yaml").write_text(f"version: 1\nname: p\nchecks: {checks}\n")
        model = models / "digits-clean.safetensors"
        everything = [*digits_options, "--policy", "policy.yaml", *options]
        return ebyd("scan", model, *everything, cwd=tmp_path, env={"PYTHONPATH": str(site)})

    return go


def _report(tmp_path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((tmp_path / "r.json").read_text())
    return report


def test_a_recovered_trigger_is_written(scan: Ebyd, tmp_path: Path) -> None:
    run = scan("{finder: {count: 2, forged: true}}", "--witness-dir", "deep/witnesses", "--json", "r.json")
    assert run.code == 1
    names = [f"deep/witnesses/digits-clean-7-patch.{suffix}" for suffix in ("npz", "png")]
    assert sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "deep").rglob("*.*")) == names
    (finding,) = _report(tmp_path)["findings"]
    assert finding["witness"]["files"] == names  # and nothing that the worker claims
    assert f"witness written to {names[0]} and {names[1]}" in run.err
    with np.load(tmp_path / names[0], allow_pickle=False) as held:
        assert held["before"].shape == (5, 16, 16, 1)
        assert (held["after"][:, -4:, -4:] == 255).all()
        assert json.loads(str(held["metadata"]))["model"]["sha256"] == _report(tmp_path)["model"]["sha256"]
    Image.open(tmp_path / names[1]).load()


def test_a_worker_that_dies_leaves_nothing(scan: Ebyd, tmp_path: Path) -> None:
    run = scan("{finder: {dies: true}}", "--witness-dir", "out", "--json", "r.json")
    assert run.code == 3
    assert not (tmp_path / "out").exists()
    assert "no trigger was recovered, so there is no witness in out" in run.err


def test_no_witness_is_told_in_a_line(scan: Ebyd, tmp_path: Path) -> None:
    run = scan("{file-safety: {}}", "--witness-dir", "out")
    assert run.code == 0
    assert not (tmp_path / "out").exists()
    assert "ebyd-scan: no trigger was recovered, so there is no witness in out\n" in run.err


def test_somebody_elses_file_is_an_error_and_stays(scan: Ebyd, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    mine = tmp_path / "out" / "digits-clean-7-patch.png"
    mine.write_text("mine")
    run = scan("{finder: {}}", "--witness-dir", "out", "--json", "r.json")
    assert run.code == 3
    assert "digits-clean-7-patch.png: is no witness that ebyd-scan wrote" in run.text
    assert mine.read_text() == "mine"
    assert _report(tmp_path)["verdict"] == "failed"  # it is told all the same
    assert _report(tmp_path)["findings"][0]["witness"]["files"] == []


@pytest.mark.parametrize(
    ("folder", "said"),
    [("samples/inside", "lies in the input"), ("policy.yaml", "is not a folder"), ("policy.yaml/x", "is not a folder")],
)
def test_a_folder_that_will_not_do_is_found_before_the_scan(folder: str, said: str, scan: Ebyd, tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    run = scan("{file-safety: {}}", "--witness-dir", folder, "--samples", "samples")
    assert run.code == 2
    assert "--witness-dir" in run.err and said in run.text
    assert run.out == ""


# What a worker that has been taken over may try: `%s` is what it says.
FORGES = """
import json, os, stat, fcntl, time


def channel():
    for descriptor in range(3, 50):
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            continue
        if stat.S_ISFIFO(mode) and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
            return descriptor


def net(**arguments):
    for event in %s:
        os.write(channel(), json.dumps(event).encode() + b"\\n")
    time.sleep(300)
"""
IMAGES = {"dtype": "uint8", "shape": [1, 4, 4, 1]}
LABELS = {"dtype": "int64", "shape": [1]}
FORM = {
    "family": "patch",
    "label": 7,
    "label_name": "7",
    "attack_success_rate": 1.0,
    "samples": 1,
    "size": 1.0,
    "class_names": {},
    "arrays": {"before": IMAGES, "after": IMAGES}
    | dict.fromkeys(("true_labels", "predicted_before", "predicted_after"), LABELS),
    "parts": {},
}
RECOVERED = {"kind": "recovered", "form": FORM}
WORDS = {"kind": "words", "form": {"label": 1, "words": "cf", "class_names": {}, "examples": []}}

CANDIDATE = {
    "kind": "candidate",
    "candidate": {"method": "m", "applied": 1, "reason": "r", "accuracy_before": 0.9},  # `true` is no Python
}
REPAIRED = {"kind": "repaired", "repaired": {"outcome": "removed", "reason": "r", "method": "m", "accuracy": 0.9}}


@pytest.mark.parametrize(
    ("said", "options", "answer"),
    [
        ([RECOVERED], [], "handed over what nobody asked for"),
        ([WORDS], [], "handed over what nobody asked for"),
        ([WORDS] * 9, ["--html", "page.html"], "handed over what nobody asked for"),
        ([CANDIDATE], [], "repaired what nobody asked for"),
        ([REPAIRED], [], "repaired what nobody asked for"),
        ([{"kind": "piece", "data": "AAAA"}], ["--witness-dir", "out"], "something else than it announced"),
        ([RECOVERED, {"kind": "piece", "data": "A" * 400}], ["--witness-dir", "out"], "else than it announced"),
        ([{**RECOVERED, "form": {**FORM, "family": "../../x"}}], ["--witness-dir", "out"], "is not trusted"),
    ],
    ids=[
        "unasked",
        "words unasked",
        "words without end",
        "candidate unasked",
        "repair unasked",
        "no form",
        "too much",
        "a path",
    ],
)
def test_a_worker_that_hands_over_nonsense(
    said: list[Any], options: list[str], answer: str, scan: Ebyd, tmp_path: Path
) -> None:
    (tmp_path / "nets.py").write_text(FORGES % json.dumps(said))
    run = scan("{sample-fit: {}}", *options, "--architecture", "nets.py:net")
    assert run.code == 3
    assert answer in run.text
    assert not (tmp_path / "out").exists()


def test_the_page_shows_the_trigger_and_leaves_the_exit_code(scan: Ebyd, tmp_path: Path) -> None:
    run = scan("{finder: {}}", "--html", "page.html", "--json", "r.json")
    assert run.code == 1
    page = (tmp_path / "page.html").read_text()
    assert "Do not ship digits-clean.safetensors" in page
    assert page.count('src="data:image/png;base64,') == 3 * 5 + 1
    assert _report(tmp_path)["findings"][0]["witness"]["files"] == []


def test_a_page_about_a_file_that_cannot_be_read(ebyd: Ebyd, digits_options: list[str], tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"no model")
    run = ebyd("scan", "model.pt", *digits_options, "--html", "page.html", cwd=tmp_path)
    assert run.code == 3
    assert "model.pt was not scanned" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_a_report_on_standard_output_stands_alone(name: str, scan: Ebyd, tmp_path: Path) -> None:
    run = scan("{file-safety: {}}", "--json", name)
    assert json.loads(run.out)["verdict"] == "passed"
    assert "PASSED: " in run.err
    assert not (tmp_path / "-").exists()


def test_one_stream_takes_one_report(scan: Ebyd) -> None:
    run = scan("{file-safety: {}}", "--json", "-", "--junit", "/dev/stdout")
    assert run.code == 2
    assert "--json and --junit would both be written to standard output" in run.err


def test_a_file_behind_standard_output_is_not_cut_off(
    start: Ebyd, models: Path, digits_options: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file.yaml").write_text("version: 1\nname: file\nchecks: {file-safety: {}}\n")
    arguments = ["scan", models / "digits-clean.safetensors", *digits_options, "--policy", "file.yaml", "-q"]
    with (tmp_path / "log").open("w") as log:
        log.write("what stood there before\n")
        log.flush()
        process = start(*arguments, "--json", "/dev/stdout", cwd=tmp_path, stdout=log)
        process.communicate(timeout=60)
    first, _, rest = (tmp_path / "log").read_text().partition("\n")
    assert first == "what stood there before"
    assert json.loads(rest)["verdict"] == "passed"
    assert process.returncode == os.EX_OK
