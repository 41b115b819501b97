"""`--reference`: as hostile a file as the model, compared where the policy asks for it."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file  # noqa: E402

Ebyd = Callable[..., Any]
POLICY = """
version: 1
name: compare
exposure: {seeds: 1}
samples: {max_count: 100}
checks:
  backdoor-label: {min_runs: 1}
  reference-drift: {min_runs: 1}
"""


@pytest.fixture
def scan(ebyd: Ebyd, models: Path, digits_options: list[str], tmp_path: Path) -> Ebyd:
    (tmp_path / "compare.yaml").write_text(POLICY)

    def go(reference: str | Path, *options: str) -> Any:
        model = models / "digits-clean.safetensors"
        everything = [*digits_options, "--policy", "compare.yaml", "--json", "r.json", *options]
        return ebyd("scan", model, *everything, "--reference", reference, cwd=tmp_path)

    return go


def _finding(tmp_path: Path) -> dict[str, Any]:
    findings = json.loads((tmp_path / "r.json").read_text())["findings"]
    (found,) = [finding for finding in findings if finding["check"] == "reference-drift"]
    return dict(found)


def test_another_model_is_exposed_and_compared(scan: Ebyd, models: Path, tmp_path: Path) -> None:
    run = scan(models / "digits-badnets.safetensors")
    found = _finding(tmp_path)
    assert found["metrics"]["reference_sha256"]
    assert found["metrics"]["agreement"] > 0.9
    # Which of the two depends on how far the reference collapsed, and that with a single seed on a hundred samples.
    assert found["outcome"] in ("passed", "skipped")
    assert "expose reference, run 1 of 1" in run.err
    runs = json.loads((tmp_path / "r.json").read_text())["exposure"]["runs"]
    assert len(runs) == 1  # the model's alone


def test_the_model_itself_is_no_drift_and_is_exposed_once(scan: Ebyd, models: Path, tmp_path: Path) -> None:
    weights = load_file(models / "digits-clean.safetensors")
    torch.save(weights, tmp_path / "same.pth")
    run = scan("same.pth")
    assert _finding(tmp_path)["outcome"] == "passed"
    assert "The model is the reference" in run.text
    assert "expose reference" not in run.err
    assert run.code == 0  # nothing else was asked


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda path: path.write_bytes(pickle.dumps(print)),
            "the reference old.bin was not loaded: file-safety failed",
        ),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("no model"), "is not a model file"),
    ],
    ids=["hostile", "empty", "missing", "text"],
)
def test_a_file_that_is_no_safe_reference(make: Any, said: str, scan: Ebyd, tmp_path: Path) -> None:
    make(tmp_path / "old.bin")
    run = scan("old.bin")
    assert run.code == 3
    assert "old.bin" in run.text
    assert said in run.text


def test_a_reference_of_another_shape(scan: Ebyd, models: Path, tmp_path: Path) -> None:
    weights = load_file(models / "digits-clean.safetensors")
    weights["fc.weight"], weights["fc.bias"] = weights["fc.weight"][:8].clone(), weights["fc.bias"][:8].clone()
    save_file(weights, tmp_path / "eight.safetensors")
    run = scan("eight.safetensors")
    assert run.code == 3
    assert "eight.safetensors" in run.text and "fc.weight" in run.text


def test_what_can_be_told_before_the_scan(scan: Ebyd, models: Path, tmp_path: Path) -> None:
    reference = tmp_path / "old.safetensors"
    shutil.copy(models / "digits-clean.safetensors", reference)
    (tmp_path / "file.yaml").write_text("version: 1\nname: f\nchecks: {file-safety: {}}\n")
    ignored = scan(reference, "--policy", "file.yaml")
    assert ignored.code == 2
    assert "`reference-drift: {}`" in ignored.text
    overwritten = scan(reference, "--json", str(reference))
    assert overwritten.code == 2
    assert "will not be overwritten" in overwritten.text
