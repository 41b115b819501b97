"""The real command line in a process of its own, on the shipped models: nothing here is mocked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ENTRY = "from ebyd_scan.scanner.cli.main import main; main()"
MODELS = Path(__file__).parents[2] / "fixtures" / "models"
DIGITS = ["--architecture", "ebyd_scan.fixtures.networks:plain_convnet", "--arch-arg", "channels=1"]
DIGITS += ["--arch-arg", "width=16"]
PIXELS = ["--mean", "0.3", "--std", "0.35"]
SAMPLES = ["--samples", str(MODELS / "digits-samples.npz")]

# Fewer labels and smaller batches than release-gate: the same path through the code in half the time.
FAST_POLICY = """
version: 1
name: fast
checks:
  file-safety:
  sample-fit:
  backdoor-label:
  model-detection: {suspects: 1, controls: 2, batch_size: 32}
"""


@dataclass(frozen=True)
class Run:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def text(self) -> str:
        """All that was said, on one line: what a terminal's width has wrapped is whole again."""
        return " ".join((self.out + " " + self.err).split())


def command(*arguments: str | os.PathLike[str]) -> list[str]:
    return [sys.executable, "-P", "-c", ENTRY, *map(os.fspath, arguments)]


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start `ebyd-scan` with arguments; the caller waits."""

    def go(*arguments: str | os.PathLike[str], cwd: Path, **extra: object) -> subprocess.Popen[str]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **extra}
        return subprocess.Popen(command(*arguments), cwd=cwd, text=True, **options)  # type: ignore[call-overload]

    return go


@pytest.fixture(scope="session")
def ebyd() -> Callable[..., Run]:
    """Run `ebyd-scan` to its end. Never is a traceback shown, whatever happens."""

    def go(*arguments: str | os.PathLike[str], cwd: Path, env: dict[str, str] | None = None) -> Run:
        started = time.monotonic()
        done = subprocess.run(
            command(*arguments),
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "COLUMNS": "120", **(env or {})},
        )
        assert "Traceback" not in done.stdout + done.stderr
        return Run(done.returncode, done.stdout, done.stderr, time.monotonic() - started)

    return go


@pytest.fixture(scope="session")
def models() -> Path:
    return MODELS


@pytest.fixture(scope="session")
def digits_options() -> list[str]:
    """What goes with every file of weights of the shipped digit models."""
    return [*DIGITS, *PIXELS, *SAMPLES]


@pytest.fixture(scope="session")
def pixels_options() -> list[str]:
    """The same for files that bring their architecture with them."""
    return [*PIXELS, *SAMPLES]


@pytest.fixture(scope="session")
def fast_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "fast.yaml"
    path.write_text(FAST_POLICY)
    return path


@pytest.fixture(scope="session")
def badnets_module() -> object:
    """The shipped backdoored model, loaded."""
    from ebyd_scan.fixtures.networks import plain_convnet
    from safetensors.torch import load_file

    module = plain_convnet(channels=1, width=16)
    module.load_state_dict(load_file(MODELS / "digits-badnets.safetensors"))
    return module.eval()
