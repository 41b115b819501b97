"""The self-test through the real command line, on the shipped digit model."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
Ebyd = Callable[..., Any]


def test_an_unknown_attack_names_those_there_are(ebyd: Ebyd, models: Path, digits_options: list[str]) -> None:
    run = ebyd("selftest", models / "digits-clean.safetensors", *digits_options, "--attack", "badnet", cwd=models)
    assert run.code == 2
    for name in ("patch", "blend", "clean-label", "all-to-all"):
        assert name in run.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--epochs", "0"], "--epochs"),
        (["--policy", "nowhere.yaml"], "nowhere.yaml"),
        (["--policy", "file.yaml"], "no check that looks for a backdoor"),
        (["--json", "nowhere/x.json"], "there is no folder"),
        (["--json", "file.yaml"], "is an input"),
    ],
)
def test_usage_is_told_before_anything_starts(
    options: list[str], told: str, ebyd: Ebyd, models: Path, digits_options: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file.yaml").write_text("version: 1\nname: file\nchecks: {file-safety: {}}\n")
    if told == "is an input":
        (tmp_path / "file.yaml").write_text("version: 1\nname: file\nchecks: {model-detection: {}}\n")
        options = [*options, "--policy", "file.yaml"]
    run = ebyd("selftest", models / "digits-clean.safetensors", *digits_options, *options, cwd=tmp_path)
    assert run.code == 2
    assert told in run.text


@pytest.mark.parametrize("kind", ["hostile", "garbage", "missing"])
def test_a_model_that_cannot_be_scanned(kind: str, ebyd: Ebyd, digits_options: list[str], tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    model = tmp_path / "model.pt"
    if kind != "missing":
        model.write_bytes(pickle.dumps(Evil()) if kind == "hostile" else b"\x00\x01garbage" * 100)
    run = ebyd("selftest", model, *digits_options, "--json", "test.json", cwd=tmp_path)
    assert run.code == 3
    assert "Nothing was tested, because the model could not be scanned" in run.text
    assert not (tmp_path / "executed").exists()
    test = json.loads((tmp_path / "test.json").read_text())
    assert (test["exit_code"], test["copies"]) == (3, [])
    assert test["unmodified"]["verdict"] == "error"


def test_samples_that_do_not_fit_stop_before_planting(
    ebyd: Ebyd, models: Path, digits_options: list[str], tmp_path: Path
) -> None:
    import numpy as np

    data = np.load(models / "digits-samples.npz")
    np.savez(tmp_path / "turned.npz", x=data["x"], y=(data["y"] + 1) % 10)
    options = [*digits_options, "--samples", "turned.npz", "-q"]
    run = ebyd("selftest", models / "digits-clean.safetensors", *options, cwd=tmp_path)
    assert run.code == 4
    assert "Nothing was planted" in run.text
    assert "sample-fit" in run.text


SHORT_POLICY = """
version: 1
name: short
exposure: {seeds: 1}
checks:
  file-safety:
  sample-fit:
  model-detection:
"""


@pytest.mark.slow
def test_planted_backdoors_are_caught(
    start: Callable[..., Any], models: Path, digits_options: list[str], tmp_path: Path
) -> None:
    (tmp_path / "short.yaml").write_text(SHORT_POLICY)
    model = models / "digits-clean.safetensors"
    before = hashlib.sha256(model.read_bytes()).hexdigest()
    options = [*digits_options, "--policy", "short.yaml", "--attack", "patch", "--attack", "blend", "--json", "-"]
    run = start("selftest", model, *options, cwd=tmp_path)
    out, err = run.communicate(timeout=1200)
    test = json.loads(out)
    assert hashlib.sha256(model.read_bytes()).hexdigest() == before
    assert [copy["attack"] for copy in test["copies"]] == ["patch", "blend"]
    for copy in test["copies"]:
        assert copy["planted"]["asr"] > 0.9 > 0.1 > copy["planted"]["asr_before"]
        assert copy["planted"]["accuracy"] > 0.9
        assert copy["result"]["model"]["sha256"] == before
        assert "plant" in copy["result"]["timings"]
        assert copy["answer"] == "caught"
        assert copy["label_right"]
        assert copy["result"]["verdict"] == "failed"
    assert test["unmodified"]["verdict"] == "passed"
    assert run.returncode == test["exit_code"] == 0
    assert "sees patch and blend. The unmodified model passed." in " ".join(err.split())
    assert "2 of 3, patch: plant" in err
