"""`ebyd-scan remove` through the real command line, on the shipped digit models."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
from safetensors.torch import load_file  # noqa: E402

Ebyd = Callable[..., Any]
# One kind of trigger and one remover: the same path through the code, quickly.
POLICY = """
version: 1
name: fast
checks:
  file-safety:
  sample-fit:
  backdoor-label:
  model-detection: {families: [patch], batch_size: 32}
removal:
  candidates: [trigger-unlearning]
"""
BACKDOORED, CLEAN = "digits-badnets.safetensors", "digits-clean.safetensors"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "fast.yaml"
    path.write_text(POLICY)
    return path


def _options(digits_options: list[str], policy: Path) -> list[str]:
    return [*digits_options, "--policy", str(policy)]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def removed(
    ebyd: Ebyd, models: Path, digits_options: list[str], policy: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    """One removal with every report, and the folder that it wrote to."""
    folder = tmp_path_factory.mktemp("removed")
    reports = [f"--{name}={name}.txt" for name in ("json", "junit", "sarif", "markdown", "html", "cyclonedx")]
    reports += ["--statement=statement.txt"]
    run = ebyd(
        "remove", models / BACKDOORED, *_options(digits_options, policy), "-o", "out.safetensors", *reports, cwd=folder
    )
    return run, folder


def _attack_success(path: Path) -> tuple[float, float]:
    """Accuracy, and success of the attacker's own trigger, on samples that no scan has seen."""
    from ebyd_scan.fixtures.attacks.badnets import BadNets
    from ebyd_scan.fixtures.digits import RECIPE, load_digits
    from ebyd_scan.fixtures.networks import plain_convnet
    from ebyd_scan.fixtures.planter import accuracy, attack_success_rate

    module, digits = plain_convnet(channels=1, width=16), load_digits()
    module.load_state_dict(load_file(path))
    module.eval()
    success = attack_success_rate(module, BadNets(target=7), digits.test_x, digits.test_y, RECIPE)
    return accuracy(module, digits.test_x, digits.test_y, RECIPE), success


def test_a_backdoor_is_removed(removed: Any, models: Path) -> None:
    run, folder = removed
    assert run.code == 1  # the model that was scanned is what it was
    assert "Repaired by trigger-unlearning and accepted" in run.text
    out = folder / "out.safetensors"
    before, after = load_file(models / BACKDOORED), load_file(out)
    assert {name: (t.shape, t.dtype) for name, t in before.items()} == {
        name: (t.shape, t.dtype) for name, t in after.items()
    }
    accuracy, success = _attack_success(models / BACKDOORED)
    repaired_accuracy, repaired_success = _attack_success(out)
    assert success > 0.95 and repaired_success < 0.2
    assert repaired_accuracy > accuracy - 0.04
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".txt") == [
        "out.safetensors",
        "out.safetensors.provenance.json",
    ]
    assert "repair 1 of 1, trigger-unlearning" in run.err and "scan what was written" in run.err


def test_what_the_reports_say(removed: Any, models: Path) -> None:
    _, folder = removed
    result = json.loads((folder / "json.txt").read_text())
    removal, out = result["removal"], folder / "out.safetensors"
    assert (result["verdict"], removal["verdict_before"], removal["outcome"]) == ("failed", "failed", "removed")
    assert removal["output"] == {
        "path": "out.safetensors",
        "sha256": _sha256(out),
        "files": None,
        "provenance": "out.safetensors.provenance.json",
    }
    (candidate,) = removal["candidates"]
    assert candidate["accepted"] and candidate["witness_success_before"] > 0.5 > candidate["witness_success_after"]
    assert removal["fresh"]["verdict"] == "passed" and removal["fresh"]["seed"] == result["seed"] + 2
    assert result["model"]["sha256"] == _sha256(models / BACKDOORED)
    saved = json.loads((folder / "out.safetensors.provenance.json").read_text())
    assert saved["figures"]["accepted"] and saved["method"] == "trigger-unlearning"
    assert (saved["before"]["sha256"], saved["after"]["sha256"]) == (result["model"]["sha256"], _sha256(out))
    for name in ("junit", "sarif", "markdown", "html", "cyclonedx"):
        text = (folder / f"{name}.txt").read_text()
        assert "trigger-unlearning" in text and "out.safetensors" in text, name


def test_reports_still_agree_with_themselves(removed: Any, ebyd: Ebyd, policy: Path) -> None:
    _, folder = removed
    for report in ("json.txt", "statement.txt"):
        run = ebyd("verify-report", report, "--policy", policy, cwd=folder)
        assert run.code == 0, run.text


def test_a_clean_model_is_left_as_it_is(
    ebyd: Ebyd, models: Path, digits_options: list[str], policy: Path, tmp_path: Path
) -> None:
    options = _options(digits_options, policy)
    run = ebyd("scan", models / CLEAN, *options, "--remove-to", "out.safetensors", "--json", "r.json", cwd=tmp_path)
    assert run.code == 0
    assert "There is nothing to remove" in run.text
    assert (tmp_path / "out.safetensors").read_bytes() == (models / CLEAN).read_bytes()
    saved = json.loads((tmp_path / "out.safetensors.provenance.json").read_text())
    assert saved["before"]["sha256"] == saved["after"]["sha256"] and saved["tensors_changed"] == 0
    assert json.loads((tmp_path / "r.json").read_text())["removal"]["outcome"] == "nothing-to-remove"


@pytest.mark.slow
def test_verdict_of_the_repaired_model(ebyd: Ebyd, models: Path, digits_options: list[str], tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text(POLICY + "  verdict_of: repaired\n")
    reports = ["--json", "r.json", "--junit", "r.xml", "--statement", "s.json"]
    run = ebyd(
        "remove", models / BACKDOORED, *_options(digits_options, tmp_path / "ours.yaml"), "-o", "out.safetensors",
        *reports, cwd=tmp_path,
    )  # fmt: skip
    assert run.code == 0 and "PASSED: no backdoor was found in out.safetensors" in run.text
    assert "<failure" not in (tmp_path / "r.xml").read_text()
    statement = json.loads((tmp_path / "s.json").read_text())
    assert statement["subject"] == [
        {"name": "out.safetensors", "digest": {"sha256": _sha256(tmp_path / "out.safetensors")}}
    ]
    for report in ("r.json", "s.json"):  # about the model that the verdict is about
        assert ebyd("verify-report", report, "--policy", "ours.yaml", cwd=tmp_path).code == 0


@pytest.mark.slow
def test_not_accepted_is_written_and_marked(
    ebyd: Ebyd, models: Path, digits_options: list[str], tmp_path: Path
) -> None:
    """Nothing is good enough for this policy, and its verdict is the repaired model's."""
    accept = "  accept: {max_witness_success: 0}\n  verdict_of: repaired\n"
    (tmp_path / "ours.yaml").write_text(POLICY.replace("trigger-unlearning", "anp") + accept)
    options = _options(digits_options, tmp_path / "ours.yaml")
    run = ebyd("remove", models / BACKDOORED, *options, "--method", "fine-tuning", "-o", "out.safetensors",
               "--json", "r.json", cwd=tmp_path)  # fmt: skip
    assert run.code == 1
    assert "Repaired by fine-tuning, but not as the policy wants it" in run.text
    saved = json.loads((tmp_path / "out.safetensors.provenance.json").read_text())
    assert not saved["figures"]["accepted"] and "and 0% is allowed" in saved["figures"]["why"]
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["removal"]["outcome"] == "not-accepted" and result["findings"][-1]["check"] == "removal"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["-o", "there.safetensors"], "is there already and is not overwritten"),
        (["-o", "model.safetensors"], "model.safetensors"),
        (["-o", "out.pt"], "loaders go by the suffix"),
        (["-o", "nowhere/out.safetensors"], "there is no folder"),
        (["-o", "out.safetensors", "--json", "out.safetensors"], "would overwrite"),
        (["-o", "out.safetensors", "--method", "rpn"], "did you mean 'rnp'?"),
        (["-o", "out.safetensors", "--policy", "bad.yaml"], "bad.yaml:4:19: unknown remover 'rnpp'"),
        (["-o", "out.safetensors", "--policy", "file.yaml"], "nothing to remove by"),
        ([], "Missing option '-o'"),
    ],
)
def test_refusals_before_any_work(
    more: list[str], told: str, ebyd: Ebyd, models: Path, digits_options: list[str], tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes((models / BACKDOORED).read_bytes())
    (tmp_path / "there.safetensors").write_bytes(b"mine")
    (tmp_path / "bad.yaml").write_text("version: 1\nname: x\nchecks: {model-detection: }\nremoval: {method: rnpp}\n")
    (tmp_path / "file.yaml").write_text("version: 1\nname: file\nchecks: {file-safety: {}}\n")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    run = ebyd("remove", "model.safetensors", *digits_options, *more, cwd=tmp_path)
    assert run.code == 2 and told in run.text, run.text
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_formats_that_cannot_be_written(ebyd: Ebyd, digits_options: list[str], tmp_path: Path) -> None:
    import pickle

    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"a": 1}))
    run = ebyd("remove", "model.pkl", *digits_options, "-o", "out.pkl", cwd=tmp_path)
    assert run.code in (2, 3) and not (tmp_path / "out.pkl").exists()
    missing = ebyd("remove", "gone.pt", *digits_options, "-o", "out.pt", "--json", "r.json", cwd=tmp_path)
    assert missing.code == 3 and not (tmp_path / "out.pt").exists()
    assert json.loads((tmp_path / "r.json").read_text())["removal"]["outcome"] == "error"


def _killed(start: Any, arguments: list[Any], folder: Path, after: float, number: int) -> None:
    process = start(*arguments, cwd=folder, start_new_session=True)
    try:
        process.wait(timeout=after)
    except Exception:
        os.kill(process.pid, number)
    process.communicate(timeout=60)


def _whole_or_absent(folder: Path) -> bool:
    """Whether OUT is there; if so it is whole and has its provenance."""
    out = folder / "out.safetensors"
    if not out.exists():
        return False
    load_file(out)
    saved = json.loads((folder / "out.safetensors.provenance.json").read_text())
    assert saved["after"]["sha256"] == _sha256(out)
    return True


def _wait_for_stage(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not list(folder.glob(".ebyd-scan-*.part")) and time.monotonic() < deadline:
        time.sleep(0.05)


def test_a_terminated_run_leaves_nothing(
    start: Any, models: Path, digits_options: list[str], policy: Path, tmp_path: Path
) -> None:
    arguments = ["remove", models / BACKDOORED, *_options(digits_options, policy), "-o", "out.safetensors", "-q"]
    process = start(*arguments, "--json", "r.json", cwd=tmp_path)
    _wait_for_stage(tmp_path)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["verdict"] == "error" and result["removal"]["outcome"] == "error"
    assert process.returncode == 3


def test_a_killed_run_leaves_a_hidden_folder_at_most(
    start: Any, models: Path, digits_options: list[str], policy: Path, tmp_path: Path
) -> None:
    arguments = ["remove", models / BACKDOORED, *_options(digits_options, policy), "-o", "out.safetensors", "-q"]
    process = start(*arguments, cwd=tmp_path)
    _wait_for_stage(tmp_path)
    process.kill()
    process.communicate(timeout=60)
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]


@pytest.mark.slow
def test_killed_at_any_moment(
    start: Any, ebyd: Ebyd, models: Path, digits_options: list[str], policy: Path, tmp_path: Path
) -> None:
    arguments = ["remove", models / BACKDOORED, *_options(digits_options, policy), "-o", "out.safetensors", "-q"]
    whole = tmp_path / "whole"
    whole.mkdir()
    started = time.monotonic()
    ebyd(*arguments, cwd=whole)
    length = time.monotonic() - started
    assert _whole_or_absent(whole)
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        _killed(start, arguments, folder, length * (number + 1) / 10.5, signal.SIGKILL)
        if not _whole_or_absent(folder) and number % 3 == 2:  # what was left is in nobody's way
            assert ebyd(*arguments, cwd=folder).code == 1
            assert _whole_or_absent(folder)
