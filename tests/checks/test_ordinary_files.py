"""Files and folders as people have them pass, however odd their bytes; a payload among them does not."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.checks.file_safety import FileSafety
from ebyd_scan.evidence.context import Evidence
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.fixtures.reviews import MODELS
from ebyd_scan.scanner.models.identify import identify

torch = pytest.importorskip("torch")
NOISE = bytes(range(1, 256)) * 40


def _check(path: Path) -> Finding:
    return FileSafety().run(Evidence(artifact=identify(path), seed=0))


class _Payload:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(lambda: torch.ones(5_100_000, dtype=torch.bfloat16), id="bfloat16 ones read as opcodes"),
        pytest.param(lambda: torch.full((10_100_000,), 128, dtype=torch.uint8), id="so does uint8 128"),
        pytest.param(lambda: torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8), id="quantised"),
        pytest.param(
            lambda: torch.quantize_per_channel(torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.qint8),
            id="quantised by channel",
        ),
        pytest.param(lambda: range(3), id="range"),
        pytest.param(lambda: torch.zeros(4, dtype=torch.uint8).view(torch.float8_e4m3fnuz), id="float8"),
        pytest.param(lambda: torch.ones(2, device="meta"), id="meta"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_values_that_pass(value: Callable[[], Any], tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3), "value": value()}, tmp_path / "model.pt")
    found = _check(tmp_path / "model.pt")
    assert found.outcome is Outcome.PASSED, found.message


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODELS / "reviews-clean", tmp_path / "model"))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (".cache/huggingface/download/model.safetensors.metadata", b"8ab\netag\n1700000000.0\n"),
        ("openvino/openvino_model.bin", b"\xba" + NOISE),
        ("a/b/c/d/e/f/g/h/i/weights/weight.bin", b"\x02" + NOISE),
        ("lid.176.bin", b"\xba\x16\x4f\x2f" + NOISE),
        ("training_args.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5000\n"),
        ("notes", b"\x80\x02" + b"\xff" * 100),
    ],
)
def test_what_lies_in_a_folder_and_is_no_pickle_passes(name: str, data: bytes, folder: Path) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    found = _check(folder)
    assert found.outcome is Outcome.PASSED, found.message


@pytest.mark.parametrize("name", ["data.bin", "openvino/model.bin", "notes", ".metadata", "deep/down/x.pkl"])
@pytest.mark.parametrize("before", [b"", b"\x80\x02" * 6_000_000], ids=["", "behind millions of opcodes"])
def test_a_payload_in_such_a_file_fails(name: str, before: bytes, folder: Path, tmp_path: Path) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(before + pickle.dumps(_Payload(tmp_path / "canary"), protocol=2))
    found = _check(folder)
    assert found.outcome is Outcome.FAILED
    assert json.dumps(name)[1:-1] in found.message
    assert not (tmp_path / "canary").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_submodule_called_save_passes(tmp_path: Path) -> None:
    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.save = torch.nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            return self.save(x)

    torch.jit.trace(Net(), torch.ones(1, 2)).save(str(tmp_path / "net.pt"))
    found = _check(tmp_path / "net.pt")
    assert found.outcome is Outcome.PASSED, found.message
