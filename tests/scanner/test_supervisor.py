"""One scan in a worker process, called from Python; hostile workers are in tests/cli/test_cli_hostile_code.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.evidence.errors import UsageError
from ebyd_scan.evidence.finding import Outcome
from ebyd_scan.evidence.result import Verdict
from ebyd_scan.policies.load import load_policy
from ebyd_scan.scanner.request import ScanRequest
from ebyd_scan.scanner.supervisor import supervise

pytest.importorskip("torch")
MODELS = Path(__file__).parents[2] / "fixtures" / "models"


def _supervise(tmp_path: Path, checks: str, more: str = "", **changes: Any) -> Any:
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"version: 1\nname: test\nchecks: {checks}\n{more}\n")
    loaded = load_policy(str(policy))
    values: dict[str, Any] = {
        "model": MODELS / "digits-clean.safetensors",
        "samples": MODELS / "digits-samples.npz",
        "architecture": "ebyd_scan.fixtures.networks:plain_convnet",
        "arch_args": {"channels": 1, "width": 16},
        "mean": (0.3,),
        "std": (0.35,),
        "policy": loaded.policy,
        **changes,
    }
    return supervise(ScanRequest(**values), loaded)


def test_a_scan_of_the_file_alone(tmp_path: Path) -> None:
    result = _supervise(tmp_path, "{file-safety: {}}")
    assert result.verdict is Verdict.PASSED
    assert result.model.format == "safetensors"
    assert [finding.check for finding in result.findings] == ["file-safety"]
    assert result.samples.count is None  # nobody has opened them
    assert result.timings["total"] > 0


def test_every_check_of_the_policy_has_a_finding(tmp_path: Path) -> None:
    result = _supervise(tmp_path, "{file-safety: {}, model-detection: {}}", model=tmp_path / "nowhere.pt")
    assert result.verdict is Verdict.ERROR
    assert {finding.check: finding.outcome for finding in result.findings} == {
        "scan": Outcome.ERROR,
        "file-safety": Outcome.SKIPPED,
        "model-detection": Outcome.SKIPPED,
    }
    assert result.model.path.endswith("nowhere.pt")


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    def state() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    _supervise(tmp_path, "{file-safety: {}}")
    before = state()
    for _ in range(3):
        _supervise(tmp_path, "{file-safety: {}}", model=tmp_path / "nowhere.pt")
    assert state() == before


@pytest.mark.parametrize(
    "meaning",
    ["pass", pytest.param("inconclusive", marks=pytest.mark.slow), pytest.param("fail", marks=pytest.mark.slow)],
)
def test_samples_that_do_not_fit_never_pass(meaning: str, tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    data = np.load(MODELS / "digits-samples.npz")
    np.savez(tmp_path / "turned.npz", x=data["x"], y=(data["y"] + 1) % 10)
    checks = "{file-safety: {}, sample-fit: {}, model-detection: {}}"
    result = _supervise(tmp_path, checks, f"on_inconclusive: {meaning}", samples=tmp_path / "turned.npz")
    wanted = Verdict.FAILED if meaning == "fail" else Verdict.INCONCLUSIVE
    assert result.verdict is wanted
    (detection,) = [finding for finding in result.findings if finding.check == "model-detection"]
    assert detection.outcome is Outcome.SKIPPED
    assert "sample-fit is inconclusive" in detection.message


def test_the_environment_is_told(tmp_path: Path) -> None:
    result = _supervise(tmp_path, "{file-safety: {}, sample-fit: {}}", device="cpu")
    assert result.verdict is Verdict.PASSED
    assert result.environment["device"] == "cpu"
    assert "1 thread" in result.environment["device_name"]  # this model is small
    assert result.model.architecture == "ebyd_scan.fixtures.networks:plain_convnet"
    assert (result.samples.count, result.samples.classes) == (400, 10)


def test_a_wrong_command_line_is_raised(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cuda:99"):
        _supervise(tmp_path, "{file-safety: {}, sample-fit: {}}", device="cuda:99")
    with pytest.raises(UsageError, match="--std has 2 values, but the samples have 1 channel"):
        _supervise(tmp_path, "{file-safety: {}, sample-fit: {}}", std=(0.3, 0.3))


def _worker(order: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "ebyd_scan.scanner.worker"], input=order, capture_output=True, timeout=60
    )


@pytest.mark.parametrize(
    "order", [b"", b"nonsense\n", b'{"memory_bytes": 1}\n', b'{"memory_bytes": 9e9, "request": {}}\n']
)
def test_a_worker_that_is_told_nonsense_says_nothing(order: bytes) -> None:
    done = _worker(order)
    assert done.returncode != 0
    assert b'"done"' not in done.stdout


@pytest.mark.parametrize(("module", "extra"), [("psutil", "psutil"), ("torch", "torch")])
def test_a_missing_extra_names_the_command_that_installs_it(module: str, extra: str, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError('no {module}', name='{module}')\n")
    entry = "from ebyd_scan.scanner.cli.main import main; main()"
    model = str(MODELS / "digits-clean.safetensors")
    done = subprocess.run(
        [sys.executable, "-P", "-c", entry, "scan", model, "--samples", "x"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    text = " ".join((done.stdout + done.stderr).split())
    assert f'{extra} is not installed: run `pip install "ebyd-scan[torch]"`' in text
    assert "Traceback" not in text


def test_reports_are_the_same_result(tmp_path: Path) -> None:
    from ebyd_scan.scanner.reports.json_report import to_json

    result = _supervise(tmp_path, "{file-safety: {}}")
    assert json.loads(to_json(result))["verdict"] == "passed"
